//! The assets, with their locations.

use std::sync::Arc;

use diesel::prelude::*;

use crate::models::{Asset, Location};
use crate::schema::{assets, locations};
use diesel_export::dataset::{Dataset, Declaration, InvalidDeclaration, Own, Referenced};

#[derive(Queryable)]
struct Model {
    asset: Own<Asset>,
    location: Referenced<Location>,
}

/// Declares the dataset.
#[rustfmt::skip]
pub(super) fn declare() -> Result<Arc<dyn Dataset>, InvalidDeclaration> {
    let mut assets = Declaration::new(
        ["assets", "asset"],
        assets::id,
        || assets::table.left_join(locations::table).into_boxed(),
        || assets::table.into_boxed(),
    )
    .with_models(|query, loader| {
        let location = (locations::id.nullable(), locations::all_columns.nullable());
        loader.load::<Model, _>(query.select((((assets::all_columns,), location),)))
    });
    let location = &assets.refers(assets::location_id, locations::id, || locations::table.into_boxed());

    assets.column("id", "ID", assets::id).cell(|row| row.asset.id.into());
    assets.column("name", "Name", assets::name).cell(|row| (&row.asset.name).into()).as_label();
    assets.referenced_column(location, "location", "Location", locations::name.nullable(), locations::name).cell(|row| row.location.cell(|location| &location.name));
    assets.column("description", "Description", assets::description).cell(|row| (&row.asset.description).into()).on_request();
    assets.column("location_id", "Location ID", assets::location_id).cell(|row| row.asset.location_id.into()).on_request();

    assets.id_filter("location_id", "locations", "Only assets at this location", assets::location_id);
    assets.text_filter("name", "Only assets whose name has this text in it, in upper or lower case", assets::name);
    assets.finish()
}
