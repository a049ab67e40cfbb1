//! Exports of datasets that a file declares: psql's bytes, by every strategy.

use std::process::Output;

use diesel::connection::SimpleConnection;
use diesel_export::Strategy;
use serde_json::Value;
use tempfile::TempDir;

use super::{filled, written};
use crate::support::cluster::{PASSWORD_VERIFIER, as_role};
use crate::support::{TestDatabase, oracle, program};

const FILE: &str = include_str!("shop.toml");

/// Each dataset, the columns to export (all that are there by default, if there are none), and the query that psql copies.
const EXPORTS: [(&str, &str, &str); 8] = [
    (
        "orders",
        "",
        r#"select o.id, o."order" as "A ""note""", o.placed_at as "Placed", c.name as customer, r.name as referrer
           from shop.orders o left join shop.customers c on c.id = o.customer_id left join shop.customers r on r.id = c.referrer_id order by o.id"#,
    ),
    (
        "orders",
        "tags,facts,due,gross,mood,paid,referrer",
        "select o.tags, o.facts, o.due, o.gross, o.mood, o.is_paid as paid, r.name as referrer
         from shop.orders o left join shop.customers c on c.id = o.customer_id left join shop.customers r on r.id = c.referrer_id order by o.id",
    ),
    (
        "items",
        "",
        r#"select i.order_id, i.position, p.title as product, c.name as customer, f.product_sku as "First of the order"
           from shop.order_items i left join shop.products p on p.sku = i.product_sku
               left join shop.orders o on o.id = i.order_id left join shop.customers c on c.id = o.customer_id
               left join shop.order_items f on f.order_id = i.order_id and f.position = i.quantity
           order by i.order_id, i.position"#,
    ),
    (
        "customers",
        "",
        "select c.id, c.name, c.email, r.name as referrer, rr.email as referrer_of_referrer
         from shop.customers c left join shop.customers r on r.id = c.referrer_id left join shop.customers rr on rr.id = r.referrer_id order by c.id",
    ),
    (
        "customers",
        "referrer,name",
        "select r.name as referrer, c.name from shop.customers c left join shop.customers r on r.id = c.referrer_id order by c.id",
    ),
    (
        "sizes",
        "",
        r#"select " -x" as x, "Select", "a,b" as "a b" from shop."Größe, ""quoted"" and it's a table" order by " -x""#,
    ),
    (
        "paid_orders",
        "",
        "select p.id, o.net, p.customer from shop.paid_orders p left join shop.orders o on o.id = p.id order by p.id",
    ),
    ("plain", "", "select plain from other.select"),
];

struct Exporting {
    database: TestDatabase,
    directory: TempDir,
    file: String,
}

