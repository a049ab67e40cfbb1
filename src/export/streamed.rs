//! `streamed`: the seven values, row by row as they arrive, in libpq's single-row mode.

use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;

use super::csv::{Encoder, Row};
use super::filter::Filter;
use super::query::{self, TaskRow};
use super::{Error, Source};

pub(super) fn run(
    filter: &Filter,
    source: &Source<'_>,
    encoder: &mut Encoder<'_>,
) -> Result<(), Error> {
    source.snapshot(|connection, backend| {
        let mut rows =
            query::rows(filter).load_iter::<TaskRow, PgRowByRowLoadingMode>(connection)?;
        rows.try_for_each(|row| {
            // Dropped before its end, Diesel's cursor reads all that is left: better that nothing is.
            encoder
                .row(&Row::from(&row?))
                .inspect_err(|_| backend.cancel_query())
        })
    })
}
