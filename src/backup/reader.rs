//! Restores a backup.

use std::io::{BufReader, Read, Seek, Write};

use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use zip::ZipArchive;

use super::{Error, FORMAT, MANIFEST, Manifest, TABLES, Table, contents, format};
use crate::db::{Database, libpq, tables, unknown_migrations};
use crate::seed::drop_constraints;

/// Fills a database that is empty, as a new private cluster's, from a backup. If it fails, the database is of no use.
pub fn read(file: impl Read + Seek, database: &Database) -> Result<Manifest, Error> {
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(not_whole)?;
    let manifest = manifest(&mut zip)?;
    database.migrate_as_far_as(&manifest.migrations)?;
    let mut connection = database.control_connection()?;
    let dropped = drop_constraints(&mut connection)?;
    let mut copying = database.copy_connection()?;
    for table in &manifest.tables {
        let entry = zip.by_name(&table.entry()).map_err(not_whole)?;
        fill(table, entry, &mut copying)?;
    }
    connection.batch_execute(&dropped)?;
    for extension in &manifest.extensions {
        let name = extension.replace('"', "\"\"");
        connection.batch_execute(&format!("create extension if not exists \"{name}\""))?;
    }
    let present = contents::indexes(&mut connection)?;
    for index in &manifest.indexes {
        if !present.iter().any(|present| present.name == index.name) {
            // One statement, as it is not a batch.
            diesel::sql_query(&index.sql).execute(&mut connection)?;
        }
    }
    database.migrate()?;
    // The planner's statistics, and the visibility map, without which no index-only scan pays.
    connection.batch_execute(&format!("vacuum (analyze) {}", TABLES.join(", ")))?;
    Ok(manifest)
}

/// Bytes of a manifest: one has a few kilobytes.
const MAX_MANIFEST: u64 = 16 << 20;

/// Reads the manifest, and makes sure that this program can restore what it says. Somebody else may have written it, and what it names
/// becomes SQL.
fn manifest(zip: &mut ZipArchive<impl Read + Seek>) -> Result<Manifest, Error> {
    let entry = zip.by_name(MANIFEST).map_err(not_whole)?;
    let json: serde_json::Value =
        serde_json::from_reader(entry.take(MAX_MANIFEST)).map_err(not_whole)?;
    let newer = || {
        let program = json.get("program").and_then(serde_json::Value::as_str);
        Error::Newer(program.unwrap_or("of an unknown version").to_owned())
    };
    if json.get("format").and_then(serde_json::Value::as_u64) != Some(FORMAT.into()) {
        return Err(newer());
    }
    let manifest: Manifest = serde_json::from_value(json.clone()).map_err(not_whole)?;
    if !unknown_migrations(&manifest.migrations)?.is_empty() {
        return Err(newer());
    }
    let names: Vec<&str> = manifest
        .tables
        .iter()
        .map(|table| table.name.as_str())
        .collect();
    if names != TABLES {
        return Err(newer());
    }
    for table in &manifest.tables {
        let unknown = |column: &&String| !tables::is_known(&table.name, column);
        if let Some(column) = table.columns.iter().find(unknown) {
            return Err(not_whole(format!(
                "there is no column {}.{column}",
                table.name
            )));
        }
    }
    let is_creation = |sql: &str| {
        ["CREATE INDEX ", "CREATE UNIQUE INDEX "]
            .iter()
            .any(|begin| sql.starts_with(begin))
    };
    if let Some(index) = manifest
        .indexes
        .iter()
        .find(|index| !is_creation(&index.sql))
    {
        return Err(not_whole(format!("{} is no index", index.name)));
    }
    Ok(manifest)
}

/// Fills an empty table.
fn fill(
    table: &Table,
    mut rows: impl Read,
    connection: &mut libpq::Connection,
) -> Result<(), Error> {
    // PostgreSQL fills a table that was truncated in the same transaction without a write-ahead log, if `wal_level` allows it.
    connection.execute(&format!("begin; truncate {} cascade", table.name))?;
    let columns: Vec<&str> = table.columns.iter().map(String::as_str).collect();
    let mut copy = connection.copy_in(&table.name, &columns, &format())?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // The end comes only after the checksum was compared.
        let read = rows.read(&mut buffer).map_err(not_whole)?;
        if read == 0 {
            break;
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        copy.write_all(bytes)
            .map_err(|error| libpq::Error::new(error.to_string()))?;
    }
    let taken = copy.finish()?;
    if taken != table.rows {
        return Err(Error::Rows {
            table: table.name.clone(),
            expected: table.rows,
            taken,
        });
    }
    connection.execute(&format!(
        "select setval(pg_get_serial_sequence('{}', 'id'), {}, false); commit",
        table.name, table.next_id
    ))?;
    Ok(())
}

fn not_whole(error: impl ToString) -> Error {
    Error::NotWhole(error.to_string())
}
