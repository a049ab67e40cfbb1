//! Two datasets for unit tests.

use std::sync::Arc;

use diesel::prelude::*;

use crate::dataset::{Catalog, Dataset, Declaration, InvalidDeclaration};

mod schema {
    diesel::table! {
        books (id) {
            id -> BigInt,
            title -> Text,
            is_lent -> Bool,
            shelf_id -> BigInt,
            reader_id -> Nullable<BigInt>,
            pages -> Integer,
            genre -> Nullable<Text>,
        }
    }

    diesel::table! {
        readers (id) {
            id -> BigInt,
            name -> Text,
            pages -> Numeric,
            born -> Date,
            seen_at -> Timestamptz,
            wrote_at -> Timestamp,
            wakes_at -> Time,
            card -> Uuid,
        }
    }
}
use schema::{books, readers};

#[derive(Queryable, Selectable)]
#[diesel(check_for_backend(diesel::pg::Pg))]
struct Book {
    id: i64,
    title: String,
    is_lent: bool,
    shelf_id: i64,
    reader_id: Option<i64>,
}

/// Declares the default one.
pub fn books() -> Arc<dyn Dataset> {
    let mut declared = Declaration::new(
        ["books", "book"],
        books::id,
        || books::table.into_boxed(),
        || books::table.into_boxed(),
    )
    .with_models(|query, loader| loader.load(query.select((Book::as_select(),))));
    declared
        .column("id", "ID", books::id)
        .cell(|row: &Book| row.id.into());
    declared
        .column("title", "Title", books::title)
        .cell(|row| (&row.title).into());
    declared
        .label_column("lent", "Lent", books::is_lent, ["yes", "no"])
        .cell(|row| if row.is_lent { "yes" } else { "no" }.into());
    declared
        .column("shelf_id", "Shelf ID", books::shelf_id)
        .cell(|row| row.shelf_id.into());
    declared
        .column("reader_id", "Reader ID", books::reader_id)
        .cell(|row| row.reader_id.into())
        .on_request();
    declared
        .id_filter(
            "shelf_id",
            "readers",
            "Only books on this reader's shelf",
            books::shelf_id,
        )
        .id_filter(
            "reader_id",
            "readers",
            "Only books that this reader, or nobody (`none`), has",
            books::reader_id,
        )
        .boolean_filter(
            "lent",
            "Only books that are lent, or that are not",
            books::is_lent,
        )
        .text_filter(
            "title",
            "Only books whose title has this text in it",
            books::title,
        )
        .range_filter("pages", "Only books of so many pages", books::pages)
        .one_of_filter(
            "genre",
            "Only books of this genre",
            books::genre,
            &["novel", "comic"],
        )
        .restriction("shelf", books::shelf_id);
    sound(declared.finish())
}

fn readers() -> Arc<dyn Dataset> {
    let mut declared = Declaration::new(
        ["readers", "reader"],
        readers::id,
        || readers::table.into_boxed(),
        || readers::table.into_boxed(),
    );
    declared.column("id", "ID", readers::id);
    declared.column("name", "Name", readers::name);
    declared
        .text_filter(
            "name",
            "Only readers whose name has this text in it",
            readers::name,
        )
        // Of another type than that of the books.
        .range_filter(
            "pages",
            "Only readers of so many pages a day",
            readers::pages,
        )
        .range_filter("born", "Only readers who were born then", readers::born)
        .range_filter("seen", "Only readers who were seen then", readers::seen_at)
        .range_filter("wrote", "Only readers who wrote then", readers::wrote_at)
        .range_filter("wakes", "Only readers who wake then", readers::wakes_at)
        .exact_filter("card", "Only the reader with this card", readers::card);
    sound(declared.finish())
}

/// A catalog of both.
pub fn catalog() -> Catalog {
    sound(Catalog::new(books(), [readers()]))
}

fn sound<T>(declared: Result<T, InvalidDeclaration>) -> T {
    declared.unwrap_or_else(|invalid| panic!("{invalid}"))
}
