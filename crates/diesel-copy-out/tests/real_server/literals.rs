//! The server reads a literal as the same value as the parameter that it stands for.

use diesel::data_types::{PgDate, PgInterval, PgNumeric, PgTime, PgTimestamp};
use diesel::deserialize::FromSqlRow;
use diesel::dsl::sql;
use diesel::expression::AsExpression;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::QueryId;
use diesel::serialize::{IsNull, Output, ToSql};
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Citext, Date, Double, Float, Inet, Int4range, Integer, Interval,
    Json, Nullable, Numeric, Oid, SmallInt, SqlType, Text, Time, Timestamp, Timestamptz, Uuid,
};
use diesel_copy_out::{CopyConnection, CopyOutDsl};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::cluster::Cluster;

/// Settings that change how literals are read.
const SETTINGS: [&str; 3] = [
    "set standard_conforming_strings = on; set datestyle = 'ISO, MDY'; set intervalstyle = postgres; set extra_float_digits = 1; set timezone = 'UTC'",
    "set standard_conforming_strings = off; set datestyle = 'German, DMY'; set intervalstyle = sql_standard; set extra_float_digits = 0; set timezone = 'America/St_Johns'; set escape_string_warning = off; set backslash_quote = off; set array_nulls = off",
    "set standard_conforming_strings = on; set datestyle = 'SQL, YMD'; set intervalstyle = iso_8601; set extra_float_digits = -15; set timezone = 'Asia/Kolkata'; set search_path = public, pg_catalog",
];

#[derive(Debug, Clone, Copy, AsExpression, FromSqlRow)]
#[diesel(sql_type = Uuid)]
struct RawUuid([u8; 16]);

impl ToSql<Uuid, Pg> for RawUuid {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        std::io::Write::write_all(out, &self.0)?;
        Ok(IsNull::No)
    }
}

/// Texts of types that Diesel has no name for, but somebody's schema may.
macro_rules! text_type {
    ($SqlType:ident, $Value:ident, $oid:literal, $array_oid:literal) => {
        #[derive(SqlType, QueryId)]
        #[diesel(postgres_type(oid = $oid, array_oid = $array_oid))]
        struct $SqlType;

        #[derive(Debug, Clone, AsExpression)]
        #[diesel(sql_type = $SqlType)]
        struct $Value(&'static str);

        impl ToSql<$SqlType, Pg> for $Value {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
                <str as ToSql<Text, Pg>>::to_sql(self.0, out)
            }
        }
    };
}

text_type!(Name, NameText, 19, 1003);
text_type!(Bpchar, BpcharText, 1042, 1014);
text_type!(Varchar, VarcharText, 1043, 1015);

