//! Values of types that only the server can write mean the same as the parameters that they stand for.

use std::cell::RefCell;
use std::ops::Bound;

use diesel::data_types::{PgNumeric, PgTimestamp};
use diesel::deserialize::FromSqlRow;
use diesel::dsl::sql;
use diesel::expression::AsExpression;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::QueryId;
use diesel::serialize::{IsNull, Output, ToSql, WriteTuple};
use diesel::sql_types::{
    Array, CChar, Citext, Inet, Int4range, Integer, Jsonb, MacAddr, Nullable, Numrange, PgLsn,
    SqlType, Text, Tstzrange,
};
use diesel_copy_out::{CopyConnection, CopyOutDsl, ErrorKind, Options};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::cluster::Cluster;
use crate::copies::connect;

/// An enum of the database's own.
#[derive(SqlType, QueryId)]
#[diesel(postgres_type(name = "mood", schema = "a \"p.p"))]
struct Mood;

/// A domain, found by the search path.
#[derive(SqlType, QueryId)]
#[diesel(postgres_type(name = "Email"))]
struct Email;

/// A composite type with a mood in it.
#[derive(SqlType, QueryId)]
#[diesel(postgres_type(name = "pair"))]
struct Pair;

/// Bits, whose name alone would mean a single bit.
#[derive(SqlType, QueryId)]
#[diesel(postgres_type(oid = 1560, array_oid = 1561))]
struct Bits;

/// A type that does not exist.
#[derive(SqlType, QueryId)]
#[diesel(postgres_type(name = "nothing"))]
struct Nothing;

const TYPES: &str = r#"
    create schema "a ""p.p"; create type "a ""p.p".mood as enum ('happy', 'it''s \ so', 'a,"{b}"');
    create domain "Email" as text check (value ~ '@'); create domain citext as text;
    create type pair as (mood "a ""p.p".mood, number int)"#;

const MOODS: [&str; 3] = ["happy", r"it's \ so", r#"a,"{b}""#];

/// A value in its type's binary form.
#[derive(Debug, Clone, AsExpression, FromSqlRow)]
#[diesel(sql_type = Mood)]
#[diesel(sql_type = Email)]
#[diesel(sql_type = Bits)]
#[diesel(sql_type = Nothing)]
#[diesel(sql_type = Jsonb)]
#[diesel(sql_type = Inet)]
#[diesel(sql_type = CChar)]
#[diesel(sql_type = MacAddr)]
struct Raw(Vec<u8>);

macro_rules! raw {
    ($($SqlType:ty),*) => { $(
        impl ToSql<$SqlType, Pg> for Raw {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
                std::io::Write::write_all(out, &self.0)?;
                Ok(IsNull::No)
            }
        }
    )* };
}

raw!(Mood, Email, Bits, Nothing, Jsonb, Inet, CChar, MacAddr);

#[derive(Debug, Clone, AsExpression)]
#[diesel(sql_type = Pair)]
struct PairOf(Raw, i32);

impl ToSql<Pair, Pg> for PairOf {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        WriteTuple::<(Mood, Integer)>::write_tuple(&(self.0.clone(), self.1), &mut out.reborrow())
    }
}

fn mood(index: usize) -> Raw {
    Raw(MOODS[index].into())
}

fn parameters(cluster: &Cluster) -> PgConnection {
    PgConnection::establish(&cluster.url()).expect("a connection")
}

/// Checks that a COPY has the same row, of the value's type and text, as Diesel's own query with the value as a parameter.
macro_rules! check {
    ($server:expr, $sql_type:ty, $value:expr) => {{
        let value = || $value;
        let query = || {
            let text = sql::<Text>("concat(pg_typeof(").bind::<$sql_type, _>(value());
            let text = text.sql("), ' ', ").bind::<$sql_type, _>(value());
            diesel::select(text.sql(")"))
        };
        let (copies, parameters) = &mut *$server.borrow_mut();
        let expected: String = query().get_result(parameters).expect("a row");
        let options = Options::csv().with_force_quote_all();
        let copy = query().copy_out(copies, &options);
        let copied = std::io::read_to_string(copy.expect("a copy")).expect("all rows");
        assert_eq!(copied, format!("\"{}\"\n", expected.replace('"', "\"\"")));
    }};
}