impl Exporting {
    fn new(file: &str) -> Self {
        let (directory, file) = written(file);
        Self {
            database: filled(),
            directory,
            file,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program(&self.database.url);
        command.args(["export", "--datasets", &self.file]);
        command.args(arguments).output().expect("the program runs")
    }

    /// The CSV, and what the manifest says.
    fn export(&self, dataset: &str, columns: &str, strategy: Strategy) -> (Vec<u8>, Value) {
        let path = self.directory.path().join("manifest.json");
        let manifest = path.to_str().expect("UTF-8");
        let mut arguments = vec![
            dataset,
            "--strategy",
            strategy.name(),
            "--manifest",
            manifest,
        ];
        if !columns.is_empty() {
            arguments.extend(["--columns", columns]);
        }
        let output = self.run(&arguments);
        assert!(
            output.status.success(),
            "{dataset} {strategy:?}: {output:?}"
        );
        let manifest = std::fs::read(path).expect("written");
        let manifest = serde_json::from_slice(&manifest).expect("JSON");
        (output.stdout, manifest)
    }
}

fn psql(database: &TestDatabase, query: &str) -> Vec<u8> {
    let sql = format!("set timezone = 'UTC'; copy ({query}) to stdout with (format csv, header)");
    oracle::psql(database, &sql)
}

#[test]
fn every_strategy_writes_psqls_bytes() {
    let exporting = Exporting::new(FILE);
    for (dataset, columns, query) in EXPORTS {
        let expected = psql(&exporting.database, query);
        for &strategy in Strategy::all() {
            let (csv, manifest) = exporting.export(dataset, columns, strategy);
            let got = String::from_utf8_lossy(&csv);
            assert!(
                csv == expected,
                "{dataset} {strategy:?}: {}",
                &got[..got.len().min(500)]
            );
            let made = match (strategy, dataset) {
                (Strategy::Joined, _) => "tuples",
                // Keys of two columns, none, a key in a view, and columns that two columns refer to.
                (Strategy::Lookup, "items" | "plain") => "copy",
                (Strategy::Lookup, _) => "lookup",
                (strategy, _) => strategy.name(),
            };
            assert_eq!(manifest["strategy"], made, "{dataset}: {manifest:#}");
        }
    }
}

/// Values of filters, with the dataset's, and the condition of psql.
const FILTERS: [(&str, &[&str], &str); 11] = [
    ("orders", &["note=DER 12"], r#"o."order" ilike '%der 12%'"#),
    (
        "orders",
        &["placed_from=2026-01-03", "placed_to=2026-01-04"],
        "o.placed_at >= '2026-01-03' and o.placed_at < '2026-01-05'",
    ),
    (
        "orders",
        &["mood=so-so,none"],
        "o.mood = 'so-so' or o.mood is null",
    ),
    ("orders", &["mood=it's \"bad\""], "o.mood = 'it''s \"bad\"'"),
    ("orders", &["paid=false"], "not o.is_paid"),
    ("orders", &["customer_id=7,8"], "o.customer_id in (7, 8)"),
    (
        "orders",
        &["customer=Customer, 7", "customer=Customer, 9"],
        "c.name in ('Customer, 7', 'Customer, 9')",
    ),
    ("orders", &["referrer=3"], "r.id = 3"),
    (
        "orders",
        &["referrer=none", "paid=true"],
        "r.id is null and o.is_paid",
    ),
    (
        "orders",
        &["gross_from=100.5", "gross_to=200"],
        "o.gross between 100.5 and 200",
    ),
    (
        "orders",
        &["paid=true", "placed_to=2026-01-05T10:00:00Z"],
        "o.is_paid and o.placed_at <= '2026-01-05T10:00:00Z'",
    ),
];

#[test]
fn every_filter_leaves_psqls_rows_by_every_strategy() {
    let exporting = Exporting::new(FILE);
    for (dataset, filters, condition) in FILTERS {
        let query = format!(
            r#"select o.id, r.name as referrer from shop.orders o left join shop.customers c on c.id = o.customer_id
               left join shop.customers r on r.id = c.referrer_id where {condition} order by o.id"#
        );
        let expected = psql(&exporting.database, &query);
        for strategy in ["streamed", "copy", "lookup"] {
            let mut arguments = vec![dataset, "--columns", "id,referrer", "--strategy", strategy];
            for filter in filters {
                arguments.extend(["--filter", filter]);
            }
            let output = exporting.run(&arguments);
            assert!(
                output.status.success(),
                "{filters:?} {strategy}: {output:?}"
            );
            let got = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.stdout == expected,
                "{filters:?} {strategy}: {}",
                &got[..got.len().min(500)]
            );
        }
    }
}

#[test]
fn a_role_with_grants_on_columns_alone_exports_these() {
    let exporting = Exporting::new(
        "version = 1\n[[dataset]]\nname = \"staff\"\ntable = \"shop.staff\"\nkey = [\"id\"]
         [[dataset.column]]\nname = \"name\"\n[[dataset.column]]\nname = \"salary\"\n",
    );
    let database = &exporting.database;
    let role = format!("clerk_of_{}", database.name());
    let run = |sql: &str| database.connect().batch_execute(sql).expect("the SQL runs");
    run(&format!(
        "create role {role} login password '{PASSWORD_VERIFIER}'; grant usage on schema shop to {role};
         grant select (id, name) on shop.staff to {role}"
    ));
    let export = |strategy: &str| {
        let mut command = program(&as_role(&database.url, &role));
        command.args([
            "export",
            "--datasets",
            &exporting.file,
            "--strategy",
            strategy,
        ]);
        command.output().expect("the program runs")
    };
    let refused = export("copy");
    run(&format!("grant select (salary) on shop.staff to {role}"));
    let exported = ["copy", "lookup", "streamed"].map(export);
    run(&format!("drop owned by {role}; drop role {role}"));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said.contains("datasets.toml:9:8: the role may not read the column `salary` of shop.staff"),
        "{said}"
    );
    for output in exported {
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "name,salary\nAnn,10\nBob,\n",
            "{output:?}"
        );
    }
}

