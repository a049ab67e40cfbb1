//! Tables that nobody here has designed: what `init` writes of them is exported by every strategy as psql does it.

use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel_export::dataset::{ColumnKind, Dataset, FilterField, Select, Selected, Selection};
use diesel_export::db::Database;
use diesel_export::parameters::filter_from_pairs;
use diesel_export::tables::{self, DatasetsFile, FileDatasets};
use diesel_export::{Export, Strategy};
use serde::Deserialize;

use crate::support::in_process::{client, run};
use crate::support::{TestDatabase, oracle};

const FILL: &str = include_str!("schemas/fill.sql");

/// For each table: its name with quotes, a query of all of its columns in the order of its primary key, whether it has one, and whether it
/// is empty.
const TABLES: &str = r#"
    select coalesce(json_agg(json_build_object(
        'name', format('"%s"."%s"', nspname, relname),
        'query', format('select * from %I.%I%s', nspname, relname, ' order by ' || (
            select string_agg(quote_ident(attname), ', ' order by place) from pg_index, unnest(indkey::smallint[]) with ordinality as _ (number, place)
                join pg_attribute on attnum = number
            where indrelid = c.oid and indisprimary and attrelid = c.oid)),
        'has_key', exists (select from pg_index where indrelid = c.oid and indisprimary),
        'is_empty', (xpath('/row/n/text()', query_to_xml(format('select count(*) as n from %I.%I', nspname, relname), false, true, '')))[1]::text = '0')), '[]')
    from pg_class c join pg_namespace s on s.oid = relnamespace
    where nspname !~ '^pg_' and nspname <> 'information_schema' and relkind in ('r', 'p', 'v', 'm') and not relispartition"#;

#[derive(Deserialize)]
struct Table {
    name: String,
    query: String,
    has_key: bool,
    is_empty: bool,
}

#[test]
fn every_table_of_django_and_a_shop_is_exported_as_psql_does_it() {
    check(
        include_str!("schemas/django.sql"),
        "refresh materialized view catalogue_product_category_hierarchy",
        "public",
        98,
    );
}

#[test]
fn every_table_of_procrastinate_is_exported_as_psql_does_it() {
    let schema = include_str!("schemas/procrastinate.sql");
    let jobs = "set session_replication_role = replica; insert into procrastinate_jobs (queue_name, task_name, status, args, abort_requested)
        select 'q', 'task ' || n, status, jsonb_build_object('n', n), n % 2 = 0 and status <> 'todo'
        from generate_series(1, 50) n, unnest(enum_range(null::procrastinate_job_status)) status; analyze";
    check(schema, jobs, "public", 4);
}

#[test]
fn every_table_of_pg_boss_is_exported_as_psql_does_it() {
    let jobs = "set session_replication_role = replica; insert into pgboss.job (name, data, state, expire_in, output)
        select 'mails', jsonb_build_object('to', 'a,' || n), (enum_range(null::pgboss.job_state))[1 + n % 6], n * interval '1 hour', null
        from generate_series(1, 100) n; analyze";
    check(include_str!("schemas/pg-boss.sql"), jobs, "pgboss", 5);
}

#[test]
fn every_table_of_odd_kinds_is_exported_as_psql_does_it() {
    let schema = r#"create schema odd; set search_path = odd;
        create table parts (a int, b bigint, name text not null, primary key (a, b));
        create table places (id int primary key, name text not null);
        create table shops (id int primary key, title text not null);
        create table stock (id int primary key, a int, b int, place_id int references places references shops, valid date, valid_from boolean,
            "- -x" int, foreign key (a, b) references parts);
        create materialized view seen as select id, valid, valid_from from stock;
        create unique index on seen (id)"#;
    let file = check(schema, "refresh materialized view odd.seen", "odd", 5);
    for line in [
        r#"via = { columns = ["a", "b"], table = "odd.parts", key = ["a", "b"] }"#,
        r#"via = ["place_id"]"#,
        r#"via = { columns = ["place_id"], table = "odd.shops", key = ["id"] }"#,
        "table = \"odd.seen\"\nkey = [\"id\"]",
    ] {
        assert!(file.contains(line), "{line}: {file}");
    }
}

/// Exports at least so many tables, and returns the file.
fn check(schema: &str, more_rows: &str, name: &str, at_least: usize) -> String {
    let database = TestDatabase::with("drop schema public cascade; create schema public");
    let mut connection = database.connect();
    for sql in [schema, FILL, more_rows] {
        connection.batch_execute(sql).expect("the SQL runs");
    }
    let tables = oracle::psql(&database, TABLES);
    let tables: Vec<Table> = serde_json::from_slice(&tables).expect("JSON");
    assert!(tables.len() >= at_least, "{}", tables.len());
    let empty: Vec<&str> = tables
        .iter()
        .filter(|table| table.is_empty)
        .map(|table| table.name.as_str())
        .collect();
    assert_eq!(empty, [""; 0]);
    let client = client(&database.url);
    let (file, datasets) = datasets(&client, name);
    assert_eq!(datasets.catalog().all().count(), tables.len());
    for dataset in datasets.catalog().all() {
        let mut named = tables.iter();
        let table = named.find(|table| table.name == dataset.table().name);
        every_strategy(&database, &client, dataset, table.expect("a table"));
        every_filter(&client, dataset);
    }
    file
}

