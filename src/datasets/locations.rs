//! The locations.

use std::sync::Arc;

use diesel::prelude::*;

use crate::models::Location;
use crate::schema::locations;
use diesel_export::dataset::{Dataset, Declaration, InvalidDeclaration, Own};

/// Declares the dataset.
#[rustfmt::skip]
pub(super) fn declare() -> Result<Arc<dyn Dataset>, InvalidDeclaration> {
    let mut locations = Declaration::new(
        ["locations", "location"],
        locations::id,
        || locations::table.into_boxed(),
        || locations::table.into_boxed(),
    )
    .with_models(|query, loader| loader.load(query.select(((locations::all_columns,),))));
    locations.column("id", "ID", locations::id).cell(|row: &Own<Location>| row.id.into());
    locations.column("name", "Name", locations::name).cell(|row| (&row.name).into()).as_label();
    locations.text_filter("name", "Only locations whose name has this text in it, in upper or lower case", locations::name);
    locations.finish()
}