#[derive(Debug, Clone, AsExpression)]
#[diesel(sql_type = Json)]
struct RawJson(&'static str);

impl ToSql<Json, Pg> for RawJson {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        std::io::Write::write_all(out, self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

struct Server {
    literals: CopyConnection,
    parameters: PgConnection,
}

/// Checks that the server sends the same of a value's literal as of the value as a parameter.
macro_rules! check {
    ($server:expr, $send:literal, $sql_type:ty, $value:expr) => {{
        let query = || {
            let sent = sql::<Nullable<Text>>(concat!("encode(", $send, "("));
            diesel::select(sent.bind::<$sql_type, _>($value).sql("), 'hex') as sent"))
        };
        let expected: Option<String> = query().get_result(&mut $server.parameters).expect("sent");
        let literal = query().literal_sql().expect("a literal");
        for settings in SETTINGS {
            $server.literals.execute(settings).expect("settings");
            let row = $server.literals.query_row(&literal);
            let row = row.unwrap_or_else(|error| panic!("{literal}: {error}"));
            let row = row.expect("a row");
            assert_eq!(
                row.get("sent"),
                Some(expected.as_deref()),
                "{literal} after {settings}"
            );
        }
    }};
}

fn number() -> impl Strategy<Value = PgNumeric> {
    let digits = proptest::collection::vec(0_i16..10_000, 0..8);
    (any::<bool>(), -20_i16..20, 0_u16..40, digits).prop_map(|(negative, weight, scale, digits)| {
        if negative {
            PgNumeric::Negative {
                weight,
                scale,
                digits,
            }
        } else {
            PgNumeric::Positive {
                weight,
                scale,
                digits,
            }
        }
    })
}

#[test]
fn a_literal_is_what_the_server_takes_from_the_parameter_whatever_the_settings() {
    let cluster = Cluster::start();
    let mut server = Server {
        literals: CopyConnection::establish(&cluster.url()).expect("a connection"),
        parameters: PgConnection::establish(&cluster.url()).expect("a connection"),
    };
    for value in [i64::MIN, -1, 0, i64::MAX] {
        check!(server, "int8send", BigInt, value);
        check!(server, "int4send", Integer, value as i32);
        check!(server, "int2send", SmallInt, value as i16);
        check!(server, "oidsend", Oid, value as u32);
        check!(
            server,
            "time_send",
            Time,
            PgTime(value.clamp(0, 86_400_000_000))
        );
    }
    check!(server, "int4send", Integer, i32::MIN);
    check!(server, "int2send", SmallInt, i16::MIN);
    check!(server, "int4send", Nullable<Integer>, None::<i32>);
    check!(
        server,
        "array_send",
        Nullable<Array<Text>>,
        None::<Vec<String>>
    );
    check!(server, "boolsend", Bool, true);
    check!(server, "boolsend", Bool, false);
    for value in [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        f64::MIN_POSITIVE,
        f64::MAX,
        5e-324,
        0.1,
    ] {
        check!(server, "float8send", Double, value);
        check!(server, "float4send", Float, value as f32);
    }
    check!(server, "numeric_send", Numeric, PgNumeric::NaN);
    for days in [
        i32::MIN,
        i32::MAX,
        -2_451_545,
        -730_120,
        -730_119,
        -730_118,
        0,
        59,
        60,
        2_145_031_948,
    ] {
        check!(server, "date_send", Date, PgDate(days));
    }
    for micros in [
        i64::MIN,
        i64::MAX,
        -211_813_488_000_000_000,
        9_223_371_331_199_999_999,
        -1,
    ] {
        check!(server, "timestamp_send", Timestamp, PgTimestamp(micros));
        check!(server, "timestamptz_send", Timestamptz, PgTimestamp(micros));
    }
    for (micros, days, months) in [
        (0, 0, 0),
        (-1, 1, -1),
        (1, -1, 1),
        (-7_000_000_000_000_000_000, i32::MIN, 0),
        (-1, -1, -1),
    ] {
        check!(
            server,
            "interval_send",
            Interval,
            PgInterval::new(micros, days, months)
        );
    }
    for text in [
        "",
        "'",
        "''",
        "\\",
        "\\'",
        "'; drop table x; --",
        "$1",
        "$$",
        "\\x41",
        "E'\\n",
        "\n\r\t",
        "NULL",
        "{}",
        " blanks  ",
        "🦀'\\",
    ] {
        check!(server, "textsend", Text, text);
        check!(server, "array_send", Array<Text>, vec![text, "b"]);
        check!(server, "namesend", Name, NameText(text));
        check!(server, "bpcharsend", Bpchar, BpcharText(text));
        check!(server, "varcharsend", Varchar, VarcharText(text));
        check!(
            server,
            "array_send",
            Array<Varchar>,
            vec![VarcharText(text)]
        );
    }
    check!(
        server,
        "json_send",
        Json,
        RawJson(r#"{"it's": "\\ \n", "a": [1, null]}"#)
    );
    check!(
        server,
        "array_send",
        Array<Nullable<Integer>>,
        vec![Some(1), None]
    );
    check!(server, "array_send", Array<Integer>, Vec::<i32>::new());
    check!(
        server,
        "array_send",
        Array<Nullable<Text>>,
        vec![Some("null"), None]
    );

    let values = (
        (any::<i64>(), any::<f64>(), any::<f32>(), number(), "[^\0]*"),
        (
            any::<[u8; 16]>(),
            any::<Vec<u8>>(),
            -2_451_545_i32..2_145_031_949,
        ),
        (
            -211_813_488_000_000_000..9_223_371_331_200_000_000_i64,
            // Older servers refuse more hours than an int4 has, as a text.
            -7_000_000_000_000_000_000..7_000_000_000_000_000_000_i64,
            any::<i32>(),
            any::<i32>(),
        ),
    );
    let server = std::cell::RefCell::new(server);
    TestRunner::new(Config::with_cases(100))
        .run(&values, |(plain, bytes, times)| {
            let server = &mut *server.borrow_mut();
            let (integer, double, single, numeric, text) = plain;
            check!(server, "int8send", BigInt, integer);
            check!(server, "float8send", Double, double);
            check!(server, "float4send", Float, single);
            check!(server, "numeric_send", Numeric, numeric.clone());
            check!(server, "textsend", Text, &text);
            check!(server, "array_send", Array<Text>, vec![&text]);
            check!(server, "array_send", Array<Double>, vec![double, 0.5]);
            let (uuid, bytes, date) = bytes;
            check!(server, "uuid_send", Uuid, RawUuid(uuid));
            check!(server, "byteasend", Binary, &bytes);
            check!(server, "array_send", Array<Binary>, vec![&bytes]);
            check!(server, "date_send", Date, PgDate(date));
            let (timestamp, micros, days, months) = times;
            check!(server, "timestamp_send", Timestamp, PgTimestamp(timestamp));
            check!(
                server,
                "timestamptz_send",
                Timestamptz,
                PgTimestamp(timestamp)
            );
            check!(
                server,
                "array_send",
                Array<Timestamptz>,
                vec![PgTimestamp(timestamp)]
            );
            check!(
                server,
                "interval_send",
                Interval,
                PgInterval::new(micros, days, months)
            );
            Ok(())
        })
        .expect("all alike");
}

/// A value of types that have no literal.
#[derive(Debug, Clone, Copy, AsExpression)]
#[diesel(sql_type = Inet)]
#[diesel(sql_type = Mood)]
struct Other;

trait HasNoLiteral {}

impl HasNoLiteral for Inet {}

impl HasNoLiteral for Mood {}

impl<Type: HasNoLiteral> ToSql<Type, Pg> for Other {
    fn to_sql<'b>(&'b self, _: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        Ok(IsNull::No)
    }
}

/// An enum of the database's own.
#[derive(SqlType, QueryId)]
#[diesel(postgres_type(name = "mood", schema = "app"))]
struct Mood;

#[test]
fn what_has_no_literal_without_a_connection_is_an_error_that_names_it() {
    let error =
        |sql: Result<String, diesel_copy_out::Error>| sql.expect_err("no literal").to_string();
    let refused = |name| {
        format!("a value of the type {name} cannot be written as a literal without a connection")
    };
    let other = diesel::select(Other.into_sql::<Inet>());
    assert_eq!(error(other.literal_sql()), refused("inet"));
    let array = diesel::select(vec![Other].into_sql::<Array<Inet>>());
    assert_eq!(error(array.literal_sql()), refused("inet[]"));
    let range = (std::ops::Bound::Included(1), std::ops::Bound::Unbounded);
    let range = diesel::select(range.into_sql::<Int4range>());
    assert_eq!(error(range.literal_sql()), refused("int4range"));
    // Only the server knows their oids, and it is not asked.
    let both = ("a".into_sql::<Citext>(), Other.into_sql::<Mood>());
    assert_eq!(error(diesel::select(both).literal_sql()), refused("citext"));
    let arrays = (
        1.into_sql::<Integer>(),
        vec![Other].into_sql::<Array<Mood>>(),
    );
    assert_eq!(
        error(diesel::select(arrays).literal_sql()),
        refused("app.mood[]")
    );

    let nul = diesel::select("\0".into_sql::<Text>());
    assert_eq!(
        error(nul.literal_sql()),
        "a text with a NUL character cannot be sent to PostgreSQL"
    );
}