fn datasets(client: &Database, schema: &str) -> (String, FileDatasets) {
    let mut connection = client.probe_connection().expect("a connection");
    let file = tables::init(&mut connection, &[schema.to_owned()]).expect("tables");
    let read = DatasetsFile::parse(file.clone()).expect("a file");
    let datasets = read.datasets(&mut connection);
    (file, datasets.expect("what init has found"))
}

fn every_strategy(
    database: &TestDatabase,
    client: &Database,
    dataset: &Arc<dyn Dataset>,
    table: &Table,
) {
    let sql = format!(
        "set timezone = 'UTC'; copy ({}) to stdout with (format csv, header)",
        table.query
    );
    let expected = oracle::psql(database, &sql);
    let mut names = dataset.columns().iter().map(|column| column.name());
    let all = names.by_ref().collect::<Vec<_>>().join(",");
    let all = Selection::parse(dataset, &all).expect("its columns");
    let mut first: Option<Vec<u8>> = None;
    for &strategy in Strategy::all() {
        let what = format!("{} {strategy:?}", table.name);
        let export = Export {
            strategy,
            ..Export::of(dataset)
        };
        let outcome = run(client, &export);
        let csv = outcome.whole(&what);
        assert!(
            csv == expected || !table.has_key && sorted(csv) == sorted(&expected),
            "{what}: {}",
            String::from_utf8_lossy(csv)
        );
        let with_references = Export {
            columns: all.clone(),
            ..export
        };
        let outcome = run(client, &with_references);
        let csv = outcome.whole(&what);
        let first = first.get_or_insert_with(|| csv.to_vec());
        assert!(
            csv == first || !table.has_key && sorted(csv) == sorted(first),
            "{what}: {}",
            String::from_utf8_lossy(csv)
        );
    }
}