#[test]
fn a_value_of_any_type_is_what_the_server_takes_from_the_parameter() {
    let cluster = Cluster::start();
    let mut connection = connect(&cluster);
    connection.execute(TYPES).expect("types");
    let server = RefCell::new((connection, parameters(&cluster)));
    check!(server, Nullable<Mood>, None::<Raw>);
    check!(server, Nullable<Array<Mood>>, None::<Vec<Raw>>);
    check!(server, Nullable<Jsonb>, None::<Raw>);
    check!(server, Array<Mood>, Vec::<Raw>::new());
    check!(server, Bits, Raw(vec![0, 0, 0, 9, 0xa5, 0x80]));
    let values = (
        (0..3_usize, any::<i32>(), any::<u64>(), any::<[u8; 6]>()),
        ("[^\0]*", "[^\0\"\\\\[:cntrl:]]*"),
        (any::<bool>(), -20_i16..20, 0_u16..40),
    );
    TestRunner::new(Config::with_cases(25))
        .run(&values, |(plain, texts, number)| {
            let (index, integer, long, bytes) = plain;
            check!(server, Mood, mood(index));
            check!(server, Array<Nullable<Mood>>, vec![Some(mood(index)), None]);
            check!(server, Pair, PairOf(mood(index), integer));
            check!(server, PgLsn, diesel::data_types::PgLsn(long));
            check!(server, MacAddr, Raw(bytes.to_vec()));
            check!(server, CChar, Raw(vec![bytes[0] & 0x7f | 1]));
            let prefix = bytes[4] % 33;
            let inet = [&[2, prefix, 0, 4], &bytes[..4]].concat();
            check!(server, Inet, Raw(inet.clone()));
            check!(server, Array<Inet>, vec![Raw(inet.clone())]);
            let (text, json) = texts;
            check!(server, Citext, &text);
            check!(server, Email, Raw(format!("{text}@").into()));
            let json = format!("\x01{{\"it's\": [\"{json}\\\\\", null]}}");
            check!(server, Jsonb, Raw(json.clone().into()));
            let bounds = (Bound::Included(integer / 2), Bound::<i32>::Unbounded);
            check!(server, Int4range, bounds);
            let (negative, weight, scale) = number;
            let digits = vec![1, 9_999];
            let from = match negative {
                true => PgNumeric::Negative {
                    weight,
                    scale,
                    digits,
                },
                false => PgNumeric::Positive {
                    weight,
                    scale,
                    digits,
                },
            };
            check!(
                server,
                Numrange,
                (Bound::Included(from.clone()), Bound::<PgNumeric>::Unbounded)
            );
            let until = Bound::Excluded(PgTimestamp(i64::from(integer) * 90_000_007));
            check!(server, Tstzrange, (Bound::<PgTimestamp>::Unbounded, until));
            Ok(())
        })
        .expect("all alike");
}

fn copied<T>(connection: &mut CopyConnection, value: Raw) -> Result<String, diesel_copy_out::Error>
where
    T: SqlType + QueryId + diesel::sql_types::SingleValue,
    T: diesel::expression::TypedExpressionType,
    Raw: AsExpression<T>,
    <Raw as AsExpression<T>>::Expression: diesel::query_builder::QueryFragment<Pg>,
{
    let query = sql::<Text>("select ").bind::<T, _>(value);
    let mut copy = query.copy_out(connection, &Options::csv())?;
    let mut text = String::new();
    let read = std::io::Read::read_to_string(&mut copy, &mut text);
    copy.finish()?;
    read.expect("as many as were confirmed");
    Ok(text)
}

#[test]
fn a_value_that_the_server_refuses_is_an_error_that_names_its_type() {
    let cluster = Cluster::start();
    let mut connection = connect(&cluster);
    connection.execute(TYPES).expect("types");
    let sad = Raw(b"sad".to_vec());
    let error = copied::<Mood>(&mut connection, sad.clone()).expect_err("no such mood");
    assert_eq!(error.sqlstate.as_deref(), Some("22P02"));
    assert!(
        error
            .message
            .starts_with(r#"a value of the type "a ""p.p".mood: "#),
        "{error}"
    );

    // A type that there is none of leaves the transaction as it is.
    connection.begin_snapshot().expect("begun");
    let error = copied::<Nothing>(&mut connection, sad.clone()).expect_err("no such type");
    assert_eq!(error.kind(), ErrorKind::Unwritable);
    assert!(error.message.contains("nothing"), "{error}");
    let happy = copied::<Mood>(&mut connection, mood(0));
    assert_eq!(happy.expect("a mood"), "happy\n");
    connection.commit().expect("it has not failed");

    // A type that was created again has another oid.
    let again =
        r#"drop type pair; drop type "a ""p.p".mood; create type "a ""p.p".mood as enum ('sad')"#;
    connection.execute(again).expect("another type");
    copied::<Mood>(&mut connection, sad.clone()).expect_err("the old type");
    let found = copied::<Mood>(&mut connection, sad.clone());
    assert_eq!(found.expect("the new type"), "sad\n");

    let mut connection = connect(&cluster);
    let ended = connection.execute("select pg_terminate_backend(pg_backend_pid())");
    ended.expect_err("the session has ended");
    let error = copied::<Mood>(&mut connection, sad).expect_err("no connection");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
}
