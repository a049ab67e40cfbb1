//! The filters that a file declares.

use std::collections::HashMap;
use std::sync::Arc;

use super::paths::{self, Paths, Wrong};
use super::query::value;
use super::references::References;
use crate::dataset::{
    ColumnKind, FilterField, FilterTest, Origin, SqlExpression, is_parameter, why_no_column_name,
    why_no_filter,
};
use crate::tables::file::{FilterEntry, Kind};
use crate::tables::pg_catalog::{Attribute, Relation};

/// The datasets whose key is one column, by the oid of their table and that column.
pub(in crate::tables) type Keys = HashMap<(i64, String), (String, ColumnKind)>;

/// A filter of the file, and what it is about.
pub(in crate::tables) struct FoundFilter<'e> {
    entry: &'e FilterEntry,
    pub(in crate::tables) join: Option<usize>,
    pub(in crate::tables) attribute: Attribute,
    /// The table and the column that its column's foreign key refers to.
    refers_to: Option<(i64, String)>,
}

/// Finds a filter's column.
pub(in crate::tables) fn find<'e>(
    entry: &'e FilterEntry,
    paths: &mut Paths<'_>,
) -> Result<FoundFilter<'e>, Wrong> {
    let join = paths.follow(&entry.via)?;
    let name = entry.column.as_ref().unwrap_or(&entry.name);
    let relation = paths.relation(join);
    let attribute = paths::column(relation, name.get_ref(), &name.span())?;
    Ok(FoundFilter {
        entry,
        join,
        refers_to: refers_to(relation, &attribute.name),
        attribute: attribute.clone(),
    })
}

fn refers_to(relation: &Relation, column: &str) -> Option<(i64, String)> {
    let foreign_key = relation.foreign_key(column)?;
    Some((foreign_key.to, foreign_key.key.first()?.clone()))
}

/// Makes the filters of a dataset of this name, or says all that is wrong.
pub(in crate::tables) fn make(
    filters: &[FoundFilter<'_>],
    dataset: &str,
    references: &References<'_>,
    keys: &Keys,
) -> Result<Vec<FilterField>, Vec<Wrong>> {
    let mut fields: Vec<FilterField> = Vec::new();
    let mut wrong = Vec::new();
    for filter in filters {
        let made = filter.fields(dataset, references, keys);
        let checked = made.and_then(|made| {
            made.iter().try_for_each(|field| check(field, &fields))?;
            Ok(made)
        });
        match checked {
            Ok(made) => fields.extend(made),
            Err(said) => wrong.push((filter.entry.name.span(), said)),
        }
    }
    if wrong.is_empty() {
        Ok(fields)
    } else {
        Err(wrong)
    }
}

/// Says what is wrong with a filter beside these others.
fn check(field: &FilterField, others: &[FilterField]) -> Result<(), String> {
    let name = field.name();
    let reason = if let Some(reason) = why_no_column_name(name) {
        format!("the filter `{name}` {reason}")
    } else if is_parameter(name) {
        format!("the filter `{name}` is called as a parameter that every export has")
    } else if others.iter().any(|other| other.name() == name) {
        format!("there is another filter `{name}`")
    } else {
        return why_no_filter(field).map_or(Ok(()), Err);
    };
    Err(reason)
}

/// What a filter does, in a sentence without a full stop.
fn help(kind: Kind, dataset: &str, name: &str) -> String {
    let words = name.replace('_', " ");
    match kind {
        Kind::Contains => {
            format!("Only {dataset} whose {words} has this text in it, in upper or lower case")
        }
        Kind::Boolean => format!("Only {dataset} whose {words} is true, or false"),
        Kind::Range => format!("Only {dataset} by {words}"),
        Kind::Exact | Kind::OneOf | Kind::Id => format!("Only {dataset} whose {words} is this"),
    }
}

impl FoundFilter<'_> {
    fn fields(
        &self,
        dataset: &str,
        references: &References<'_>,
        keys: &Keys,
    ) -> Result<Vec<FilterField>, String> {
        let (alone, reference): (SqlExpression, Option<usize>) = match self.join {
            None => (Arc::new(value(None, &self.attribute)), None),
            Some(join) => match references.origin(join, &self.attribute) {
                Origin::Referenced { reference, value } => (value, Some(reference)),
                Origin::Own { .. } | Origin::Computed => {
                    return Err("no filter is of what several columns refer to together".to_owned());
                }
            },
        };
        let name = self.entry.name.get_ref();
        let kind = *self.entry.kind.get_ref();
        let labels = self.labels(kind)?;
        let takes_none = !labels.iter().any(|label| label == "none")
            && matches!(kind, Kind::OneOf | Kind::Boolean | Kind::Id)
            && (!self.attribute.is_not_null || self.join.is_some());
        let compared = match kind {
            Kind::OneOf => self.attribute.typed(),
            Kind::Contains if self.attribute.is_searchable() => ColumnKind::Text,
            _ => self.attribute.compared(),
        };
        let field = FilterField {
            name: name.clone(),
            help: help(kind, dataset, name),
            test: match kind {
                Kind::Contains => FilterTest::Contains,
                Kind::Range => FilterTest::From,
                Kind::Exact | Kind::OneOf | Kind::Boolean | Kind::Id => FilterTest::OneOf,
            },
            of: self.of(kind, &compared, keys),
            kind: compared,
            labels,
            takes_none,
            reference,
            joined: Arc::new(value(self.join, &self.attribute)),
            alone,
        };
        if kind != Kind::Range {
            return Ok(vec![field]);
        }
        let to = FilterField {
            name: format!("{name}_to"),
            help: format!("{}: up to this, inclusive", field.help),
            test: FilterTest::To,
            ..field.clone()
        };
        let from = FilterField {
            name: format!("{name}_from"),
            help: format!("{}: from this on", field.help),
            ..field
        };
        Ok(vec![from, to])
    }

    /// The labels to choose from; an error if the kind of filter is not for such a column.
    fn labels(&self, kind: Kind) -> Result<Vec<String>, String> {
        let Attribute { name, r#type, .. } = &self.attribute;
        let wrong = |needed: &str| {
            Err(format!(
                "this kind of filter is for {needed}, and the column `{name}` is of the type {type}"
            ))
        };
        match (kind, &self.attribute.labels) {
            (Kind::OneOf, Some(labels)) => Ok(labels.clone()),
            (Kind::OneOf, None) => wrong("enums"),
            (Kind::Boolean, _) if self.attribute.kind() != ColumnKind::Boolean => wrong("booleans"),
            _ => Ok(Vec::new()),
        }
    }

    /// The dataset whose rows it chooses from.
    fn of(&self, kind: Kind, compared: &ColumnKind, keys: &Keys) -> Option<String> {
        let refers_to = self.refers_to.as_ref().filter(|_| kind == Kind::Id)?;
        let (dataset, key) = keys.get(refers_to)?;
        (key == compared).then(|| dataset.clone())
    }
}