fn sorted(csv: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = csv.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

/// A value of each filter leaves the same rows by COPY, by Diesel, and by `lookup`.
fn every_filter(client: &Database, dataset: &Arc<dyn Dataset>) {
    for field in dataset.filters() {
        let mut export = Export::of(dataset);
        let value = field.parse(&value(field)).expect("a value of its kind");
        export.filter.set(field, value).expect("its own");
        let rows = [Strategy::Copy, Strategy::Streamed, Strategy::Lookup].map(|strategy| {
            let what = format!("{} {} {strategy:?}", dataset.name(), field.name());
            let outcome = run(
                client,
                &Export {
                    strategy,
                    ..export.clone()
                },
            );
            outcome.whole(&what).to_vec()
        });
        assert!(
            rows.iter().all(|csv| sorted(csv) == sorted(&rows[0])),
            "{} {}",
            dataset.name(),
            field.name()
        );
    }
}

fn value(field: &FilterField) -> String {
    if let Some(label) = field.labels().first() {
        return label.clone();
    }
    let value = match field.kind() {
        ColumnKind::Boolean | ColumnKind::Label(_) => "true",
        ColumnKind::Integer => "7",
        ColumnKind::Decimal | ColumnKind::Float => "2.5",
        ColumnKind::Date | ColumnKind::Timestamp | ColumnKind::Timestamptz => "2026-01-03",
        ColumnKind::Time => "01:10",
        // md5 of 7.
        ColumnKind::Uuid => "8f14e45f-ceea-167a-5a36-dedd4bea2543",
        ColumnKind::Text | ColumnKind::Json | ColumnKind::Data | ColumnKind::Typed(_) => {
            "T7, \"é\""
        }
    };
    value.to_owned()
}

/// A value that a file shows finds its row again, whatever its type is, and so does another way to write what PostgreSQL takes for equal.
#[test]
fn a_filter_of_any_type_takes_what_the_file_shows() {
    const COLUMNS: [(&str, &str, &str, &str); 16] = [
        ("padded", "char(5)", "'ab'", "'xy'"),
        ("caseless", "citext", "'Ab'", "'b'"),
        ("letter", "\"char\"", "'a'", "'b'"),
        ("called", "name", "'a '", "'a'"),
        ("address", "inet", "'1.2.3.4'", "'1.2.3.4/24'"),
        ("markup", "xml", "'<a/>'", "'<b/>'"),
        ("document", "json", "'{\"a\" : 1}'", "'{}'"),
        ("place", "point", "'(1,2)'", "'(2,1)'"),
        ("vector", "tsvector", "'a:1 b:2'", "'a'"),
        ("pair", "pair", "'(1,\"a b\")'", "'(1,)'"),
        ("relation", "regclass", "'things'", "'pg_class'"),
        ("texts", "text[]", "'{a,NULL}'", "'{}'"),
        ("mood", "\"Mood\"", "'ü, \"so\"'", "'so'"),
        ("moody", "moody", "' so'", "'so'"),
        ("currency", "char(3)", "'EUR'", "'USD'"),
        ("uuid", "uuid", "md5('a')::uuid", "md5('b')::uuid"),
    ];
    let list = |part: fn(&(&str, &str, &str, &str)) -> String| {
        COLUMNS.iter().map(part).collect::<Vec<_>>().join(", ")
    };
    let database = TestDatabase::with(&format!(
        "create extension citext; create schema mine; set search_path = mine, public; create type pair as (number integer, text text);
         create type \"Mood\" as enum ('ü, \"so\"', 'so', ' so'); create domain moody as \"Mood\";
         create table currencies (code char(3) primary key); insert into currencies values ('EUR'), ('USD');
         create table things (id integer, {}); insert into things values (1, {}), (2, {});
         create index on things (mood); create index on things (currency)",
        list(|(name, kind, ..)| format!("{name} {kind}")),
        list(|(_, _, first, _)| (*first).to_owned()),
        list(|(_, _, _, second)| (*second).to_owned()),
    ));
    let mut file = "version = 1\n[[dataset]]\nname = \"things\"\ntable = \"mine.things\"\n[[dataset.column]]\nname = \"id\"\n".to_owned();
    for (name, ..) in COLUMNS {
        for kind in ["exact", "id", "one-of", "contains"] {
            let is_enum = ["mood", "moody"].contains(&name);
            let is_text = ["padded", "caseless", "called", "currency"].contains(&name);
            if is_enum && kind == "id"
                || !is_enum && kind == "one-of"
                || !is_text && kind == "contains"
            {
                continue;
            }
            file += &format!(
                "[[dataset.filter]]\nname = \"{name}_{kind}\"\ncolumn = \"{name}\"\nkind = \"{kind}\"\n"
            );
        }
    }
    let client = client(&database.url);
    let mut connection = client.probe_connection().expect("a connection");
    let file = DatasetsFile::parse(file).expect("a file");
    let datasets = file.datasets(&mut connection).expect("the tables fit");
    let dataset = datasets.catalog().default();
    for field in dataset.filters() {
        let column = field.name().rsplit_once('_').expect("with its kind").0;
        let sql = format!(
            "select json_build_array(format('%s', {column})) from mine.things where id = 1"
        );
        let [shown]: [String; 1] =
            serde_json::from_slice(&oracle::psql(&database, &sql)).expect("an array");
        let mut values = vec![shown];
        values.extend(match field.name() {
            "padded_exact" => Some("ab".to_owned()),
            "caseless_id" => Some("aB".to_owned()),
            "uuid_id" => Some(values[0].to_uppercase()),
            _ => None,
        });
        for value in values {
            for strategy in [Strategy::Copy, Strategy::Streamed] {
                let mut export = Export {
                    strategy,
                    ..Export::of(dataset)
                };
                let read = field.parse(&value).expect("a value");
                export.filter.set(field, read).expect("its own");
                let outcome = run(&client, &export);
                let what = format!("{} {value:?} {strategy:?}", field.name());
                assert_eq!(
                    String::from_utf8_lossy(outcome.whole(&what)),
                    "id\n1\n",
                    "{what}"
                );
            }
        }
    }
    for (name, value) in [("mood_one-of", "so"), ("currency_exact", "EUR")] {
        let pairs = [(name.into(), value.into())];
        let filter = filter_from_pairs(dataset, pairs).expect("understood");
        let query = dataset.own(Select::of([Selected::One]).with(filter.own_conditions()));
        let sql = diesel::debug_query::<diesel::pg::Pg, _>(&query).to_string();
        let sql = sql.replace("$1", &format!("text '{value}'"));
        let plan = oracle::psql(
            &database,
            &format!("set enable_seqscan = off; explain {sql}"),
        );
        let plan = String::from_utf8_lossy(&plan);
        assert!(plan.contains("Index Cond"), "{plan}");
    }
    let rename = "alter type mine.\"Mood\" add value 'new'; alter type mine.\"Mood\" rename value 'so' to 'sa'";
    for sql in rename.split("; ") {
        database.connect().batch_execute(sql).expect("the SQL runs");
    }
    let differences = datasets.differences(&mut connection).expect("read");
    let said = ["mood", "moody"].map(|name| {
        format!("things: the filter `{name}_one-of` has no `so` any more: start again")
    });
    assert_eq!(differences, [("things".to_owned(), said.to_vec())]);
    // Several filters read it.
    let rename = "alter table mine.things rename letter to sign";
    let mut changed = database.connect();
    changed.batch_execute(rename).expect("the SQL runs");
    let differences = datasets.differences(&mut connection).expect("read");
    let [(_, said)] = &*differences else {
        panic!("{differences:?}");
    };
    assert_eq!(said.len(), 1, "{said:?}");
}
