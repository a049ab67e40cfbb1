//! Filters that have the names of others: in another dataset, on the page, and with any characters in them.

use serde_json::json;

use super::written;
use crate::support::browser::Browser;
use crate::support::{Server, TestDatabase, oracle, prepared, program};

const SQL: &str = "create schema mine; set search_path = mine;
    create table zones (id uuid primary key, name text not null);
    create table districts (id int primary key, name text not null);
    create table cities (id int primary key, name text not null);
    create table customers (id int primary key, name text not null, zone_id int references districts, city_id int references cities,
        region_id int references cities, referrer_id int references customers);
    create table orders (id int primary key, customer_id int references customers, zone_id uuid references zones, region_id int references cities,
        note text, \"first name\" text, amount numeric, at time, previous_id int references orders);
    insert into zones values ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'Zone'); insert into districts values (1, 'District');
    insert into cities select n, 'City ' || n from generate_series(1, 3) n;
    insert into customers select n, 'Customer ' || lpad(n::text, 3, '0'), 1, case when n > 5 then 1 else 2 end, 3, nullif(n, 1) - 1
        from generate_series(1, 300) n;
    insert into orders select n, n, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 2, 'note ' || n, 'Ann', 3, '14:30:05.123456' from generate_series(1, 300) n;
    insert into orders values (301, 3, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 2, 'x', 'Bob', 1.00000000000000000001, '12:00'),
        (303, 3, null, 2, E'two\\nlines', 'Cid', 1, '12:00'), (302, 3, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 2, 'x', 'Bob', 1, '12:00');";

const FILE: &str = r#"
    version = 1
    [[dataset]]
    name = "customers"
    table = "mine.customers"
    key = ["id"]
    label = "name"
    column = [{ name = "id" }, { name = "name" }]
    filter = [{ name = "name", kind = "contains" }, { name = "zone_id", kind = "id" }, { name = "city_id", kind = "id" },
        { name = "region_id", kind = "id" }, { name = "previous_id", column = "referrer_id", kind = "id" }]
    [[dataset]]
    name = "orders"
    table = "mine.orders"
    key = ["id"]
    label = "note"
    column = [{ name = "id" }, { name = "first name" }, { name = "note" }]
    filter = [{ name = "customer_id", kind = "id" }, { name = "zone_id", kind = "id" }, { name = "region_id", kind = "id" },
        { name = "previous_id", kind = "id" }, { name = "city_id", via = ["customer_id"], kind = "id" }, { name = "customer_q", column = "note", kind = "contains" },
        { name = "rows", column = "note", kind = "contains" }, { name = "elements", column = "first name", kind = "contains" },
        { name = "amount", kind = "range" }, { name = "at", kind = "range" },
        { name = "größe\n\"x\"; y_id", column = "note", kind = "exact" }]
    [[dataset]]
    name = "zones"
    table = "mine.zones"
    key = ["id"]
    label = "name"
    column = [{ name = "name" }]
    [[dataset]]
    name = "districts"
    table = "mine.districts"
    key = ["id"]
    label = "name"
    column = [{ name = "name" }]
    [[dataset]]
    name = "cities"
    table = "mine.cities"
    key = ["id"]
    label = "name"
    column = [{ name = "name" }]
"#;

const ZONE: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
const STRANGE: &str = "größe\n\"x\"; y_id";

fn served(test: impl FnOnce(&TestDatabase, &Server)) {
    let database = TestDatabase::with(SQL);
    let (_directory, path) = written(FILE);
    let server = Server::spawn(program(&database.url).args(["serve", "--datasets", &path]));
    test(&database, &server);
}

