//! What a filter can be set to: the rows of another dataset, by their names.

use std::fmt;
use std::sync::Arc;

use diesel::debug_query;
use diesel::pg::Pg;
use diesel::prelude::*;
use serde::Serialize;

use crate::dataset::{
    Cell, Column, ColumnKind, Condition, Dataset, Filter, FilterField, Key, Ordered, Row,
    SearchText, Select, Selected, SqlExpression, Value, value_of_key,
};
use crate::queries::PREVIEW_CHARACTERS;

/// The most choices that are listed at a time. The user searches for others.
const MAX: i64 = 200;

/// Something to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Choice {
    /// The value of the filter.
    pub id: ChoiceId,
    /// Its name, up to 200 characters; a longer one ends with `…`.
    pub name: String,
}

/// A key of another dataset, as the filter takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum ChoiceId {
    /// An integer.
    Integer(i64),
    /// Any other key, as PostgreSQL prints it; the text `none` as `\none`.
    Text(String),
}

impl fmt::Display for ChoiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(id) => id.fmt(f),
            Self::Text(id) => f.write_str(id),
        }
    }
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
    let Some(key) = dataset.table().single_key() else {
        return Ok(Choices::default());
    };
    let searched = label.map_or_else(
        || Arc::new(Selected::Printed(Arc::clone(&key.value))),
        Column::searched,
    );
    let words = text.words();
    let words = words.map(|word| Condition::contains(&searched, word.as_str()));
    let by_label = label.map(|column| match column.is_ordered {
        true => column.joined(),
        false => Arc::clone(&searched),
    });
    // One more than is listed shows whether there are more.
    let select = Select::of(selected(key, label))
        .with(filter.conditions())
        .with(words)
        .ordered(
            by_label
                .into_iter()
                .chain([Arc::clone(&key.value)])
                .map(Ordered::up),
        )
        .limit(MAX + 1);
    let rows: Vec<Row> = dataset.joined(select).load(connection)?;
    let mut choices: Vec<Choice> = rows.iter().map(Choice::read).collect();
    let more = choices.len() as i64 > MAX;
    choices.truncate(MAX as usize);
    Ok(Choices { choices, more })
}

/// Finds the choices of these values of a filter. Those that are not there are left out.
pub fn find(
    connection: &mut PgConnection,
    dataset: &Arc<dyn Dataset>,
    values: &[Value],
) -> QueryResult<Vec<Choice>> {
    let Some(key) = dataset.table().single_key() else {
        return Ok(Vec::new());
    };
    let keys: Vec<Value> = values.iter().map(Value::key).collect();
    let select = Select::of(selected(key, dataset.label()))
        .with([Condition::one_of(&key.value, &key.kind, &keys)]);
    let rows: Vec<Row> = dataset.joined(select).load(connection)?;
    Ok(rows.iter().map(Choice::read).collect())
}

/// Returns those filters of the dataset `of` that narrow what `field` of `dataset` chooses from. `dataset` has the same filter: of the same
/// column, in the row that `field` refers to.
pub fn narrowing<'d>(
    dataset: &'d dyn Dataset,
    field: &FilterField,
    of: &'d dyn Dataset,
) -> impl Iterator<Item = &'d FilterField> {
    let sql = |fragment: &SqlExpression| debug_query::<Pg, _>(&&**fragment).to_string();
    let column = field.reference.is_none().then(|| sql(&field.alone));
    let mut references = dataset.references().iter();
    let reference = references.position(|reference| Some(sql(&reference.value)) == column);
    let narrowed = of.filters().iter();
    narrowed.filter(move |there| {
        let is_same = |own: &FilterField| {
            own.reference == reference
                && (&own.name, &own.kind, &own.of) == (&there.name, &there.kind, &there.of)
                && sql(&own.alone) == sql(&there.alone)
        };
        reference.is_some()
            && there.of.is_some()
            && there.reference.is_none()
            && dataset.filters().iter().any(is_same)
    })
}

/// The key, and the name's beginning, as previews have it: one character more shows that there are more.
fn selected(key: &Key, label: Option<&Column>) -> [Selected; 2] {
    let value = Arc::clone(&key.value);
    let key = match key.kind {
        ColumnKind::Integer => Selected::Plain(value),
        _ => Selected::Printed(value),
    };
    let name = label.map_or(key.clone(), |column| {
        column.beginning(PREVIEW_CHARACTERS + 1)
    });
    [key, name]
}

impl Choice {
    fn read(row: &Row) -> Self {
        Self {
            id: match row.cells().next() {
                Some(Cell::Integer(id)) => ChoiceId::Integer(id),
                Some(Cell::Text(id)) => ChoiceId::Text(value_of_key(id)),
                _ => ChoiceId::Text(String::new()),
            },
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
