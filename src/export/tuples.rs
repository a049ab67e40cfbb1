//! `tuples`: only the chosen values, as tuples, all in memory, as `.values()` in Django.

use super::dataset::{Row, Rows, load_all};
use super::encoder::Encoder;
use super::{Error, Source, queries};

pub(super) fn run(source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
    let export = source.export;
    let rows: Rows<Row> = source.snapshot(|connection, _| {
        let question = queries::rows(&export.columns, &export.filter).limit(source.most_rows());
        Ok(load_all(export.dataset().joined(question), connection)?)
    })?;
    source.check_rows(rows.count())?;
    rows.iter().try_for_each(|row| encoder.row(row.cells()))
}
