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
            // Not OFFSET: the server would read all earlier pages again, and throw them away.
            let question = queries::page(&export.columns, &export.filter, last, PAGE);
            let query = export.dataset().joined(question);
            let mut rows = 0;
            // Take each row as it arrives, while the server goes on with the page.
            for row in query.load_iter::<Row, PgRowByRowLoadingMode>(connection)? {
                let row = row?;
                // The key comes before the values.
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
