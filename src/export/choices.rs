//! What a filter can be set to: locations, assets and users, by name.

use clap::ValueEnum;
use diesel::prelude::*;
use serde::Serialize;
use utoipa::ToSchema;

use super::filter::Title;
use crate::schema::{assets, locations, users};

/// Choices that are given at a time. Who wants another one searches for it.
const MAX: i64 = 200;

/// Of what there is a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Of {
    /// the places where assets stand
    Locations,
    /// the things that are maintained
    Assets,
    /// the people who create and change tasks
    Users,
}

impl Of {
    /// The name by which the web knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Locations => "locations",
            Self::Assets => "assets",
            Self::Users => "users",
        }
    }
}

/// Something to choose.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Serialize, ToSchema)]
pub struct Choice {
    /// The value of the filter.
    pub id: i64,
    /// What people call it.
    pub name: String,
}

/// What there is to choose from, in the order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Choices {
    /// The first of them.
    pub choices: Vec<Choice>,
    /// Whether there are more than these.
    pub more: bool,
}

/// The choices whose name has `text` in it; of the assets, only those at the location, where one is given.
pub fn load(
    connection: &mut PgConnection,
    of: Of,
    text: &Title,
    location_id: Option<i64>,
) -> QueryResult<Choices> {
    let pattern = text.like_pattern();
    // One more than is given shows whether there are more.
    let mut choices: Vec<Choice> = match of {
        Of::Locations => locations::table
            .filter(locations::name.ilike(pattern))
            .order((locations::name, locations::id))
            .limit(MAX + 1)
            .load(connection)?,
        Of::Users => users::table
            .filter(users::username.ilike(pattern))
            .order((users::username, users::id))
            .limit(MAX + 1)
            .load(connection)?,
        Of::Assets => {
            let mut query = assets::table
                .select((assets::id, assets::name))
                .filter(assets::name.ilike(pattern))
                .order((assets::name, assets::id))
                .limit(MAX + 1)
                .into_boxed();
            if let Some(id) = location_id {
                query = query.filter(assets::location_id.eq(id));
            }
            query.load(connection)?
        }
    };
    let more = choices.len() as i64 > MAX;
    choices.truncate(MAX as usize);
    Ok(Choices { choices, more })
}

/// The one choice of this id, if there is such a one.
pub fn find(connection: &mut PgConnection, of: Of, id: i64) -> QueryResult<Option<Choice>> {
    match of {
        Of::Locations => locations::table.find(id).first(connection),
        Of::Users => users::table.find(id).first(connection),
        Of::Assets => assets::table
            .find(id)
            .select((assets::id, assets::name))
            .first(connection),
    }
    .optional()
}
