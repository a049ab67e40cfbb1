//! `examples/shop`: an application with its own tables, login and tenants. Employees of one tenant export what psql selects of that tenant,
//! and no route has anything of the other one.

use std::path::Path;

use actix_web::web::ServiceConfig;
use diesel::connection::SimpleConnection;
use diesel_export::Strategy;
use serde_json::{Value, json};
use shop::Shop;
use ureq::Agent;
use ureq::http::Response;

use super::Mounting;
use crate::support::browser::Browser;
use crate::support::client::{Download, End};
use crate::support::gate::{Gate, Gated};
use crate::support::{TestDatabase, eventually, oracle};

const SCHEMA: &str = include_str!("../../../examples/shop/schema.sql");

/// Rows of two tenants. All that is globex's has its name in it.
const ROWS: &str = "
    create function key(n bigint) returns uuid language sql immutable as 'select lpad(to_hex(n), 32, ''0'')::uuid';
    create function tenant(n bigint) returns text language sql immutable as 'select case n % 2 when 0 then ''acme'' else ''globex'' end';
    insert into employees select name, tenant, manages, sha256(convert_to(name, 'UTF8')) from (values
        ('ann', 'acme', true), ('bob', 'acme', false), ('gus', 'globex', true)) e (name, tenant, manages);
    insert into customers select key(n), tenant(n), tenant(n) || ' customer ' || n, nullif(tenant(n) || n || '@example.org', 'acme4@example.org')
        from generate_series(1, 300) n;
    insert into products select key(n), tenant(n), tenant(n) || ' product ' || n, n / 7.0, jsonb_build_object('made by', tenant(n), 'size', n)
        from generate_series(1, 50) n;
    insert into orders select key(n), tenant(n), nullif(key(n % 298 + 2), key(4)), (enum_range(null::order_state))[n / 2 % 4 + 1],
        '2026-01-01'::timestamptz + n * interval '7 h', case when n % 5 > 0 then tenant(n) || ', \"quickly\"' end
        from generate_series(1, 2000) n;
    insert into order_lines select key(n), line, key((n + 2 * line) % 48 + 2), line * 3
        from generate_series(1, 2000) n, generate_series(1, 3) line;";

/// The columns of each dataset, its tables, and its condition and order in the oracle's SQL.
const DATASETS: [(&str, &str, &str); 4] = [
    (
        "orders",
        r#"o.id as "ID", c.name as "Customer", o.state as "State", o.ordered_at as "Ordered At", o.note as "Note"
           from orders o left join customers c on c.id = o.customer_id where o.tenant"#,
        "o.id",
    ),
    (
        "order_lines",
        r#"l.order_id as "Order ID", l.number as "Number", p.name as "Product", l.quantity as "Quantity"
           from order_lines l join orders o on o.id = l.order_id left join products p on p.id = l.product_id where o.tenant"#,
        "l.order_id, l.number",
    ),
    (
        "products",
        r#"id as "ID", name as "Name", price as "Price", properties as "Properties" from products where tenant"#,
        "id",
    ),
    (
        "customers",
        r#"id as "ID", name as "Name", email as "Email" from customers where tenant"#,
        "id",
    ),
];

/// The shop, open.
struct Open {
    database: TestDatabase,
    mounting: Mounting,
    agent: Agent,
}

impl Open {
    fn new() -> Self {
        Self::of(TestDatabase::with(&format!("{SCHEMA} {ROWS}")))
    }

    fn of(database: TestDatabase) -> Self {
        let url = database.url.clone();
        let mounting = Mounting::start(|spool: &Path| {
            let shop = Shop::open(&url, spool).expect("it opens");
            let mounted = shop.clone();
            let routes = move |config: &mut ServiceConfig| mounted.mount(config);
            (routes, move || shop.close())
        });
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0);
        Self {
            database,
            mounting,
            agent: agent.build().into(),
        }
    }

    /// Logs in, and returns the session's cookie.
    fn log_in(&self, name: &str) -> String {
        let form = self.agent.post(self.mounting.url("/login"));
        let response = form.send_form([("token", name)]).expect("an answer");
        assert_eq!(response.status(), 303, "{name}");
        let cookie = response.headers()["set-cookie"].to_str().expect("ASCII");
        let (cookie, _) = cookie.split_once(';').expect("with attributes");
        cookie.to_owned()
    }

    fn get(&self, cookie: &str, path: &str) -> (u16, String) {
        let request = self.agent.get(self.mounting.url(path));
        read(request.header("cookie", cookie).call())
    }

    /// Prepares an export of all customers, and returns its manifest when it is complete.
    fn prepare(&self, cookie: &str) -> Value {
        let request = self.agent.post(self.mounting.url("/exports/api/exports"));
        let request = request.header("cookie", cookie);
        let (status, manifest) = read(request.send_json(json!({"dataset": "customers"})));
        assert_eq!(status, 202, "{manifest}");
        let id = json(&manifest)["id"].as_str().expect("a text").to_owned();
        let mut manifest = Value::Null;
        eventually("it is complete", || {
            let (_, now) = self.get(cookie, &format!("/exports/api/exports/{id}"));
            manifest = json(&now);
            manifest["state"] == "complete"
        });
        manifest
    }
}

