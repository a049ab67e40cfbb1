//! How `lookup` reads rows that an index of the key is no good for, or that are far wider than usual.

use diesel::connection::SimpleConnection;

use crate::support::{Download, Server, TestDatabase, data, oracle};

#[test]
fn rows_that_a_filter_finds_are_read_by_it_however_many_they_are() {
    let database = TestDatabase::with(
        "insert into locations values (1, 'Here'); insert into users values (1, 'somebody');
         insert into assets values (1, 'Thing', '', 1), (2, 'Other', '', 1);
         set session_replication_role = replica;
         insert into tasks select n, 'Task ' || n, '', true, case when n > 208000 then 2 else 1 end, 1, null
             from generate_series(1, 220000) n;
         -- To read by the key, the server would have to look at each row of the table.
         drop index tasks_export_idx",
    );
    let mut connection = database.connect();
    connection.batch_execute("vacuum analyze").expect("ours");
    let server = Server::start(&database.url);
    let path = "/tasks.csv?strategy=lookup&asset_id=2&export_id=filtered";
    let (csv, _) = Download::start(&server.address, path).finish();
    assert!(
        csv == oracle::copy(&database, "a.id = 2", ','),
        "other bytes than psql's"
    );
    let manifest = server.ended("filtered");
    assert_eq!(manifest["rows"], 12_000, "{manifest}");
    assert_eq!(manifest["strategy"], "lookup", "{manifest}");
    assert_eq!(manifest["connections"], 1, "{manifest}");
    let because = manifest["because"].as_str().expect("it is said");
    assert!(because.contains("found by the filter"), "{because}");
}

#[test]
fn descriptions_of_100_kilobytes_take_no_memory() {
    const TASKS: u32 = 1_500;
    const LENGTH: usize = 100_000;
    let database = data::wide(TASKS);
    let server = Server::start(&database.url);
    let download = |query: &str| {
        let path = format!("/tasks.csv?columns=id,description&strategy=lookup{query}");
        let mut download = Download::start(&server.address, &path);
        let mut bytes = 0;
        while let Some(chunk) = download.chunk().expect("whole") {
            bytes += chunk.len();
        }
        bytes
    };
    download("");
    let idle = server.peak_memory();
    // As they are, and as the server packs them by itself: then it takes little space, and nobody can tell how long they are.
    for storage in ["external", "extended"] {
        let sql = format!(
            "alter table tasks alter description set storage {storage};
             update tasks set description = rpad(id || ' ', {LENGTH}, 'long '); analyze tasks"
        );
        let mut connection = database.connect();
        connection.batch_execute(&sql).expect("ours");
        let bytes = download(&format!("&export_id={storage}"));
        assert!(bytes > TASKS as usize * LENGTH, "{bytes}");
        let manifest = server.ended(storage);
        assert_eq!(manifest["strategy"], "lookup", "{manifest}");
        let grown = server.peak_memory() - idle;
        println!("{storage}: the server has grown by {grown} bytes for {bytes}");
        assert!(grown < 48 << 20, "{storage}: by {grown} bytes for {bytes}");
    }
}
