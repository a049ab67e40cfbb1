//! What a filter can be set to: the rows of another dataset, by their names.

use std::sync::Arc;

use diesel::prelude::*;
use serde::Serialize;

use crate::dataset::{
    Cell, Column, Condition, Dataset, Filter, FilterValue, Fragment, Ordered, Question, Row,
    SearchText, Selected,
};
use crate::queries::PREVIEW_CHARACTERS;

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
    let label = dataset.label();
    let Some(key) = dataset.table().integer_key() else {
        return Ok(Choices::default());
    };
    let words = dataset.label_filter().into_iter().flat_map(|field| {
        let words = text.words();
        words.map(|word| field.condition(&FilterValue::Text(word)))
    });
    // One more than is listed shows whether there are more.
    let question = Question::of(selected(&key.value, label))
        .with(filter.conditions())
        .with(words)
        .ordered(
            label
                .map(Column::joined)
                .into_iter()
                .chain([Arc::clone(&key.value)])
                .map(Ordered::up),
        )
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
    let Some(key) = dataset.table().integer_key() else {
        return Ok(None);
    };
    let question = Question::of(selected(&key.value, dataset.label()))
        .with([Condition::compare(&key.value, "=", id)]);
    let row: Option<Row> = dataset.joined(question).get_result(connection).optional()?;
    Ok(row.as_ref().map(Choice::read))
}

/// The key, and the name's beginning, as previews have it: one character more shows that there are more.
fn selected(key: &Fragment, label: Option<&Column>) -> [Selected; 2] {
    let key = Selected::Plain(Arc::clone(key));
    let name = label.map_or(key.clone(), |column| {
        column.beginning(PREVIEW_CHARACTERS + 1)
    });
    [key, name]
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
                Some(Cell::Boolean(value)) => value.to_string(),
                Some(Cell::Null) | None => String::new(),
            },
        }
    }
}
