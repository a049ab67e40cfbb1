//! The tasks, with their assets, these assets' locations, and who created and last changed them.

use std::sync::Arc;

use diesel::dsl::{IntoBoxed, auto_type};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_source::Alias;

use crate::models::{Asset, Location, Task, User};
use crate::schema::{assets, locations, tasks, users};
use diesel_export::Error;
use diesel_export::dataset::{
    Dataset, Declaration, InvalidDeclaration, Loader, Own, Referenced, Rows,
};

diesel::alias! {
    const CREATORS: Alias<Creators> = users as creators;
    const EDITORS: Alias<Editors> = users as editors;
}

/// What the column `Done` says of a task that is done, and of one that is not.
const DONE: [&str; 2] = ["Done", "Not Done"];

#[auto_type]
fn joined() -> _ {
    let creators: Alias<Creators> = CREATORS;
    let editors: Alias<Editors> = EDITORS;
    tasks::table
        .left_join(assets::table.left_join(locations::table))
        .left_join(creators.on(tasks::created_by_id.eq(creators.field(users::id))))
        .left_join(editors.on(tasks::updated_by_id.eq(editors.field(users::id).nullable())))
}

#[derive(Queryable)]
struct Model {
    task: Own<Task>,
    asset: Referenced<Asset>,
    location: Referenced<Location>,
    creator: Referenced<User>,
    editor: Referenced<User>,
}

fn models(query: IntoBoxed<'static, joined, Pg>, loader: Loader<'_>) -> Result<Rows<Model>, Error> {
    let columns = (
        (tasks::all_columns,),
        (assets::id.nullable(), assets::all_columns.nullable()),
        (locations::id.nullable(), locations::all_columns.nullable()),
        (
            CREATORS.field(users::id).nullable(),
            CREATORS.fields(users::all_columns).nullable(),
        ),
        (
            EDITORS.field(users::id).nullable(),
            EDITORS.fields(users::all_columns).nullable(),
        ),
    );
    loader.load(query.select((columns,)))
}

/// Declares the dataset, for the benchmark with ranges of ids.
#[rustfmt::skip]
pub(super) fn declare(is_benchmark: bool) -> Result<Arc<dyn Dataset>, InvalidDeclaration> {
    let mut tasks = Declaration::new(
        ["tasks", "task"],
        tasks::id,
        || joined().into_boxed(),
        || tasks::table.into_boxed(),
    )
    .with_models(models);
    let asset = &tasks.refers(tasks::asset_id, assets::id, || {
        assets::table.left_join(locations::table).into_boxed()
    });
    tasks.reads(locations::table);
    let creator = &tasks.refers(tasks::created_by_id, users::id, || users::table.into_boxed());
    let editor = &tasks.refers(tasks::updated_by_id, users::id, || users::table.into_boxed());
    let created_by = CREATORS.field(users::username).nullable();
    let updated_by = EDITORS.field(users::username).nullable();

    tasks.column("id", "ID", tasks::id).cell(|row| row.task.id.into());
    tasks.column("title", "Title", tasks::title).cell(|row| (&row.task.title).into());
    tasks.referenced_column(asset, "asset", "Asset", assets::name.nullable(), assets::name).cell(|row| row.asset.cell(|asset| &asset.name));
    tasks.referenced_column(asset, "asset_location", "Asset Location", locations::name.nullable(), locations::name.nullable()).cell(|row| row.location.cell(|location| &location.name));
    tasks.label_column("done", "Done", tasks::done, DONE).cell(|row| DONE[usize::from(!row.task.done)].into());
    tasks.referenced_column(creator, "created_by", "Created By", created_by, users::username).cell(|row| row.creator.cell(|user| &user.username));
    tasks.referenced_column(editor, "updated_by", "Updated By", updated_by, users::username).cell(|row| row.editor.cell(|user| &user.username));
    tasks.column("description", "Description", tasks::description).cell(|row| (&row.task.description).into()).on_request();
    tasks.column("asset_id", "Asset ID", tasks::asset_id).cell(|row| row.task.asset_id.into()).on_request();
    tasks.referenced_column(asset, "asset_location_id", "Asset Location ID", assets::location_id.nullable(), assets::location_id).cell(|row| row.asset.cell(|asset| asset.location_id)).on_request();
    tasks.column("created_by_id", "Created By ID", tasks::created_by_id).cell(|row| row.task.created_by_id.into()).on_request();
    tasks.column("updated_by_id", "Updated By ID", tasks::updated_by_id).cell(|row| row.task.updated_by_id.into()).on_request();

    tasks.id_filter("location_id", "locations", "Only tasks on assets at this location", asset.column(assets::location_id.nullable(), assets::location_id));
    tasks.id_filter("asset_id", "assets", "Only tasks on this asset", tasks::asset_id);
    tasks.id_filter("created_by_id", "users", "Only tasks that this user created", tasks::created_by_id);
    tasks.id_filter("updated_by_id", "users", "Only tasks that this user, or nobody (`none`), has changed since", tasks::updated_by_id);
    tasks.boolean_filter("done", "Only tasks that are done, or that are not", tasks::done);
    tasks.text_filter("title", "Only tasks whose title has this text in it, in upper or lower case", tasks::title);
    if is_benchmark {
        tasks.range_filter("id", "Only tasks of these ids", tasks::id);
    }
    tasks.finish()
}
