//! The table, and its declarations. Diesel's tables have up to 32 columns, so there are two, each of a part of them.

use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::dsl;
use diesel::prelude::*;
use diesel_export::dataset::{ColumnKind, ColumnType, Dataset, Declaration};

use crate::support::TestDatabase;

/// The settings of every export.
pub(super) const PINNED: &str =
    "set datestyle = 'ISO'; set intervalstyle = 'postgres'; set timezone = 'UTC';
    set bytea_output = 'hex'; set extra_float_digits = 1;";

/// The types that Diesel does not know.
pub(super) mod sql {
    pub(super) use diesel::pg::sql_types::*;
    pub(super) use diesel::sql_types::*;

    use super::{ColumnKind, ColumnType};

    macro_rules! types {
        ($($Kind:ident, ordered: $ordered:literal: $($Type:ident $name:literal),+;)+) => {$($(
            #[derive(SqlType)]
            #[diesel(postgres_type(name = $name))]
            pub struct $Type;

            impl ColumnType for $Type {
                const IS_ORDERED: bool = $ordered;

                fn kind() -> ColumnKind {
                    ColumnKind::$Kind
                }
            }
        )+)+};
    }

    types! {
        Text, ordered: true: Name "name", Words "words";
        Boolean, ordered: true: Flag "flag";
        Data, ordered: true: Timetz "timetz", Bits "bit", Varbits "varbit", Tsvector "tsvector", Tsquery "tsquery", Mood "mood",
            Percent "percent", Pair "pair", Lsn "pg_lsn", Regclass "regclass";
        Data, ordered: false: Xml "xml", Point "point", Jsonpath "jsonpath";
    }

    /// `char(n)`, which Diesel takes for a text.
    #[derive(SqlType)]
    #[diesel(postgres_type(name = "bpchar"))]
    pub struct Padded;

    impl ColumnType for Padded {
        const IS_PRINTED: bool = false;

        fn kind() -> ColumnKind {
            ColumnKind::Text
        }

        fn compared() -> ColumnKind {
            ColumnKind::Typed("pg_catalog.bpchar".to_owned())
        }
    }

    pub(super) type Texts = Array<Text>;
    pub(super) type Numbers = Array<Numeric>;
    pub(super) type Stamps = Array<Timestamptz>;
    pub(super) type Flags = Array<Bool>;
    pub(super) type Span = Range<Timestamptz>;
    pub(super) type Numbered = Range<Numeric>;
    pub(super) type Days = Range<Date>;
}

/// What the rows are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Integer,
    Small,
    Uuid,
    Text,
    Day,
    Composite,
}

impl Key {
    pub(super) const ALL: [Self; 6] = [
        Self::Integer,
        Self::Small,
        Self::Uuid,
        Self::Text,
        Self::Day,
        Self::Composite,
    ];

    /// The same in SQL.
    pub(super) fn order(self) -> &'static str {
        match self {
            Self::Integer => "things.number",
            Self::Small => "things.small",
            Self::Uuid => "things.uuid",
            Self::Text => "things.plain",
            Self::Day => "things.day",
            Self::Composite => "things.mood, things.plain, things.number",
        }
    }
}

/// The types of which ranges can be asked for.
const RANGED: [&str; 10] = [
    "SmallInt",
    "Integer",
    "BigInt",
    "Numeric",
    "Float",
    "Double",
    "Date",
    "Time",
    "Timestamp",
    "Timestamptz",
];

type Declare = fn(Key) -> Arc<dyn Dataset>;

