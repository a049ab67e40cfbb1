//! The users.

use std::sync::Arc;

use diesel::prelude::*;

use crate::models::User;
use crate::schema::users;
use diesel_export::dataset::{Dataset, Declaration, InvalidDeclaration, Own};

/// Declares the dataset.
#[rustfmt::skip]
pub(super) fn declare() -> Result<Arc<dyn Dataset>, InvalidDeclaration> {
    let mut users = Declaration::new(
        ["users", "user"],
        users::id,
        || users::table.into_boxed(),
        || users::table.into_boxed(),
    )
    .with_models(|query, loader| loader.load(query.select(((users::all_columns,),))));
    users.column("id", "ID", users::id).cell(|row: &Own<User>| row.id.into());
    users.column("username", "Username", users::username).cell(|row| (&row.username).into()).as_label();
    users.text_filter("username", "Only users whose username has this text in it, in upper or lower case", users::username);
    users.finish()
}