#[test]
fn a_filter_is_that_of_its_own_dataset_and_its_name_may_have_any_characters() {
    served(|database, server| {
        let get = |path: &str| prepared::get(server, path, &[]);
        // What a page's filter offers, beside all, none and what is chosen.
        let offered = |path: &str, name: &str| {
            let page = get(path);
            assert_eq!(page.status, 200, "{path}");
            let html = String::from_utf8(page.body).expect("UTF-8");
            let list = html.split(&format!("name=\"{name}\"")).nth(1);
            let list = list.and_then(|rest| rest.split("</select>").next());
            list.map_or(0, |list| list.matches(">Customer").count())
        };
        let all = format!("/orders?zone_id={ZONE}&region_id=2");
        assert_eq!(offered(&all, "customer_id"), 100, "not theirs");
        assert_eq!(offered(&format!("{all}&city_id=2"), "customer_id"), 5);
        assert_eq!(offered("/customers?previous_id=1", "previous_id"), 100);
        for (zone, status) in [(ZONE, 200), ("1", 200), ("here", 400)] {
            let path = format!("/api/filters?of=cities&zone_id={zone}");
            assert_eq!(get(&path).status, status, "{path}");
        }
        let count = get("/api/orders/count?customer_q=x").json();
        assert_eq!(count["count"], 2);
        let page = get("/orders?customer_q=x").body;
        assert!(String::from_utf8_lossy(&page).contains("<strong>2</strong> orders match"));

        let body = format!(
            r#"{{"dataset": "orders", "zone_id": "{ZONE}", "customer_id": ["3", "none"], "amount_from": 1.00000000000000000001, "amount_to": 2,
                "größe\n\"x\"; y_id": "x"}}"#
        );
        let ordered = prepared::post(server, "application/json", &body, &[]);
        assert_eq!(ordered.status, 202);
        let id = ordered.json()["id"].as_str().expect("a text").to_owned();
        let address = prepared::complete(server, &id);
        let file = prepared::get(server, &address, &[]);
        let csv = "copy (select id, \"first name\", note from mine.orders where id = 301) to stdout with (format csv, header)";
        assert!(file.body == oracle::psql(database, csv));
        let name = file.header("content-disposition").unwrap_or_default();
        let start = "attachment; filename=\"orders-customer-3-none-zone-a0eebc99-9c0b-4ef8-bb6d-6bb9bd-amount-from-1-0000";
        assert!(name.starts_with(start), "{name}");
        let manifest = server.manifest(&id);
        let mut again = manifest["filter"].clone();
        assert_eq!(again[STRANGE], "x", "{again}");
        again["dataset"] = json!("orders");
        let (again, _) = prepared::prepare(server, &again);
        assert_eq!(server.manifest(&again)["filter"], manifest["filter"]);
        let strange = get("/orders.csv?gr%C3%B6%C3%9Fe%0A%22x%22%3B+y_id=x");
        let name = strange.header("content-disposition").unwrap_or_default();
        assert!(name.contains("filename=\"orders-gr-e-x-y-x-2"), "{name}");
        assert!(
            name.contains("UTF-8''orders-gr%C3%B6%C3%9Fe-x-y-x-2"),
            "{name}"
        );
    });
}

#[test]
fn the_page_keeps_every_filter_whatever_it_is_called_and_set_to() {
    served(|_, server| {
        let browser = Browser::start();
        prepared::prepare(server, &json!({"dataset": "customers", "previous_id": "1"}));
        let command = || browser.property("#curl", "value");
        // What fields for numbers and times cannot hold.
        browser.open(&server.url("/orders?order=-note&columns=note,first+name&amount_from=1e0&amount_to=%2B5&at_from=14:30:05.123456"));
        browser.sees("#count", "300 orders match");
        browser.eventually("the download has the same", || {
            command().contains("&amount_to=%2B5")
                && command().contains("&at_from=14%3A30%3A05.123456")
        });
        browser.open(&server.url("/orders?gr%C3%B6%C3%9Fe%0A%22x%22%3B+y_id=two%0Alines"));
        browser.sees("#count", "1 order matches");
        assert!(command().contains("=two%0Alines'"), "{}", command());
        browser.assert_accessible("a text of two lines");
        browser.open(&server.url("/orders?order=-note&columns=note,first+name"));
        // Of a customer, and no order's note.
        assert_eq!(browser.text("#prepared .filter"), "previous number 1");
        let headers = || browser.text("#rows thead");
        assert_eq!(headers(), "note first name");
        browser.click("#default-columns");
        browser.eventually("as they are declared", || headers() == "id first name note");
        // Beyond the first 100, and the list is loaded again.
        browser.choose("customer_id", "Customer 290");
        browser.sees("#count", "1 order matches");
        browser.choose("city_id", "City 1");
        browser.eventually("both are chosen", || {
            ["customer_id=290", "city_id=1"]
                .iter()
                .all(|part| browser.address().contains(part))
        });
        browser.sees(".chips", "Customer 290");
        browser.type_into("[name=elements]", "ann");
        browser.type_into("[name=rows]", "290");
        browser.eventually("they are in the address", || {
            browser.address().contains("&rows=290&elements=ann&")
        });
        browser.sees("#count", "1 order matches");
        browser.assert_accessible("filters that are called as parts of the page");
        for browser in [browser, Browser::without_scripts()] {
            browser.open(&server.url("/orders?order=-note&elements=bob"));
            browser.sees("#count", "2 orders match");
            browser.click("#reset");
            browser.sees("#count", "303 orders match");
            assert!(
                browser.address().contains("?order=-note"),
                "{}",
                browser.address()
            );
        }
    });
}