macro_rules! parts {
    ($($part:ident: $($name:ident $Type:ident $sql:literal),+;)+) => {
        /// How each part is declared.
        pub(super) const PARTS: &[Declare] = &[$($part::declare),+];

        /// The names of each part's columns, and their types.
        pub(super) const COLUMNS: &[&[(&str, &str)]] = &[$(&[$((stringify!($name), $sql)),+]),+];

        $(mod $part {
            use super::*;

            diesel::table! {
                use super::super::sql::*;

                #[sql_name = "things"]
                things (number) {
                    number -> Integer,
                    small -> SmallInt,
                    uuid -> Uuid,
                    plain -> Nullable<Text>,
                    day -> Date,
                    mood -> Nullable<Mood>,
                    $($name -> Nullable<$Type>,)+
                }
            }

            /// Its declaration with this key.
            pub(super) fn declare(key: Key) -> Arc<dyn Dataset> {
                let own = || things::table.into_boxed();
                let names = ["things", "thing"];
                let mut declared = match key {
                    Key::Integer => Declaration::new(names, things::number, own, own),
                    Key::Small => Declaration::new(names, things::small, own, own),
                    Key::Uuid => Declaration::new(names, things::uuid, own, own),
                    Key::Text => Declaration::new(names, things::plain, own, own),
                    Key::Day => Declaration::new(names, things::day, own, own),
                    Key::Composite => {
                        let mut declared = Declaration::new(names, things::mood, own, own);
                        declared.key_column(things::plain).key_column(things::number);
                        declared
                    }
                };
                $(declared.column(stringify!($name), stringify!($name), things::$name);)+
                $(declared.exact_filter(concat!("of_", stringify!($name)), "", things::$name);)+
                $(if RANGED.contains(&stringify!($Type)) {
                    declared.range_filter(concat!("of_", stringify!($name)), "", things::$name);
                })+
                declared.finish().expect("it can work")
            }
        })+
    };
}

parts! {
    numbers:
        smallest SmallInt "smallint", whole Integer "integer", largest BigInt "bigint", decimal Numeric "numeric",
        price Numeric "numeric(12,3)", single Float "real", double Double "double precision", money Money "money", oid Oid "oid",
        is_so Bool "boolean", is_flag Flag "flag", percent Percent "percent", time Time "time", time_zoned Timetz "timetz",
        stamp Timestamp "timestamp", stamp_zoned Timestamptz "timestamptz", lasts Interval "interval", bits Bits "bit(3)",
        varbits Varbits "varbit", date Date "date", numbers Numbers "numeric[]", flags Flags "boolean[]", stamps Stamps "timestamptz[]";
    others:
        limited Text "varchar(100)", padded Padded "char(9)", letter CChar "\"char\"", called Name "name", caseless Citext "citext",
        words Words "words", document Json "json", binary_document Jsonb "jsonb", markup Xml "xml", bytes Bytea "bytea",
        address Inet "inet", network Cidr "cidr", device MacAddr "macaddr", device8 MacAddr8 "macaddr8", pair Pair "pair",
        texts Texts "text[]", span Span "tstzrange", numbered Numbered "numrange", days Days "daterange", vector Tsvector "tsvector",
        query Tsquery "tsquery", path Jsonpath "jsonpath", lsn Lsn "pg_lsn", place Point "point", relation Regclass "regclass";
}

/// A declaration of columns that the server computes, and the same in SQL.
pub(super) fn computed() -> (Arc<dyn Dataset>, [(&'static str, &'static str); 4]) {
    use numbers::things;
    let own = || things::table.into_boxed();
    let mut declared = Declaration::new(["things", "thing"], things::number, own, own);
    let columns = [
        ("said", "to_char(things.day, 'FMDay, YYYY BC')"),
        ("earlier", "things.stamp_zoned - interval '1 day'"),
        ("is_big", "things.number > 50"),
        ("next", "things.number + 1"),
    ];
    let [said, earlier, is_big, next] = columns;
    declared.expression_column(said.0, said.0, dsl::sql::<sql::Text>(said.1));
    declared.expression_column(
        earlier.0,
        earlier.0,
        dsl::sql::<sql::Nullable<sql::Timestamptz>>(earlier.1),
    );
    declared.expression_column(is_big.0, is_big.0, things::number.gt(50));
    declared.expression_column(next.0, next.0, things::number + 1);
    (declared.finish().expect("it can work"), columns)
}

