//! `serve` with a file of datasets: pages, previews, downloads, prepared exports; and tables that change under it.

use diesel::connection::SimpleConnection;
use serde_json::{Value, json};

use super::{filled, written};
use crate::support::cluster::{PASSWORD_VERIFIER, as_role};
use crate::support::{Download, Server, TestDatabase, oracle, prepared, program};

const FILE: &str = include_str!("shop.toml");

fn serve(database: &TestDatabase, file: &str) -> (Server, tempfile::TempDir) {
    let (directory, path) = written(file);
    let mut command = program(&database.url);
    (
        Server::spawn(command.args(["serve", "--datasets", &path])),
        directory,
    )
}

#[test]
fn the_service_has_the_datasets_of_the_file() {
    let database = filled();
    let (server, _directory) = serve(&database, FILE);
    let get = |path: &str| Download::start(&server.address, path);
    for page in ["/", "/items", "/readyz", "/metrics"] {
        assert_eq!(get(page).status, 200, "{page}");
    }
    // Those of the program are not there, nor is its benchmark.
    for page in ["/tasks.csv", "/api/tasks", "/benchmark"] {
        assert_eq!(get(page).status, 404, "{page}");
    }
    let csv = get("/customers.csv?columns=id,referrer&order=-name")
        .finish()
        .0;
    let expected = oracle::psql(
        &database,
        "copy (select c.id, r.name as referrer from shop.customers c left join shop.customers r on r.id = c.referrer_id
             order by c.name desc, c.id) to stdout with (format csv, header)",
    );
    assert!(csv == expected);
    assert_eq!(get("/sizes.xlsx").status, 200);
    let preview = get("/api/plain").json();
    let rows = json!([{"plain": "plain"}, {"plain": null}, {"plain": ""}]);
    assert_eq!(preview["rows"], rows, "{preview:#}");
    let openapi = get("/openapi.json").json();
    let paths = openapi["paths"].as_object().expect("an object");
    assert!(paths.contains_key("/items.csv") && !paths.contains_key("/tasks.csv"));
    let id = prepared::order(&server, &json!({"dataset": "items", "format": "xlsx"}));
    let manifest: Value = server.ended(&id);
    assert_eq!(manifest["state"], "complete", "{manifest:#}");
}

#[test]
fn a_dataset_whose_table_changes_is_not_served_the_others_are_and_it_comes_back_by_itself() {
    let database = filled();
    let (server, _directory) = serve(&database, FILE);
    let get = |path: &str| Download::start(&server.address, path);
    let run = |sql: &str| database.connect().batch_execute(sql).expect("the SQL runs");
    let differs = |path: &str| {
        let answer = get(path);
        assert_eq!(answer.status, 503, "{path}");
        let kind = answer.json()["type"].as_str().map(str::to_owned);
        assert!(
            kind.is_some_and(|kind| kind.ends_with("tables-differ")),
            "{path}"
        );
    };
    for (dataset, differing, change, back) in [
        (
            "customers",
            json!(["customers"]),
            "alter table shop.customers rename email to mail",
            "alter table shop.customers rename mail to email",
        ),
        (
            "customers",
            json!(["orders", "items", "customers"]),
            "alter table shop.customers rename to clients",
            "alter table shop.clients rename to customers",
        ),
        // PostgreSQL would answer, with a row for each match.
        (
            "items",
            json!(["items"]),
            "alter table shop.order_items drop constraint order_items_pkey",
            "alter table shop.order_items add primary key (order_id, position)",
        ),
        // With such changes, it may.
        (
            "items",
            json!(["items"]),
            "alter table shop.order_items alter product_sku type text collate \"C\"",
            "alter table shop.order_items alter product_sku type varchar(20)",
        ),
        (
            "items",
            json!(["items"]),
            "alter table shop.products alter sku type varchar(20) collate \"C\"",
            "alter table shop.products alter sku type varchar(20)",
        ),
        (
            "items",
            json!(["items"]),
            "alter table shop.order_items alter quantity type double precision",
            "alter table shop.order_items alter quantity type shop.positive",
        ),
    ] {
        let csv = format!("/{dataset}.csv");
        let before = get(&csv).finish().0;
        run(change);
        for path in [
            csv.clone(),
            format!("{csv}?strategy=streamed"),
            format!("/{dataset}.xlsx"),
            format!("/api/{dataset}"),
        ] {
            differs(&path);
        }
        for path in ["/sizes.csv", "/api/plain"] {
            assert_eq!(get(path).status, 200, "{change}: {path}");
        }
        let ready = get("/readyz").json();
        assert_eq!(ready["differing"], differing, "{change}");
        run(back);
        assert!(get(&csv).finish().0 == before, "{back}");
        assert!(get("/readyz").json().get("differing").is_none(), "{back}");
    }
    assert!(get("/customers.csv").finish().0 == customers(&database));
    assert!(
        server.has_logged("customers: shop.customers has no column `email`: did you mean `mail`?")
    );
    assert!(server.has_logged("customers: there is no table or view Shop.Customers"));
    for said in [
        "items: shop.order_items may have several rows with the same",
        "items: the collation of shop.products.sku was pg_catalog.\"default\" at the start, and is pg_catalog.\"C\": start again",
        "items: `quantity` is of the type double precision and `position` of the type smallint: a step",
    ] {
        assert!(server.has_logged(said), "{said}");
    }
    run("alter schema shop rename to closed; alter schema other rename to shut");
    differs("/readyz");
    run("alter schema closed rename to shop; alter schema shut rename to other");
    assert_eq!(get("/readyz").status, 200);
}

