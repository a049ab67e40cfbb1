//! What this program exports, a file for each dataset: the query, the columns, the filters.
//!
//! Nothing else names them. The command line, the web and every strategy take them from the [`catalog`].

mod assets;
mod locations;
mod tasks;
mod users;

use diesel_export::Export;
use diesel_export::dataset::{Catalog, FilterValue, InvalidDeclaration, Value};

/// Declares this program's datasets.
pub fn catalog() -> Catalog {
    sound(declare())
}

fn declare() -> Result<Catalog, InvalidDeclaration> {
    let others = [assets::declare()?, locations::declare()?, users::declare()?];
    Catalog::new(tasks::declare(false)?, others)
}

/// Nothing but this folder's code decides whether a declaration is invalid, so no program that has passed a test ever panics here.
fn sound<T>(declared: Result<T, InvalidDeclaration>) -> T {
    declared.unwrap_or_else(|invalid| panic!("{invalid}"))
}

/// The export that the benchmark measures: of the tasks up to this id, to compare sizes.
pub(crate) fn benchmarked(up_to_id: Option<i64>) -> Export {
    let dataset = sound(tasks::declare(true));
    let mut export = Export::of(&dataset);
    let mut fields = dataset.filters().iter();
    let field = fields.find(|field| field.name() == "id_to");
    if let (Some(field), Some(id)) = (field, up_to_id) {
        // It is a filter of this dataset.
        let _ = export
            .filter
            .set(field, FilterValue::of(Value::Integer(id)));
    }
    export
}

#[cfg(test)]
mod tests {
    use diesel_export::dataset::{Filter, InvalidFilter, Selection};

    use super::*;

    #[test]
    fn a_filter_and_a_column_of_another_dataset_are_taken_by_their_names() {
        let (tasks, assets) = (sound(tasks::declare(false)), sound(assets::declare()));
        let filter_of_assets = |name| assets.filters().iter().find(|field| field.name() == name);
        let set = |name| {
            let mut filter = Filter::all(&tasks);
            let field = filter_of_assets(name).ok_or(InvalidFilter::Unknown)?;
            filter.set(field, field.parse("3")?)?;
            Ok(filter.get(name).cloned())
        };
        let three = FilterValue::of(Value::Integer(3));
        assert_eq!(set("location_id"), Ok(Some(three)));
        assert_eq!(set("name"), Err(InvalidFilter::Unknown));
        let selected = Selection::default_of(&tasks);
        let has = |name| {
            let column = assets.columns().iter().find(|column| column.name() == name);
            column.map(|column| selected.has(column))
        };
        assert_eq!((has("id"), has("name")), (Some(true), Some(false)));
    }
}
