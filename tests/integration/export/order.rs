//! Rows in another order than their key's.

use diesel_export::Strategy;

use crate::support::program::export;
use crate::support::{Server, TestDatabase, oracle, program};

fn database() -> TestDatabase {
    TestDatabase::with(
        "insert into locations values (1, 'Here'), (2, 'A'), (3, ''); insert into users values (1, 'b'), (2, 'a'), (3, 'Ä');
         insert into assets values (1, 'Thing', '', 1), (2, 'Pump', '', 2), (3, 'Other', '', 3);
         insert into tasks select n, 'Task ' || n % 7, repeat(chr(65 + n % 3), n % 5), n % 4 = 0, 1 + n % 3, 1 + n % 2,
             case when n % 5 > 0 then 1 + n % 3 end from generate_series(1, 500) n",
    )
}

/// What psql writes in this order.
fn expected(database: &TestDatabase, order: &str) -> Vec<u8> {
    let sql = format!(
        "copy (select t.id as \"ID\", t.title as \"Title\", e.username as \"Updated By\", case when t.done then 'Done' else 'Not Done' end as \"Done\"
         from tasks t left join assets a on a.id = t.asset_id left join locations l on l.id = a.location_id
             left join users e on e.id = t.updated_by_id
         order by {order}, t.id) to stdout with (format csv, header)"
    );
    oracle::psql(database, &sql)
}

const COLUMNS: &str = "id,title,updated_by,done";

/// Orders, and the same in SQL. A label is ordered as its boolean is, not by its text.
const ORDERS: [(&str, &str); 7] = [
    ("-id", "t.id desc"),
    ("updated_by", "e.username"),
    ("-updated_by,title", "e.username desc, t.title"),
    ("done,-id", "t.done, t.id desc"),
    ("-done", "t.done desc"),
    (
        " asset_location , -description",
        "l.name, t.description desc",
    ),
    (
        "updated_by_id,-asset_id",
        "t.updated_by_id, t.asset_id desc",
    ),
];

#[test]
fn rows_come_in_the_order_that_is_asked_for_by_every_strategy_and_in_the_preview() {
    let database = database();
    let server = Server::start(&database.url);
    for (order, sql) in ORDERS {
        let expected = expected(&database, sql);
        for &strategy in Strategy::all() {
            let flags = [
                format!("--strategy={}", strategy.name()),
                format!("--columns={COLUMNS}"),
                format!("--order={order}"),
            ];
            let csv = export(&database.url, &flags);
            assert!(csv == expected, "{order}: {strategy:?}");
        }
        let query = format!("columns={COLUMNS}&order={}", order.replace(' ', "%20"));
        let get = |path: &str| {
            let url = server.url(&format!("{path}?{query}"));
            let response = ureq::get(url).call().expect("200");
            let strategy = response.headers().get("x-export-strategy").cloned();
            (response.into_body().read_to_vec().expect("whole"), strategy)
        };
        let (csv, strategy) = get("/tasks.csv");
        assert!(csv == expected, "{order}");
        assert_eq!(strategy.expect("named"), "copy", "{order}");
        let preview: serde_json::Value =
            serde_json::from_slice(&get("/api/tasks").0).expect("JSON");
        let first = csv::Reader::from_reader(&*expected).into_records().take(20);
        let first: Vec<String> = first.map(|row| row.expect("CSV")[0].to_owned()).collect();
        let rows = preview["rows"].as_array().expect("rows").iter();
        let shown: Vec<String> = rows.map(|row| row["ID"].to_string()).collect();
        assert_eq!(shown, first, "{order}");
    }
}

#[test]
fn an_order_that_is_none_is_refused_before_the_export() {
    let database = database();
    let server = Server::start(&database.url);
    for (order, reason) in [
        ("id,-id", "the column `id` is there twice"),
        ("nothing", "there is no column `nothing`"),
        ("id,", "a column's name is empty"),
    ] {
        for path in ["/tasks.csv", "/api/tasks"] {
            let url = server.url(&format!("{path}?order={order}"));
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .build()
                .into();
            let mut response = agent.get(url).call().expect("an answer");
            assert_eq!(response.status(), 400, "{order}");
            let problem = response.body_mut().read_to_string().expect("a text");
            assert!(problem.contains(reason), "{problem}");
        }
        let output = program(&database.url)
            .args(["export", "--order", order])
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(reason), "{said}");
    }
}