/// The values that each column has in turn, as SQL. Every column also has NULL.
const VALUES: &[(&str, &[&str])] = &[
    ("plain", &["''", "'-'", "E'a\\tb\\\\N'"]),
    ("mood", &["'sad'", "'=1'", "'ok, really'", "''"]),
    ("smallest", &["-32768", "32767"]),
    ("whole", &["-2147483648", "2147483647", "0"]),
    ("largest", &["-9223372036854775808", "9223372036854775807"]),
    (
        "decimal",
        &[
            "'NaN'",
            "-0.000",
            "1e-30",
            "repeat('9', 3000)::numeric",
            "-12345678901234567890.5",
        ],
    ),
    ("price", &["0", "-1.5", "999999999.999"]),
    ("single", &["'NaN'", "'-Infinity'", "'-0'", "1e-38", "0.1"]),
    (
        "double",
        &[
            "'NaN'",
            "'Infinity'",
            "'-0'",
            "5e-324",
            "0.1::float8 + 0.2",
            "1.7976931348623157e308",
        ],
    ),
    ("money", &["-12.5", "'1234567.89'", "0"]),
    ("oid", &["4294967295", "0"]),
    ("is_so", &["true", "false"]),
    ("is_flag", &["true", "false"]),
    ("percent", &["0", "-100", "100"]),
    ("time", &["'24:00:00'", "'00:00'", "'12:34:56.789012'"]),
    ("time_zoned", &["'24:00:00+15:59'", "'12:34:56.7-08'"]),
    (
        "stamp",
        &[
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 12:00 BC'",
            "'12026-11-30 23:59:59.999999'",
            "'2026-11-30 12:34:56.789999'",
            "'1900-02-28 23:59:59'",
            "'9999-12-31 23:59:59'",
        ],
    ),
    (
        "date",
        &[
            "'infinity'",
            "'0044-03-15 BC'",
            "'1900-02-28'",
            "'1900-03-01'",
            "'9999-12-31'",
            "'10000-01-01'",
        ],
    ),
    (
        "stamp_zoned",
        &[
            "'2026-11-30 12:34:56.7+01'",
            "'2026-11-30 12:34:56+00'",
            "'infinity'",
            "'4713-01-01 00:00 BC'",
            "'294276-12-31 23:59:59.999999+00'",
            "'1900-01-01 00:00+01:23:45'",
        ],
    ),
    (
        "lasts",
        &[
            "'-1 year -2 months +3 days -04:05:06.7'",
            "'0'",
            "'-00:00:01'",
            "'178000000 years'",
        ],
    ),
    ("bits", &["B'101'"]),
    ("varbits", &["B''", "B'1'"]),
    (
        "numbers",
        &[
            "'{}'",
            "'{NaN,NULL,-1.50}'",
            "'{{1,2},{-3,4}}'",
            "'[5:6]={1,2}'",
        ],
    ),
    ("flags", &["'{t,f,NULL}'"]),
    ("stamps", &["'{infinity,\"0001-01-01 00:00 BC\"}'"]),
    (
        "limited",
        &["''", "'=1+1'", "'-x,@y'", "repeat('ü', 100)", "E'\"\\r\\n'"],
    ),
    ("padded", &["''", "'=f'", "'123456789'"]),
    ("letter", &["'='", "''", "'x'"]),
    ("called", &["'@a'", "''", "'a b'"]),
    ("caseless", &["'ABC'", "'＝1'"]),
    ("words", &["'+1'", "E'\\\\.'", "E'\\n'"]),
    (
        "document",
        &[
            "'null'",
            "'{\"a\" : 1.10,\"a\":\"=1\"}'",
            "'-5'",
            "'\"\"'",
            "('\"' || repeat('x', 300000) || '\"')::json",
        ],
    ),
    (
        "binary_document",
        &["'null'", "'{\"b\": [1.10, \"ü\\\"\"]}'", "'[]'"],
    ),
    ("markup", &["''", "'<a b=\"c\">,\n</a>'", "'=1'"]),
    (
        "bytes",
        &["''", "'\\x00ff'", "convert_to(repeat('ab', 50000), 'UTF8')"],
    ),
    ("address", &["'::1'", "'10.0.0.1/8'", "'10.0.0.1'"]),
    ("network", &["'::/0'", "'10.0.0.0/8'"]),
    ("device", &["'08:00:2b:01:02:03'"]),
    ("device8", &["'08:00:2b:01:02:03:04:05'"]),
    (
        "pair",
        &["row(null, null)", "row(-1, E'=1,\\n\"')", "row(1, '')"],
    ),
    (
        "texts",
        &[
            "'{}'",
            "array['', null, '=1,-2', E'\"\\\\\\n', 'null']",
            "array['-']",
        ],
    ),
    (
        "span",
        &["'empty'", "'(,)'", "'[2026-01-01 00:00+00,infinity)'"],
    ),
    ("numbered", &["'[-1.5,NaN]'", "'(,0]'"]),
    (
        "days",
        &["'[2026-01-01,2026-01-31]'", "'[0044-03-15 BC,infinity)'"],
    ),
    ("vector", &["''", "'a:1A fat:2'"]),
    ("query", &["'a & !b'"]),
    ("path", &["'$.a[*] ? (@ > 1)'"]),
    ("lsn", &["'16/B374D848'", "'0/0'"]),
    ("place", &["'(-0,1e300)'", "'(NaN,Infinity)'"]),
    ("relation", &["'things'", "0"]),
];

