//! What a filter can be set to: the rows of another dataset, by their names.

use std::sync::Arc;

use diesel::prelude::*;
use serde::Serialize;

use super::dataset::{
    Cell, Column, Condition, Dataset, Filter, FilterValue, Fragment, Question, Row, SearchText,
    Selected,
};
use super::queries::PREVIEW_CHARACTERS;

/// The most choices that are listed at a time. The user searches for others.
const MAX: i64 = 200;

/// Something to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Choice {
    /// The value of the filter.
    pub id: i64,
    /// Its name, up to 200 characters; a longer one ends with `…`.
    pub name: String,
}

/// What there is to choose from, in the order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Choices {
    /// The first of them.
    pub choices: Vec<Choice>,
    /// Whether there are more than these.
    pub more: bool,
}

/// Loads the first choices that match a filter of their dataset, and whose names have all words of `text`, in any order.
pub fn load(
    connection: &mut PgConnection,
    filter: &Filter,
    text: &SearchText,
) -> QueryResult<Choices> {
    let dataset = filter.dataset();
    let (key, name) = key_and_name(dataset);
    let words = dataset.label_filter().into_iter().flat_map(|field| {
        let words = text.words();
        words.map(|word| field.condition(&FilterValue::Text(word)))
    });
    // One more than is listed shows whether there are more.
    let question = Question::of(selected(dataset))
        .with(filter.conditions())
        .with(words)
        .ordered([name, key])
        .limit(MAX + 1);
    let rows: Vec<Row> = dataset.joined(question).load(connection)?;
    let mut choices: Vec<Choice> = rows.iter().map(Choice::read).collect();
    let more = choices.len() as i64 > MAX;
    choices.truncate(MAX as usize);
    Ok(Choices { choices, more })
}

/// Finds the choice with this id.
pub fn find(
    connection: &mut PgConnection,
    dataset: &Arc<dyn Dataset>,
    id: i64,
) -> QueryResult<Option<Choice>> {
    let (key, _name) = key_and_name(dataset);
    let question = Question::of(selected(dataset)).with([Condition::compare(&key, "=", id)]);
    let row: Option<Row> = dataset.joined(question).get_result(connection).optional()?;
    Ok(row.as_ref().map(Choice::read))
}

fn key_and_name(dataset: &Arc<dyn Dataset>) -> (Fragment, Fragment) {
    let key = Arc::clone(&dataset.table().key_value);
    let name = dataset.label().map_or(Arc::clone(&key), Column::joined);
    (key, name)
}

/// The key, and the name's beginning, as previews have it: one character more shows that there are more.
fn selected(dataset: &Arc<dyn Dataset>) -> [Selected; 2] {
    let (key, _name) = key_and_name(dataset);
    let name = dataset
        .label()
        .map_or(Selected::Plain(Arc::clone(&key)), |column| {
            column.beginning(PREVIEW_CHARACTERS + 1)
        });
    [Selected::Plain(key), name]
}

impl Choice {
    fn read(row: &Row) -> Self {
        Self {
            id: row.first_integer().unwrap_or_default(),
            name: match row.cells().nth(1) {
                Some(Cell::Text(name)) => match name.char_indices().nth(PREVIEW_CHARACTERS) {
                    Some((end, _)) => format!("{}…", &name[..end]),
                    None => name.to_owned(),
                },
                Some(Cell::Integer(id)) => id.to_string(),
                Some(Cell::Null) | None => String::new(),
            },
        }
    }
}
