//! The locations.

use diesel::prelude::*;

use crate::export::dataset::{Dataset, Declaration, Own, load_all};
use crate::models::Location;
use crate::schema::locations;

/// Declares the dataset.
#[rustfmt::skip]
pub(super) fn declare() -> Box<dyn Dataset> {
    let mut locations = Declaration::new(
        ["locations", "location"],
        locations::id,
        || locations::table.into_boxed(),
        || locations::table.into_boxed(),
        |query, connection| load_all(query.select((locations::all_columns,)), connection),
    );
    locations.column("id", "ID", locations::id, |row: &Own<Location>| row.id.into());
    locations.column("name", "Name", locations::name, |row| (&row.name).into()).as_label();
    locations.text_filter("name", "Only locations whose name has this text in it, in upper or lower case", |pattern| locations::name.ilike(pattern));
    Box::new(locations)
}
