//! `joined`: full model structs of all joined tables, all in memory. The costly reference, as `.all()` with `select_related` in
//! Django: it also loads columns that nobody asked for, such as descriptions.

use crate::encoder::Encoder;
use crate::{Error, Source, tuples};

pub(crate) fn run(source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
    let export = source.export;
    let models = source.snapshot(|connection, backend| {
        let conditions = export.filter.conditions();
        let loader = source.loader(connection, backend);
        let models = export
            .dataset()
            .models(conditions, &export.order, source.most_rows(), loader);
        models.transpose()
    })?;
    let Some(models) = models else {
        return tuples::run(source, encoder);
    };
    source.check_rows(models.count())?;
    let columns = export.columns.columns();
    (0..models.count())
        .try_for_each(|row| encoder.row(columns.iter().map(|column| models.cell(row, column))))
}
