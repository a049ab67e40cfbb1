//! Tables that the program does not know: the file of datasets, and exports by it.

mod check;
mod exports;
mod foreign;
mod init;
mod page;
mod same_names;
mod serve;

use diesel::connection::SimpleConnection;
use tempfile::TempDir;

use crate::support::TestDatabase;

/// Tables as others have them.
const SCHEMA: &str = include_str!("schema.sql");
/// Their rows.
const ROWS: &str = include_str!("rows.sql");

/// A database with these tables and their rows.
fn filled() -> TestDatabase {
    TestDatabase::filled("tables of others".to_owned(), |database| {
        let mut connection = database.connect();
        connection.batch_execute(SCHEMA).expect("the SQL runs");
        connection.batch_execute(ROWS).expect("the SQL runs");
    })
}

/// A file of datasets, and its path.
fn written(file: impl AsRef<[u8]>) -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("datasets.toml");
    std::fs::write(&path, file).expect("ours");
    let path = path.to_str().expect("UTF-8").to_owned();
    (directory, path)
}
