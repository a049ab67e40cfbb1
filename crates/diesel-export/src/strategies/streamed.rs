//! `streamed`: the chosen values, row by row as they arrive, in libpq's single-row mode.

use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;

use crate::dataset::Row;
use crate::encoder::Encoder;
use crate::{Error, Source, queries};

pub(crate) fn run(source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
    let export = source.export;
    let select = queries::loaded_rows(export);
    source.snapshot(|connection, backend| {
        let query = export.dataset().joined(select);
        let mut rows = query.load_iter::<Row, PgRowByRowLoadingMode>(connection)?;
        rows.try_for_each(|row| {
            // Dropped before its end, Diesel's cursor reads all that is left: better that nothing is.
            encoder
                .row(row?.cells())
                .inspect_err(|_| backend.cancel_query())
        })
    })
}
