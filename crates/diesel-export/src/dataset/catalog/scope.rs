//! What somebody may see of a catalog.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Catalog;
use crate::Error;
use crate::dataset::column::Origin;
use crate::dataset::declaration::sql_of;
use crate::dataset::query::SqlExpression;
use crate::dataset::{
    Column, Condition, Dataset, FilterField, FilterValue, InvalidFilter, Loader, Models, Query,
    Reference, RowOrder, Select, Selected, Table,
};

/// What somebody may see of a catalog: which rows, which columns, and as which role of PostgreSQL they are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    user: String,
    datasets: Option<Vec<String>>,
    rows: Vec<(String, String)>,
    hidden: Vec<(String, String)>,
    role: Option<String>,
}

impl Scope {
    /// The scope of a user who may see all. What a user has prepared is that user's alone, as long as the scope is the same.
    pub fn of(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            datasets: None,
            rows: Vec::new(),
            hidden: Vec::new(),
            role: None,
        }
    }

    /// Leaves only these datasets.
    pub fn only<'n>(self, datasets: impl IntoIterator<Item = &'n str>) -> Self {
        let datasets = datasets.into_iter().map(str::to_owned).collect();
        Self {
            datasets: Some(datasets),
            ..self
        }
    }

    /// Leaves only rows that meet the [restriction](crate::dataset::Declaration::restriction) of this name by this value. A dataset that
    /// declares none of this name is left out. What a row refers to is shown with it, whatever the restrictions of its own dataset.
    pub fn rows(mut self, restriction: &str, value: impl fmt::Display) -> Self {
        self.rows.push((restriction.to_owned(), value.to_string()));
        self
    }

    /// Hides a column of a dataset, with the filters that compare it, and where it is the key, the lists of keys to choose from. Columns of
    /// other datasets that show the same values, and expressions of them, are columns of their own.
    pub fn without(mut self, dataset: &str, column: &str) -> Self {
        self.hidden.push((dataset.to_owned(), column.to_owned()));
        self
    }

    /// Reads the rows as this role of PostgreSQL, by `SET LOCAL ROLE`, which the role of the connections must be a member of;
    /// `none` is no role.
    pub fn as_role(self, role: impl Into<String>) -> Self {
        Self {
            role: Some(role.into()),
            ..self
        }
    }

    /// The user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The role of PostgreSQL.
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    fn shows(&self, dataset: &dyn Dataset) -> bool {
        let datasets = self.datasets.as_ref();
        datasets.is_none_or(|names| names.iter().any(|name| name == dataset.name()))
    }

    fn hides(&self, dataset: &dyn Dataset, column: &Column) -> bool {
        let mut hidden = self.hidden.iter();
        hidden.any(|(of, name)| of == dataset.name() && name == column.name())
    }
}

/// A scope that says something of which the catalog knows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidScope(String);

impl Catalog {
    /// Returns what this scope leaves of it; `None` if that is nothing.
    ///
    /// # Errors
    ///
    /// If no dataset has a restriction or a column that the scope names, or the value of a restriction cannot be one.
    pub fn scoped(&self, scope: &Arc<Scope>) -> Result<Option<Self>, InvalidScope> {
        let said = |said: &str| Err(InvalidScope(said.to_owned()));
        if scope.user.is_empty() {
            return said("the user has no name");
        }
        // To PostgreSQL, it stands for the role of the connection.
        if scope.role() == Some("none") {
            return said("`none` is no role");
        }
        for name in scope.datasets.iter().flatten() {
            self.named(name)
                .map_err(|error| InvalidScope(error.to_string()))?;
        }
        for (of, name) in &scope.hidden {
            let dataset = self.find(of);
            let mut columns = dataset.iter().flat_map(|dataset| dataset.columns());
            if !columns.any(|column| column.name() == name) {
                let said = format!("there is no column `{name}` of a dataset `{of}` to hide");
                return Err(InvalidScope(said));
            }
        }
        let mut left: Vec<Scoped> = Vec::new();
        for dataset in self.all().filter(|dataset| scope.shows(&***dataset)) {
            left.extend(Scoped::of(dataset, scope)?);
        }
        for (name, _) in &scope.rows {
            let mut restrictions = self.all().flat_map(|dataset| dataset.restrictions());
            if !restrictions.any(|field| field.name() == name) {
                return Err(InvalidScope(format!(
                    "no dataset has a restriction `{name}`"
                )));
            }
        }
        let with_keys = left.iter().filter(|dataset| !dataset.hides_key);
        let names: Vec<String> = with_keys.map(|of| of.name().to_owned()).collect();
        let mut left = left.into_iter().map(|mut dataset| {
            // There is nothing to choose from.
            let is_left = |field: &FilterField| {
                field
                    .of()
                    .is_none_or(|of| names.iter().any(|name| name == of))
            };
            dataset.filters.retain(is_left);
            Arc::new(dataset) as Arc<dyn Dataset>
        });
        Ok(left.next().map(|default| Self {
            default,
            others: left.collect(),
        }))
    }
}

