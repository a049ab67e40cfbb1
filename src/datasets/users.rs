//! The users.

use diesel::prelude::*;

use crate::export::dataset::{Dataset, Declaration, Own, load_all};
use crate::models::User;
use crate::schema::users;

/// Declares the dataset.
#[rustfmt::skip]
pub(super) fn declare() -> Box<dyn Dataset> {
    let mut users = Declaration::new(
        ["users", "user"],
        users::id,
        || users::table.into_boxed(),
        || users::table.into_boxed(),
        |query, connection| load_all(query.select((users::all_columns,)), connection),
    );
    users.column("id", "ID", users::id, |row: &Own<User>| row.id.into());
    users.column("username", "Username", users::username, |row| (&row.username).into()).as_label();
    users.text_filter("username", "Only users whose username has this text in it, in upper or lower case", |pattern| users::username.ilike(pattern));
    Box::new(users)
}
