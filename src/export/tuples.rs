//! `tuples`: only the chosen values, as tuples, all in memory, as `.values()` in Django.

use super::dataset::{Row, load_all};
use super::encoder::Encoder;
use super::{Error, Source, queries};

pub(super) fn run(source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
    let export = source.export;
    let rows: Vec<Row> = source.snapshot(|connection, _| {
        let question = queries::rows(&export.columns, &export.filter);
        Ok(load_all(export.dataset().joined(question), connection)?)
    })?;
    rows.iter().try_for_each(|row| encoder.row(row.cells()))
}