#[test]
fn a_column_of_another_type_is_exported_as_the_declared_one_or_not_at_all() {
    let database = filled();
    let (server, _directory) = serve(&database, FILE);
    let get = |path: &str| Download::start(&server.address, path);
    let run = |sql: &str| database.connect().batch_execute(sql).expect("the SQL runs");
    run("alter table shop.orders alter due type text using '=1+1';
         create table shop.goods (like shop.products including all); insert into shop.goods select * from shop.products;
         alter table shop.order_items drop constraint order_items_product_sku_fkey, add foreign key (product_sku) references shop.goods");
    // A formula, if it were still a date.
    let path = "/orders.csv?columns=id,due&preset=excel";
    let answer = get(path);
    assert_eq!(answer.status, 503, "{}", answer.status);
    assert_eq!(get("/orders.csv?columns=id").status, 200);
    let ready = get("/readyz").json();
    assert_eq!(ready["differing"], json!(["orders", "items"]));
    for said in [
        "orders: shop.orders.due was date at the start, and is text: start again",
        "items: what was shop.products.title at the start is shop.goods.title: start again",
    ] {
        assert!(server.has_logged(said), "{said}");
    }
    run("alter table shop.orders alter due type text using '2026-01-02'");
    let csv = get(path).finish().0;
    assert!(String::from_utf8_lossy(&csv).contains(",2026-01-02\r\n"));
}

#[test]
fn the_service_is_ready_as_long_as_a_default_export_begins() {
    let database = filled();
    let role = format!("watcher_of_{}", database.name());
    let run = |sql: String| {
        database
            .connect()
            .batch_execute(&sql)
            .expect("the SQL runs")
    };
    run(format!(
        "create role {role} login password '{PASSWORD_VERIFIER}'; grant usage on schema shop to {role}; grant select on shop.staff to {role}"
    ));
    let (_directory, path) = written(
        "version = 1\n[[dataset]]\nname = \"staff\"\ntable = \"shop.staff\"\nkey = [\"id\"]
         [[dataset.column]]\nname = \"name\"\n[[dataset.column]]\nname = \"salary\"\ndefault = false\n",
    );
    let mut command = program(&as_role(&database.url, &role));
    let server = Server::spawn(command.args(["serve", "--datasets", &path]));
    let get = |path: &str| Download::start(&server.address, path);
    run("alter table shop.staff rename salary to pay".to_owned());
    let ready = [get("/staff.csv").status, get("/readyz").status];
    run(format!("revoke usage on schema shop from {role}"));
    let unready = [get("/staff.csv").status, get("/readyz").status];
    drop(server);
    run(format!("drop owned by {role}; drop role {role}"));
    assert_eq!((ready, unready), ([200, 200], [503, 503]));
}

fn customers(database: &TestDatabase) -> Vec<u8> {
    let sql = "copy (select c.id, c.name, c.email, r.name as referrer, rr.email as referrer_of_referrer
        from shop.customers c left join shop.customers r on r.id = c.referrer_id left join shop.customers rr on rr.id = r.referrer_id order by c.id)
        to stdout with (format csv, header)";
    oracle::psql(database, sql)
}