fn read(response: Result<Response<ureq::Body>, ureq::Error>) -> (u16, String) {
    let mut response = response.expect("an answer");
    let body = response.body_mut().read_to_vec().expect("complete");
    let text = String::from_utf8_lossy(&body).into_owned();
    (response.status().as_u16(), text)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn each_strategy_exports_what_psql_selects_of_the_tenant() {
    let open = Open::new();
    for (name, tenant) in [("ann", "acme"), ("gus", "globex")] {
        let cookie = open.log_in(name);
        for (dataset, select, order) in DATASETS {
            let query = format!("select {select} = '{tenant}' order by {order}");
            let copy = format!("copy ({query}) to stdout with (format csv, header)");
            let expected = oracle::psql(&open.database, &copy);
            let expected = String::from_utf8(expected).expect("UTF-8");
            assert!(expected.lines().count() > 20);
            for strategy in Strategy::all() {
                let path = format!("/exports/{dataset}.csv?strategy={strategy}");
                let (status, csv) = open.get(&cookie, &path);
                assert_eq!(status, 200, "{csv}");
                assert!(csv == expected, "{dataset} by {strategy} for {tenant}");
            }
        }
    }
}

#[test]
fn no_route_has_anything_of_the_other_tenant() {
    let open = Open::new();
    let gus = open.prepare(&open.log_in("gus"));
    let (gus_id, gus_file) = (gus["id"].as_str().unwrap(), gus["file"].as_str().unwrap());
    let cookie = open.log_in("ann");
    let ann = open.prepare(&cookie);

    let (status, document) = open.get(&cookie, "/exports/openapi.json");
    assert_eq!(status, 200);
    let paths = json(&document)["paths"].as_object().unwrap().clone();
    let mut asked = 0;
    for (path, item) in paths {
        if item.get("get").is_none() {
            continue;
        }
        let of_gus = path.replace("{id}", gus_id);
        let of_gus = of_gus.replace("{name}", "customers.csv");
        for query in [
            "",
            "?of=customers",
            "?of=customers&q=globex",
            "?name=globex",
            // The customer 5, who is globex's.
            "?customer_id=00000000-0000-0000-0000-000000000005",
            "?order=-id&count=false",
        ] {
            let path = format!("/exports{of_gus}{query}");
            let (status, body) = open.get(&cookie, &path);
            // What was asked for may be said again.
            let body = body
                .replace("“globex”", "")
                .replace("name=globex", "")
                .replace("value=\"globex\"", "");
            assert!(!body.contains("globex"), "{path}: {body}");
            assert_ne!(status, 500, "{path}");
            asked += usize::from(status == 200);
        }
        if path.contains("{id}") {
            assert_eq!(open.get(&cookie, &format!("/exports{of_gus}")).0, 404);
        }
    }
    assert!(asked > 60, "{asked}");
    assert_eq!(open.get(&cookie, gus_file).0, 404);
    for method in ["DELETE", "POST"] {
        let path = match method {
            "DELETE" => format!("/exports/api/exports/{gus_id}"),
            _ => format!("/exports/api/exports/{gus_id}/delete"),
        };
        let headers = [
            ("host", open.mounting.address.as_str()),
            ("cookie", &cookie),
        ];
        Download::request(&open.mounting.address, method, &path, &headers);
    }
    let (_, still) = open.get(&open.log_in("gus"), gus_file);
    assert!(still.contains("globex customer 5"));

    // What she has prepared had addresses in it.
    let ann_file = ann["file"].as_str().unwrap();
    assert_eq!(open.get(&cookie, ann_file).0, 200);
    let demote = "update employees set is_manager = false where name = 'ann'";
    open.database.connect().batch_execute(demote).unwrap();
    assert_eq!(open.get(&open.log_in("ann"), ann_file).0, 404);

    let orders = "/exports/api/orders?customer_id=00000000-0000-0000-0000-000000000005";
    assert_eq!(json(&open.get(&cookie, orders).1)["count"], 0);
    let (_, count) = open.get(&cookie, "/exports/api/order_lines/count");
    assert_eq!(json(&count)["count"], 3_000);
    let (_, customers) = open.get(&cookie, "/exports/api/filters?of=customers");
    assert_eq!(json(&customers)["choices"].as_array().unwrap().len(), 100);
}

#[test]
fn a_hidden_column_is_nowhere() {
    let open = Open::new();
    let cookie = open.log_in("bob");
    let (_, csv) = open.get(&cookie, "/exports/customers.csv");
    assert!(csv.starts_with("ID,Name\n"), "{csv:.40}");
    for query in ["columns=email", "order=email", "email=acme", "email_is=x"] {
        for path in ["/exports/customers.csv", "/exports/api/customers"] {
            let (status, problem) = open.get(&cookie, &format!("{path}?{query}"));
            assert_eq!(status, 400, "{path}?{query}: {problem}");
        }
    }
    for path in [
        "/exports/openapi.json",
        "/exports/customers",
        "/exports/api/customers",
    ] {
        let (status, body) = open.get(&cookie, path);
        assert_eq!(status, 200);
        assert!(!body.to_lowercase().contains("email"), "{path}");
    }
    let (_, page) = open.get(&open.log_in("ann"), "/exports/customers");
    assert!(page.contains("Email"));
}

#[test]
fn nobody_gets_in_without_a_login_but_probes() {
    let open = Open::new();
    for path in [
        "/exports/",
        "/exports/orders.csv",
        "/exports/metrics",
        "/exports/api/exports",
    ] {
        let (status, body) = open.get("shop-session=guessed", path);
        assert_eq!((status, &*body), (401, "log in at /login"), "{path}");
    }
    for path in ["/exports/livez", "/exports/readyz", "/login"] {
        assert_eq!(open.get("", path).0, 200, "{path}");
    }
    let (status, _) = read(
        open.agent
            .post(open.mounting.url("/login"))
            .send_form([("token", "x")]),
    );
    assert_eq!(status, 401);
}

#[test]
fn a_download_of_the_shop_whose_backend_is_killed_never_looks_complete() {
    let database = TestDatabase::with(&format!(
        "{SCHEMA} {ROWS}
         insert into customers select key(n), 'acme', 'acme customer ' || n, null from generate_series(1000, 9000) n;
         create function passes_gate(id bigint) returns boolean language plpgsql immutable as 'begin return true; end';
         alter table customers rename to all_customers;
         create view customers as select * from all_customers where passes_gate(substring(name from '[0-9]+$')::bigint);
         do $$ begin
             execute format('alter database %I set enable_sort = off', current_database());
             execute format('alter database %I set enable_seqscan = off', current_database());
             execute format('alter database %I set enable_bitmapscan = off', current_database());
         end $$"
    ));
    let open = Open::of(database);
    let cookie = open.log_in("ann");
    let gated = Gated {
        url: open.database.url.clone(),
        database: open.database,
    };
    for strategy in ["lookup", "copy", "streamed"] {
        let mut gate = Gate::close(&gated, 6_000);
        let path = format!("/exports/customers.csv?strategy={strategy}");
        let address = &open.mounting.address;
        let headers = [("host", address.as_str()), ("cookie", &cookie)];
        let mut download = Download::request(address, "GET", &path, &headers);
        assert_eq!(download.status, 200, "{strategy}");
        download.chunk().expect("a chunk").expect("not the last");
        gate.terminate();
        assert_eq!(download.finish().1, End::Broken, "{strategy}");
    }
}

#[test]
fn a_browser_logs_in_chooses_and_downloads() {
    let open = Open::new();
    let browser = Browser::start();
    browser.open(&open.mounting.url("/login"));
    browser.type_into("input", "ann");
    browser.click("button");
    browser.sees("h1", "Export orders");
    browser.sees("#count", "1,000");
    browser.click("input[name=state][value=paid]");
    browser.sees("#count", "250");
    assert!(!browser.text("main").contains("globex"));
    browser.click("input[name=format][value=csv]");
    browser.click("#download");
    browser.sees("#downloads", "complete");
}
