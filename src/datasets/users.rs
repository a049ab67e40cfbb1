//! The users.

use std::sync::Arc;

use diesel::prelude::*;

use crate::models::User;
use crate::schema::users;
use diesel_export::dataset::{Dataset, Declaration, Own};

/// Declares the dataset.
#[rustfmt::skip]
pub(super) fn declare() -> Arc<dyn Dataset> {
    let mut users = Declaration::new(
        ["users", "user"],
        users::id,
        || users::table.into_boxed(),
        || users::table.into_boxed(),
        |query, loader| loader.load(query.select(((users::all_columns,),))),
    );
    users.column("id", "ID", users::id, |row: &Own<User>| row.id.into());
    users.column("username", "Username", users::username, |row| (&row.username).into()).as_label();
    users.text_filter("username", "Only users whose username has this text in it, in upper or lower case", users::username);
    Arc::new(users)
}
