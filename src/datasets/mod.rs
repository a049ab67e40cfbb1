//! What this program exports, a file for each dataset: the query, the columns, the filters.
//!
//! Nothing else names them. The command line, the web and every strategy take them from the [`catalog`].

mod assets;
mod locations;
mod tasks;
mod users;

use diesel_export::Export;
use diesel_export::dataset::{Catalog, FilterValue};

/// Declares this program's datasets.
pub fn catalog() -> Catalog {
    let others = [assets::declare(), locations::declare(), users::declare()];
    Catalog::new(tasks::declare(false), others)
}

/// The export that the benchmark measures: of the tasks up to this id, to compare sizes.
pub(crate) fn benchmarked(up_to_id: Option<i64>) -> Export {
    let dataset = tasks::declare(true);
    let mut export = Export::of(&dataset);
    let mut fields = dataset.filters().iter();
    let field = fields.find(|field| field.name() == tasks::UP_TO_ID);
    if let (Some(field), Some(id)) = (field, up_to_id) {
        export.filter.set(field, FilterValue::Id(id));
    }
    export
}
