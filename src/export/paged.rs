//! `paged`: the chosen values, in keyset pages of one snapshot, as `.values().iterator(chunk_size=2000)` in Django.

use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;

use super::dataset::Row;
use super::encoder::Encoder;
use super::{Error, Source, queries};

/// Rows of a page, as many as Django's iterator fetches at a time.
const PAGE: i64 = 2_000;

pub(super) fn run(source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
    let export = source.export;
    source.snapshot(|connection, _| {
        let mut last: Option<i64> = None;
        loop {
            // Never OFFSET, for which the server would read and throw away all the pages before.
            let question = queries::page(&export.columns, &export.filter, last, PAGE);
            let query = export.dataset().joined(question);
            let mut rows = 0;
            // Each row as it arrives: the server goes on with the page meanwhile.
            for row in query.load_iter::<Row, PgRowByRowLoadingMode>(connection)? {
                let row = row?;
                // Before the values is the key.
                last = row.first_integer();
                encoder.row(row.cells().skip(1))?;
                rows += 1;
            }
            if rows < PAGE {
                return Ok(());
            }
        }
    })
}