/// A database with the table, without rows.
pub(super) fn empty() -> TestDatabase {
    let columns = COLUMNS.iter().flat_map(|columns| columns.iter());
    let columns = columns.map(|(name, kind)| format!("{name} {kind}"));
    TestDatabase::with(&format!(
        "create type mood as enum ('sad', '=1', 'ok, really', ''); create type pair as (number integer, text text);
         create domain flag as boolean; create domain percent as integer check (value between -100 and 100); create domain words as text;
         do $$ begin
             if exists (select from pg_available_extensions where name = 'citext') then create extension citext;
             else create domain citext as text; end if;
         end $$;
         create table things (number integer primary key, small smallint not null unique, uuid uuid not null unique, plain text,
             day date not null unique, mood mood, {});",
        columns.collect::<Vec<_>>().join(", ")
    ))
}

/// The same with so many rows, in which each column has each of its values.
pub(super) fn filled(rows: u16) -> TestDatabase {
    let database = empty();
    let names: Vec<&str> = VALUES.iter().map(|(name, _)| *name).collect();
    let cases = VALUES.iter().map(|(name, values)| {
        let mut columns = COLUMNS.iter().flat_map(|columns| columns.iter());
        let kind = match *name {
            "plain" => "text",
            "mood" => "mood",
            name => columns.find(|column| column.0 == name).expect("a column").1,
        };
        let whens = (1..).zip(*values);
        let whens = whens.map(|(place, value)| format!("when {place} then ({value})::{kind}"));
        // Long values are for the first rows.
        let is_long = values.iter().any(|value| value.contains("repeat"));
        let number = if is_long { "least(n, 40)" } else { "n" };
        let case = format!(
            "case {number} % {} {} end",
            values.len() + 1,
            whens.collect::<Vec<_>>().join(" ")
        );
        // Texts are a key, too.
        if *name == "plain" {
            format!("concat({case}, n)")
        } else {
            case
        }
    });
    let mut connection = database.connect();
    connection
        .batch_execute(&format!(
            "insert into things (number, small, uuid, day, {})
             select n - 7, n - 9, md5(n::text)::uuid, date '4713-01-01 BC' + n * 500, {} from generate_series(1, {rows}) n",
            names.join(", "),
            cases.collect::<Vec<_>>().join(", ")
        ))
        .expect("the rows are inserted");
    connection
        .batch_execute("vacuum analyze things")
        .expect("vacuumed");
    database
}