/// The label may be of any type, be no filter, or not be there: then the key is.
#[test]
fn choices_are_listed_and_found_by_what_their_label_prints() {
    const LABELS: [(&str, &str, &str, &str); 5] = [
        ("number", "integer", "n", "12"),
        ("document", "json", "json_build_object('n', n)", "12}"),
        ("Name", "text", "'Name ' || n", "NAME 12"),
        (
            "state",
            "state",
            "(enum_range(null::state))[1 + n % 2]",
            "ol",
        ),
        ("", "", "", "12"),
    ];
    let mut sql =
        "create schema mine; set search_path = mine; create type state as enum ('old', 'new');"
            .to_owned();
    let mut file = "version = 1\n".to_owned();
    for (index, (label, kind, value, _)) in LABELS.iter().enumerate() {
        let (column, values) = match *label {
            "" => (String::new(), String::new()),
            label => (format!(", \"{label}\" {kind}"), format!(", {value}")),
        };
        sql += &format!(
            "create table t{index} (id text primary key{column}, parent text references t{index});
             insert into t{index} select n{values}, null from generate_series(1, 20) n;"
        );
        file += &format!(
            "[[dataset]]\nname = \"t{index}\"\ntable = \"mine.t{index}\"\nkey = [\"id\"]\n"
        );
        if !label.is_empty() {
            file += &format!("label = \"{label}\"\n[[dataset.column]]\nname = \"{label}\"\n");
        }
        file += "[[dataset.column]]\nname = \"id\"\n[[dataset.filter]]\nname = \"parent\"\nkind = \"id\"\n";
    }
    let database = TestDatabase::with(&sql);
    let (server, _directory) = serve(&database, &file);
    for (index, (label, .., search)) in LABELS.iter().enumerate() {
        let found = |search: &str| {
            let search = search.replace(' ', "+").replace('}', "%7D");
            let answer = Download::start(
                &server.address,
                &format!("/api/filters?of=t{index}&q={search}"),
            );
            assert_eq!(answer.status, 200, "{label:?} {search}");
            let choices = answer.json()["choices"].clone();
            serde_json::from_value::<Vec<Value>>(choices).expect("an array")
        };
        assert_eq!(found("").len(), 20, "{label}");
        let expected = if *label == "state" { 10 } else { 1 };
        assert_eq!(found(search).len(), expected, "{label} {search}");
        let page = Download::start(&server.address, &format!("/t{index}?parent_q=12"));
        assert_eq!(page.status, 200, "{label}");
    }
    let sql = "insert into mine.t4 values ('none', null), ('child', 'none')";
    database.connect().batch_execute(sql).expect("the SQL runs");
    let get = |path: &str| Download::start(&server.address, path);
    let choices = get("/api/filters?of=t4&q=none").json();
    assert_eq!(
        choices["choices"][0],
        json!({"id": "\\none", "name": "none"})
    );
    for (value, count) in [("%5Cnone", 1), ("none", 21), ("%5Cnone&parent=none", 22)] {
        let counted = get(&format!("/api/t4/count?parent={value}")).json();
        assert_eq!(counted["count"], count, "{value}");
    }
    let page = prepared::get(&server, "/t4?parent=%5Cnone&parent_q=1", &[]);
    let page = String::from_utf8(page.body).expect("UTF-8");
    assert!(
        page.contains("<option value=\"\\none\" selected>none</option>"),
        "{page}"
    );
}
