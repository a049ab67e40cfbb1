//! What a workbook says of itself, on its last sheet.

use time::{OffsetDateTime, PrimitiveDateTime};

use super::styles;
use super::value::Value;
use super::workbook::MOST_CHARACTERS;
use crate::dataset::{Column, FilterTest};
use crate::{Export, Target};

/// A line of the sheet: what it says, and of what.
pub(super) type Line<'l> = (&'l str, Value<'l>);

/// What is known before the rows.
pub(super) struct About {
    dataset: String,
    filter: Vec<String>,
    order: Option<String>,
    columns: String,
    begun: PrimitiveDateTime,
    time_zone: String,
    source: Option<&'static str>,
}

impl About {
    /// About an export that begins now.
    pub(super) fn of(export: &Export, place: &Target<'_>) -> Self {
        let filter = export.filter.iter().map(|(field, value)| {
            let values = value.values().iter().map(ToString::to_string);
            let values = listed(&values.collect::<Vec<_>>(), " or ");
            match field.test() {
                FilterTest::Contains => format!("{} contains {values}", field.name()),
                FilterTest::OneOf => format!("{} is {values}", field.name()),
                FilterTest::From | FilterTest::To => format!("{}: {values}", field.name()),
            }
        });
        let columns = export.columns.columns();
        let headers: Vec<&str> = columns.into_iter().map(Column::header).collect();
        let order = export.order.to_string();
        let order: Vec<&str> = order.split(',').collect();
        let now = OffsetDateTime::now_utc();
        Self {
            dataset: export.dataset().name().to_owned(),
            filter: filter.collect(),
            order: (!export.order.is_by_key()).then(|| listed(&order, ",")),
            columns: listed(&headers, ", "),
            begun: PrimitiveDateTime::new(now.date(), now.time().truncate_to_second()),
            time_zone: place.database.time_zone().to_owned(),
            source: place.role.map(|role| role.name()),
        }
    }

    /// The sheet's lines, for so many rows.
    pub(super) fn lines(&self, rows: u64) -> Vec<Line<'_>> {
        let mut lines = vec![("Dataset", Value::Text(&self.dataset))];
        let filter = self.filter.iter();
        lines.extend(filter.map(|filter| ("Filter", Value::Text(filter))));
        if self.filter.is_empty() {
            lines.push(("Filter", Value::Text("none: all rows")));
        }
        if let Some(order) = &self.order {
            lines.push(("Order", Value::Text(order)));
        }
        lines.push(("Columns", Value::Text(&self.columns)));
        lines.push(("Rows", Value::Integer(rows.cast_signed())));
        let style = [styles::TIMESTAMP; 2];
        if let Some(begun) = Value::at(self.begun.date(), self.begun.time(), style) {
            lines.push(("Exported (UTC)", begun));
        }
        lines.push(("Time zone of the rows", Value::Text(&self.time_zone)));
        if let Some(source) = self.source {
            lines.push(("Source", Value::Text(source)));
        }
        lines
    }
}

/// Lists what has room in a cell, and says how many more there are.
fn listed(all: &[impl AsRef<str>], separator: &str) -> String {
    // A name stands before the list, and a number may follow it.
    let mut room = MOST_CHARACTERS - 2_000;
    let fits = |text: &&str| {
        let characters = text.encode_utf16().count() + separator.len();
        room = room.saturating_sub(characters);
        room > 0
    };
    let listed: Vec<&str> = all.iter().map(AsRef::as_ref).take_while(fits).collect();
    match all.len() - listed.len() {
        0 => listed.join(separator),
        more => format!("{} … and {more} more", listed.join(separator)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_longer_than_a_cell_says_how_many_more_there_are() {
        let ids: Vec<String> = (0..10_000).map(|id| (100_000 + id).to_string()).collect();
        assert_eq!(listed(&ids[..2], " or "), "100000 or 100001");
        let list = listed(&ids, " or ");
        assert!(list.len() < MOST_CHARACTERS, "{}", list.len());
        assert!(
            list.ends_with("103075 … and 6924 more"),
            "{}",
            &list[list.len() - 50..]
        );
    }
}
