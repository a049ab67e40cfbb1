//! Makes a backup.

use std::io::{self, Read, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::{Error, MANIFEST, Manifest, contents, format};
use crate::db::Database;

/// Rows repeat themselves so much that this is nearly as small as the best, in a fifth of the time.
const LEVEL: i64 = 1;

/// Backs up a snapshot of the database, while others may use it.
///
/// If it fails, what is written so far must be thrown away: it may end as a ZIP file does.
pub fn write(database: &Database, file: impl Write) -> Result<Manifest, Error> {
    let mut manifest = contents::of(database)?;
    let mut connection = database.copy_connection()?;
    connection.begin_snapshot()?;
    let mut zip = ZipWriter::new_stream(file);
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(LEVEL))
        .last_modified_time(DateTime::default())
        .large_file(true);
    for table in &mut manifest.tables {
        start(&mut zip, table.entry(), options)?;
        let query = format!("select {} from {}", table.columns.join(", "), table.name);
        let mut rows = connection.copy_out(&query, &format())?;
        copy(&mut rows, &mut zip)?;
        table.rows = rows.finish()?;
    }
    connection.commit()?;
    // After the rows: what was inserted meanwhile is past them, and a sequence knows no snapshot.
    let mut control = database.control_connection()?;
    for table in &mut manifest.tables {
        table.next_id = contents::next_id(&mut control, &table.name)?;
    }
    drop(control);
    start(&mut zip, MANIFEST.to_owned(), options)?;
    let json = serde_json::to_vec_pretty(&manifest).map_err(io::Error::from);
    let written = json.and_then(|json| zip.write_all(&json));
    written.map_err(Error::Write)?;
    zip.finish().map_err(|error| Error::Write(error.into()))?;
    Ok(manifest)
}

fn start(
    zip: &mut ZipWriter<zip::write::StreamWriter<impl Write>>,
    entry: String,
    options: SimpleFileOptions,
) -> Result<(), Error> {
    zip.start_file(entry, options)
        .map_err(|error| Error::Write(error.into()))
}

/// Copies all bytes, and tells apart which side has failed.
fn copy(rows: &mut impl Read, zip: &mut impl Write) -> Result<(), Error> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = rows.read(&mut buffer).map_err(database_error)?;
        if read == 0 {
            return Ok(());
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        zip.write_all(bytes).map_err(Error::Write)?;
    }
}

/// What a COPY's reader has wrapped.
fn database_error(error: io::Error) -> Error {
    match error.downcast::<crate::db::libpq::Error>() {
        Ok(error) => error.into(),
        Err(error) => Error::Write(error),
    }
}
