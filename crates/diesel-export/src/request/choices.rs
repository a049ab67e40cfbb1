//! What a filter can be set to: the rows of another dataset, by their names.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use diesel::debug_query;
use diesel::pg::Pg;
use diesel::prelude::*;
use serde::Serialize;

use crate::dataset::condition;
use crate::dataset::{
    Cell, Column, ColumnKind, Condition, Dataset, Filter, FilterField, Key, Ordered, Row,
    SearchText, Select, Selected, SqlExpression, Value, value_of_key,
};
use crate::queries::PREVIEW_CHARACTERS;

/// The most choices that are listed at a time. The user searches for others.
const MAX: i64 = 100;

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

/// Loads the first choices that match a filter of their dataset, and whose names have all words of `text`, in any order: first what is
/// called as the text, then what begins with it, then what has a word that does.
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
    let words: Vec<SearchText> = text.words().collect();
    let together: Vec<&str> = words.iter().map(SearchText::as_str).collect();
    let rank = (!words.is_empty()).then(|| condition::rank(&searched, &together.join(" ")));
    let words = words
        .iter()
        .map(|word| Condition::contains(&searched, word.as_str()));
    let by_label = label.map(|column| match column.is_ordered {
        true => column.joined(),
        false => Arc::clone(&searched),
    });
    // One more than is listed shows whether there are more.
    let rank_selected = rank.clone().map(Selected::Plain);
    let select = Select::of(selected(key, label).into_iter().chain(rank_selected))
        .with(filter.conditions())
        .with(words)
        .ordered(
            rank.into_iter()
                .chain(by_label)
                .chain([Arc::clone(&key.value)])
                .map(Ordered::up),
        )
        .limit(MAX + 1);
    let rows: Vec<Row> = dataset.joined(select).load(connection)?;
    let more = rows.len() as i64 > MAX;
    let rows = &rows[..rows.len().min(MAX as usize)];
    let mut choices: Vec<Choice> = rows.iter().map(Choice::read).collect();
    let mut start = 0;
    for rank in rows.chunk_by(|one, other| one.cells().nth(2) == other.cells().nth(2)) {
        by_numbers(&mut choices[start..start + rank.len()]);
        start += rank.len();
    }
    tell_apart(&mut choices);
    Ok(Choices { choices, more })
}

/// Orders names that differ in their numbers alone by those numbers, and leaves the others where they are.
fn by_numbers(choices: &mut [Choice]) {
    let mut alike: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, choice) in choices.iter().enumerate() {
        alike.entry(shape(&choice.name)).or_default().push(place);
    }
    for places in alike.into_values() {
        let mut ordered: Vec<Choice> = places.iter().map(|place| choices[*place].clone()).collect();
        ordered.sort_by_cached_key(|choice| numbers(&choice.name));
        for (place, choice) in places.into_iter().zip(ordered) {
            choices[place] = choice;
        }
    }
}

/// A text with `0` in place of each number.
fn shape(text: &str) -> String {
    let mut shape = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_ascii_digit() {
            true if shape.ends_with('0') => {}
            true => shape.push('0'),
            false => shape.push(character),
        }
    }
    shape
}

/// The numbers in a text: of more digits is greater.
fn numbers(text: &str) -> Vec<(usize, String)> {
    let digits = text.split(|character: char| !character.is_ascii_digit());
    let digits = digits.filter(|digits| !digits.is_empty());
    let number = digits.map(|digits| digits.trim_start_matches('0'));
    number
        .map(|number| (number.len(), number.to_owned()))
        .collect()
}

/// Adds their ids to names that are there twice.
fn tell_apart(choices: &mut [Choice]) {
    let mut times: HashMap<String, usize> = HashMap::new();
    for choice in &*choices {
        *times.entry(choice.name.clone()).or_default() += 1;
    }
    for choice in choices {
        if times.get(&choice.name).is_some_and(|times| *times > 1) {
            choice.name = format!("{} ({})", choice.name, choice.id);
        }
    }
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
    let mut choices: Vec<Choice> = rows.iter().map(Choice::read).collect();
    tell_apart(&mut choices);
    Ok(choices)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(names: &[&str]) -> Vec<Choice> {
        let choice = |(id, name): (i64, &&str)| Choice {
            id: ChoiceId::Integer(id),
            name: (*name).to_owned(),
        };
        (1..).zip(names).map(choice).collect()
    }

    fn names(choices: &[Choice]) -> Vec<&str> {
        choices.iter().map(|choice| &*choice.name).collect()
    }

    #[test]
    fn two_comes_before_ten_and_other_texts_stay_where_the_collation_has_them() {
        let mut all = choices(&[
            "Älter",
            "Hall 1",
            "Hall 10 B",
            "Hall 10",
            "Hall 2 B",
            "Hall 02",
            "10",
            "9",
            "Yard",
        ]);
        by_numbers(&mut all);
        let expected = [
            "Älter",
            "Hall 1",
            "Hall 2 B",
            "Hall 02",
            "Hall 10 B",
            "Hall 10",
            "9",
            "10",
            "Yard",
        ];
        assert_eq!(names(&all), expected);
    }

    #[test]
    fn names_with_their_numbers_in_other_places_are_left_where_they_are() {
        let mut all = choices(&["2a", "a1"]);
        by_numbers(&mut all);
        assert_eq!(names(&all), ["2a", "a1"]);
    }

    #[test]
    fn equal_names_are_told_apart_by_their_ids() {
        let mut all = choices(&["same", "other", "same"]);
        tell_apart(&mut all);
        assert_eq!(names(&all), ["same (1)", "other", "same (3)"]);
    }
}
