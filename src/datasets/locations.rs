//! The locations.

use std::sync::Arc;

use diesel::prelude::*;

use crate::models::Location;
use crate::schema::locations;
use diesel_export::dataset::{Dataset, Declaration, Own};

/// Declares the dataset.
#[rustfmt::skip]
pub(super) fn declare() -> Arc<dyn Dataset> {
    let mut locations = Declaration::new(
        ["locations", "location"],
        locations::id,
        || locations::table.into_boxed(),
        || locations::table.into_boxed(),
        |query, loader| loader.load(query.select(((locations::all_columns,),))),
    );
    locations.column("id", "ID", locations::id, |row: &Own<Location>| row.id.into());
    locations.column("name", "Name", locations::name, |row| (&row.name).into()).as_label();
    locations.text_filter("name", "Only locations whose name has this text in it, in upper or lower case", locations::name);
    Arc::new(locations)
}
