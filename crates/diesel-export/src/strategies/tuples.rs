//! `tuples`: only the chosen values, as tuples, all in memory, as `.values()` in Django.

use crate::dataset::{Row, Rows};
use crate::encoder::Encoder;
use crate::{Error, Source, queries};

pub(crate) fn run(source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
    let export = source.export;
    let rows: Rows<Row> = source.snapshot(|connection, backend| {
        let select = queries::loaded_rows(export).limit(source.most_rows());
        source
            .loader(connection, backend)
            .load(export.dataset().joined(select))
    })?;
    source.check_rows(rows.count())?;
    rows.iter().try_for_each(|row| encoder.row(row.cells()))
}
