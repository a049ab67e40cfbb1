//! What a workbook says of itself, on its last sheet.

use time::{OffsetDateTime, PrimitiveDateTime};

use super::styles;
use super::value::Value;
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
            let values = values.collect::<Vec<_>>().join(" or ");
            match field.test() {
                FilterTest::Contains => format!("{} contains {values}", field.name()),
                FilterTest::OneOf => format!("{} is {values}", field.name()),
                FilterTest::From | FilterTest::To => format!("{}: {values}", field.name()),
            }
        });
        let columns = export.columns.columns();
        let headers: Vec<&str> = columns.into_iter().map(Column::header).collect();
        let now = OffsetDateTime::now_utc();
        Self {
            dataset: export.dataset().name().to_owned(),
            filter: filter.collect(),
            order: (!export.order.is_by_key()).then(|| export.order.to_string()),
            columns: headers.join(", "),
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
