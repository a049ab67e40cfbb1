//! `joined`: full model structs of all five joined tables, all in memory. The costly reference, as `.all()` with
//! `select_related` is in Django: it loads the descriptions too, which nobody asked for.

use diesel::prelude::*;

use super::csv::{Encoder, Row, done_label};
use super::filter::Filter;
use super::literal::Values;
use super::query::{self, CREATORS, EDITORS};
use super::{Error, Source};
use crate::models::{Asset, Location, Task, User};
use crate::schema::users;

type JoinedTask = (Task, Asset, Location, User, Option<User>);

pub(super) fn run(
    filter: &Filter,
    source: &Source<'_>,
    encoder: &mut Encoder<'_>,
) -> Result<(), Error> {
    let tasks: Vec<JoinedTask> = source.snapshot(|connection, _| {
        let query = query::tasks(filter, Values::Bound).select((
            Task::as_select(),
            Asset::as_select(),
            Location::as_select(),
            CREATORS.fields(users::all_columns),
            EDITORS.fields(users::all_columns).nullable(),
        ));
        Ok(query.load(connection)?)
    })?;
    for (task, asset, location, created_by, updated_by) in &tasks {
        encoder.row(&Row {
            id: task.id,
            title: &task.title,
            asset: &asset.name,
            asset_location: &location.name,
            done: done_label(task.done),
            created_by: &created_by.username,
            updated_by: updated_by.as_ref().map(|user| user.username.as_str()),
        })?;
    }
    Ok(())
}