#[test]
fn the_benchmark_measures_a_dataset_of_the_file() {
    let exporting = Exporting::new(FILE);
    // As in a database that has no table of the program's own.
    let only_theirs = "drop schema public cascade; create schema public";
    let mut connection = exporting.database.connect();
    connection.batch_execute(only_theirs).expect("the SQL runs");
    let path = exporting.directory.path().join("report.json");
    let bench = |arguments: &[&str]| {
        let mut command = program(&exporting.database.url);
        command.args(["bench", "--datasets", &exporting.file, "--runs", "1"]);
        command.args(arguments).output().expect("the program runs")
    };
    let output = bench(&["customers", "--json", path.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("500 customers, "),
        "{output:?}"
    );
    let report = std::fs::read(path).expect("written");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(
        (&report["dataset"], &report["same_bytes"]),
        (&"customers".into(), &true.into()),
        "{report:#}"
    );
    let tables = report["environment"]["tables"].as_array();
    let tables: Vec<_> = tables.expect("an array").iter().collect();
    assert_eq!(tables.len(), 1, "{report:#}");
    assert_eq!(tables[0]["name"], "shop.customers");
    assert!(tables[0]["bytes"].as_i64() > Some(0), "{report:#}");
    let results = report["results"].as_array().expect("an array");
    let strategies: Vec<&str> = results
        .iter()
        .filter_map(|result| result["strategy"].as_str())
        .collect();
    assert_eq!(
        strategies,
        ["tuples", "streamed", "paged", "copy", "lookup"]
    );
    assert!(
        results.iter().all(|result| result["error"].is_null()),
        "{report:#}"
    );
    for (arguments, said) in [
        (
            ["custmers"].as_slice(),
            "there is no dataset `custmers`: did you mean `customers`?",
        ),
        (&["--rows", "5"], "cannot be used with"),
    ] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(said),
            "{output:?}"
        );
    }
}

/// A foreign key leads to rows of the table alone, by the key's collation, and so does its unique index.
#[test]
fn neither_tables_that_inherit_nor_other_collations_multiply_a_row() {
    let database = TestDatabase::with(
        r#"create schema mine; set search_path = mine; create table nothing ();
         create table places (id int primary key, name text not null); create table secret_places () inherits (places);
         do $$ begin
             if exists (select from pg_collation where collprovider = 'i') then
                 create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             else
                 create collation loose from "POSIX";
             end if;
         end $$;
         create table codes (code text collate "C" primary key, name text not null); insert into codes values ('de', 'lower'), ('DE', 'upper');
         create table things (id int primary key, place_id int references places, code text collate "POSIX" references codes, own text collate loose);
         insert into places select n, 'place ' || n from generate_series(1, 100) n; insert into secret_places select n, 'secret' from generate_series(1, 50) n;
         insert into things select n, nullif(n % 101, 0), (array['de', 'DE', null])[n % 3 + 1], (array['DE', 'de', 'dE'])[n % 3 + 1] from generate_series(1, 30000) n; analyze"#,
    );
    let init = program(&database.url)
        .args(["datasets", "init", "--schema", "mine"])
        .output();
    let file = String::from_utf8(init.expect("the program runs").stdout).expect("UTF-8");
    assert!(
        file.contains("# Without columns, so left out: mine.nothing\n"),
        "{file}"
    );
    let (_, places) = file.split_once("name = \"places\"").expect("a dataset");
    let (places, _) = places.split_once("[[").expect("columns");
    assert!(!places.contains("key = "), "{places}");
    assert!(
        file.contains("# Other tables inherit from this one, "),
        "{file}"
    );
    let step = "via = { columns = [\"own\"], table = \"mine.codes\", key = [\"code\"] }";
    let (_directory, path) = written(format!(
        "{file}[[dataset.column]]\nname = \"name\"\n{step}\n[[dataset.filter]]\nname = \"name\"\n{step}\nkind = \"exact\"\n"
    ));
    for (columns, filter, query) in [
        (
            "id,place_name",
            None,
            "select t.id, p.name as place_name from mine.things t left join only mine.places p on p.id = t.place_id order by t.id",
        ),
        (
            "id,place_name,code_name,name",
            None,
            "select t.id, p.name as place_name, c.name as code_name, o.name from mine.things t left join only mine.places p on p.id = t.place_id
             left join mine.codes c on c.code = t.code collate \"C\" left join mine.codes o on o.code = t.own collate \"C\" order by t.id",
        ),
        (
            "id",
            Some("--filter=name=lower"),
            "select id from mine.things where own collate \"C\" = 'de' order by id",
        ),
    ] {
        let expected = psql(&database, query);
        for strategy in Strategy::all() {
            let mut command = program(&database.url);
            command.args(["export", "things", "--datasets", &path]);
            command.args(["--columns", columns]).args(filter);
            let output = command.args(["--strategy", strategy.name()]).output();
            let output = output.expect("the program runs");
            assert!(
                output.stdout == expected,
                "{strategy:?} {columns}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}
