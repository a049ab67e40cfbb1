//! The rows of the four tables, as structs.

use diesel::prelude::*;

use crate::schema::{assets, locations, tasks, users};

/// The names of the tables, each before those that it refers to: as exports lock them.
pub const TABLES: [&str; 4] = ["tasks", "users", "assets", "locations"];

/// A place where assets stand.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Identifiable, Insertable)]
#[diesel(check_for_backend(diesel::pg::Pg))]
pub struct Location {
    /// Primary key.
    pub id: i64,
    /// What people call the place.
    pub name: String,
}

/// A thing that is maintained.
#[derive(
    Debug, Clone, PartialEq, Eq, Queryable, Selectable, Identifiable, Associations, Insertable,
)]
#[diesel(belongs_to(Location))]
#[diesel(check_for_backend(diesel::pg::Pg))]
pub struct Asset {
    /// Primary key.
    pub id: i64,
    /// What people call the asset.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Where the asset stands.
    pub location_id: i64,
}

/// A person who creates and edits tasks.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Identifiable, Insertable)]
#[diesel(check_for_backend(diesel::pg::Pg))]
pub struct User {
    /// Primary key.
    pub id: i64,
    /// The name that the person logs in with.
    pub username: String,
}

/// A piece of work to be done on an asset.
#[derive(
    Debug, Clone, PartialEq, Eq, Queryable, Selectable, Identifiable, Associations, Insertable,
)]
#[diesel(belongs_to(Asset))]
#[diesel(belongs_to(User, foreign_key = created_by_id))]
#[diesel(check_for_backend(diesel::pg::Pg))]
pub struct Task {
    /// Primary key, and the order of the export.
    pub id: i64,
    /// What is to be done, in a line.
    pub title: String,
    /// What is to be done, at length.
    pub description: String,
    /// Whether the work is done.
    pub done: bool,
    /// The asset that the work is done on.
    pub asset_id: i64,
    /// Who created the task.
    pub created_by_id: i64,
    /// Who last changed the task; `None` if nobody has since its creation.
    pub updated_by_id: Option<i64>,
}

/// A location that has no id yet: the database chooses it.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = locations)]
pub struct NewLocation<'a> {
    /// What people call the place.
    pub name: &'a str,
}

/// An asset that has no id yet.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = assets)]
pub struct NewAsset<'a> {
    /// What people call the asset.
    pub name: &'a str,
    /// Free text.
    pub description: &'a str,
    /// Where the asset stands.
    pub location_id: i64,
}

/// A user who has no id yet.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = users)]
pub struct NewUser<'a> {
    /// The name that the person logs in with.
    pub username: &'a str,
}

/// A task that has no id yet.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = tasks)]
pub struct NewTask<'a> {
    /// What is to be done, in a line.
    pub title: &'a str,
    /// What is to be done, at length.
    pub description: &'a str,
    /// Whether the work is done.
    pub done: bool,
    /// The asset that the work is done on.
    pub asset_id: i64,
    /// Who created the task.
    pub created_by_id: i64,
    /// Who last changed the task; `None` if nobody has.
    pub updated_by_id: Option<i64>,
}
