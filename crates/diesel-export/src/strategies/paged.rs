//! `paged`: the chosen values, in pages from one cursor, as `.values().iterator(chunk_size=2000)` in Django.
//!
//! It takes about 1.7 times as long as `streamed`. PostgreSQL sends a page's first row when it has the last one (the result of a `FETCH` goes
//! through a tuplestore), and Diesel cannot ask for the next page meanwhile, so server and client take turns. To write one page while the
//! next is loaded, on a second thread, made no difference that could be measured.

use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;

use crate::dataset::{Query, Row};
use crate::encoder::Encoder;
use crate::{Error, Source, queries};

/// Rows of a page, as many as Django's iterator fetches at a time.
pub const PAGE: usize = 2_000;

pub(crate) fn run(source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
    let export = source.export;
    source.snapshot(|connection, _| {
        // One plan for all pages: it finds each row once, whatever the keys are.
        let select = queries::loaded_rows(export);
        let rows = export.dataset().joined(select);
        rows.with_prefix("declare page no scroll cursor for ")
            .execute(connection)?;
        loop {
            let page = Query::of_sql(format!("fetch {PAGE} from page"));
            let mut rows = 0;
            // Take each row as it arrives, while the server goes on with the page.
            for row in page.load_iter::<Row, PgRowByRowLoadingMode>(connection)? {
                encoder.row(row?.cells())?;
                rows += 1;
            }
            if rows < PAGE {
                return Ok(());
            }
        }
    })
}