/// A dataset as somebody may see it. All of its queries have the conditions of the scope.
struct Scoped {
    dataset: Arc<dyn Dataset>,
    scope: Arc<Scope>,
    columns: Vec<Column>,
    filters: Vec<FilterField>,
    hides_key: bool,
    restrictions: Vec<(FilterField, FilterValue)>,
}

impl Scoped {
    /// Returns what is left of a dataset, if that is anything.
    fn of(dataset: &Arc<dyn Dataset>, scope: &Arc<Scope>) -> Result<Option<Self>, InvalidScope> {
        let mut restrictions = Vec::new();
        for (name, value) in &scope.rows {
            let mut fields = dataset.restrictions().iter();
            let Some(field) = fields.find(|field| field.name() == name) else {
                return Ok(None);
            };
            let value = field.parse_all([value.as_str()]).and_then(|value| {
                // A comma would let in more.
                let is_one = value.single().is_some();
                is_one.then_some(value).ok_or(InvalidFilter::Twice)
            });
            let value = value.map_err(|error| {
                InvalidScope(format!(
                    "the restriction `{name}` of `{}`: {error}",
                    dataset.name()
                ))
            })?;
            restrictions.push((field.clone(), value));
        }
        let (hidden, columns): (Vec<&Column>, Vec<&Column>) = dataset
            .columns()
            .iter()
            .partition(|column| scope.hides(&**dataset, column));
        if !columns.iter().any(|column| column.is_default()) {
            return Ok(None);
        }
        let is_key = |column: &&Column| {
            let key = dataset.table().single_key();
            key.is_some_and(|key| values(column).contains(&sql(&key.value)))
        };
        let hides_key = hidden.iter().any(is_key);
        let compared: Vec<String> = hidden.into_iter().flat_map(values).collect();
        let filters = dataset.filters().iter();
        let filters = filters.filter(|field| !compared.contains(&sql(&field.joined)));
        Ok(Some(Self {
            columns: columns.into_iter().cloned().collect(),
            filters: filters.cloned().collect(),
            hides_key,
            dataset: Arc::clone(dataset),
            scope: Arc::clone(scope),
            restrictions,
        }))
    }

    fn conditions(&self) -> impl Iterator<Item = Condition> {
        let restrictions = self.restrictions.iter();
        restrictions.map(|(field, value)| field.condition(value))
    }

    /// The conditions on the dataset's own table. What is referred to is asked by its ids.
    fn own_conditions(&self) -> impl Iterator<Item = Condition> {
        self.restrictions.iter().map(|(field, value)| {
            let alone = field.condition_alone(value);
            let reference = field.reference.map(|index| &self.references()[index]);
            let Some(reference) = reference else {
                return alone;
            };
            let ids = Select::of([Selected::Plain(Arc::clone(&reference.id))]);
            Condition::is_in(&reference.value, (reference.query)(ids.with([alone])))
        })
    }
}

/// The SQL of a column's values in the query of all tables: as the file has them, and as they are stored.
fn values(column: &Column) -> Vec<String> {
    let stored = match column.origin() {
        Origin::Own { value, .. } => Some(sql(value)),
        Origin::Referenced { .. } | Origin::Computed => None,
    };
    stored.into_iter().chain([sql(&column.joined)]).collect()
}

fn sql(value: &SqlExpression) -> String {
    sql_of(&Selected::Plain(Arc::clone(value)))
}

impl Dataset for Scoped {
    fn name(&self) -> &str {
        self.dataset.name()
    }

    fn row_name(&self) -> &str {
        self.dataset.row_name()
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn filters(&self) -> &[FilterField] {
        &self.filters
    }

    fn restrictions(&self) -> &[FilterField] {
        self.dataset.restrictions()
    }

    fn scope(&self) -> Option<&Scope> {
        Some(&self.scope)
    }

    fn label(&self) -> Option<&Column> {
        let label = self.dataset.label()?;
        let mut columns = self.columns.iter();
        columns.find(|column| column.name() == label.name())
    }

    fn table(&self) -> &Table {
        self.dataset.table()
    }

    fn references(&self) -> &[Reference] {
        self.dataset.references()
    }

    fn relations(&self) -> &[String] {
        self.dataset.relations()
    }

    fn proof(&self) -> Option<&str> {
        self.dataset.proof()
    }

    fn joined(&self, select: Select) -> Query {
        self.dataset.joined(select.with(self.conditions()))
    }

    fn own(&self, select: Select) -> Query {
        self.dataset.own(select.with(self.own_conditions()))
    }

    fn models(
        &self,
        mut conditions: Vec<Condition>,
        order: &RowOrder,
        limit: i64,
        loader: Loader<'_>,
    ) -> Option<Result<Box<dyn Models>, Error>> {
        conditions.extend(self.conditions());
        self.dataset.models(conditions, order, limit, loader)
    }

    fn has_models(&self) -> bool {
        self.dataset.has_models()
    }
}

#[cfg(test)]
mod tests;
