//! The file of datasets, and what it is on a database.

use std::collections::HashMap;
use std::sync::Arc;

use super::declare::filters::Keys;
use super::declare::named::Tables;
use super::declare::paths::Wrong;
use super::declare::{Made, TypeOf, declare};
use super::file::{DatasetEntry, File};
use super::file::{InvalidFile, Problem};
use crate::dataset::{Catalog, Dataset};
use crate::db::{self, libpq};

/// A file of datasets that was read.
pub struct DatasetsFile {
    text: String,
    file: File,
}

/// Why there are no datasets.
#[derive(Debug, thiserror::Error)]
pub enum DatasetsError {
    /// The file says what is not so.
    #[error(transparent)]
    Invalid(#[from] InvalidFile),
    /// The catalog cannot be read.
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// The datasets of a file, as a database has them.
pub struct FileDatasets {
    file: DatasetsFile,
    catalog: Catalog,
    /// The types that the columns of each dataset had when it was made.
    types: HashMap<String, Vec<TypeOf>>,
}

impl DatasetsFile {
    /// Reads a file's text.
    pub fn parse(text: impl Into<Vec<u8>>) -> Result<Self, InvalidFile> {
        let text = String::from_utf8(text.into()).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
            let said = "the file is not in UTF-8".to_owned();
            InvalidFile::new(vec![Problem::at(&before, &(valid..valid), said)])
        })?;
        let file = File::read(&text)?;
        let mut problems = Vec::new();
        for (index, dataset) in file.datasets.iter().enumerate() {
            let name = dataset.name.get_ref();
            let before = &file.datasets[..index];
            if before.iter().any(|other| other.name.get_ref() == name) {
                let said = format!("there is another dataset `{name}`");
                problems.push(Problem::at(&text, &dataset.name.span(), said));
            }
        }
        if problems.is_empty() {
            Ok(Self { text, file })
        } else {
            Err(InvalidFile::new(problems))
        }
    }

    /// Makes the datasets, or says all that is not so on this database.
    pub fn datasets(
        self,
        connection: &mut libpq::CopyConnection,
    ) -> Result<FileDatasets, DatasetsError> {
        let tables = Tables::read(connection, &self.file)?;
        let keys = self.keys(&tables);
        let mut problems = Vec::new();
        let mut types = HashMap::new();
        let mut datasets: Vec<Arc<dyn Dataset>> = Vec::new();
        for entry in &self.file.datasets {
            match declare(entry, &tables, &keys) {
                Ok(made) => {
                    types.insert(made.dataset.name.clone(), made.types);
                    datasets.push(Arc::new(made.dataset));
                }
                Err(wrong) => problems.extend(wrong.into_iter().map(|wrong| self.problem(wrong))),
            }
        }
        if !problems.is_empty() {
            return Err(InvalidFile::new(problems).into());
        }
        let mut datasets = datasets.into_iter();
        // A file that was read has a dataset.
        let first = datasets
            .next()
            .ok_or_else(|| InvalidFile::new(Vec::new()))?;
        let catalog = Catalog::new(first, datasets).map_err(|invalid| {
            let problem = Problem::at(&self.text, &(0..0), invalid.to_string());
            InvalidFile::new(vec![problem])
        })?;
        Ok(FileDatasets {
            file: self,
            catalog,
            types,
        })
    }

    /// The datasets that filters by an id may choose from.
    fn keys(&self, tables: &Tables) -> Keys {
        let keys = self.file.datasets.iter().filter_map(|dataset| {
            let table = tables.find(&dataset.table).ok()?;
            let [key] = dataset.key.as_slice() else {
                return None;
            };
            let attribute = table.column(key.get_ref())?;
            let refers_to = (table.oid, attribute.name.clone());
            Some((
                refers_to,
                (dataset.name.get_ref().clone(), attribute.compared()),
            ))
        });
        keys.collect()
    }

    fn problem(&self, (span, said): Wrong) -> Problem {
        Problem::at(&self.text, &span, said)
    }
}

impl FileDatasets {
    /// The datasets.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// How the database differs by now from what the datasets were made of, by their names; those that do not differ are not there.
    pub fn differences(
        &self,
        connection: &mut libpq::CopyConnection,
    ) -> Result<Vec<(String, Vec<String>)>, db::Error> {
        let tables = Tables::read(connection, &self.file.file)?;
        let keys = self.file.keys(&tables);
        let entries = self.file.file.datasets.iter();
        let differences = entries.filter_map(|entry| {
            let different = self.different(entry, declare(entry, &tables, &keys));
            (!different.is_empty()).then(|| (entry.name.get_ref().clone(), different))
        });
        Ok(differences.collect())
    }

    fn different(&self, entry: &DatasetEntry, now: Result<Made, Vec<Wrong>>) -> Vec<String> {
        let name = entry.name.get_ref();
        let mut said: Vec<String> = match now {
            Err(wrong) => {
                let said = wrong.into_iter().map(|(_, said)| format!("{name}: {said}"));
                said.collect()
            }
            Ok(made) => {
                let before = self.types.get(name).map_or(&[][..], Vec::as_slice);
                let pairs = before.iter().zip(&made.types);
                let changed = pairs.filter(|(before, now)| before != now);
                let said = changed.map(|((column, before), (other, now))| {
                    if column == other {
                        format!(
                            "{name}: {column} was {before} at the start, and is {now}: start again"
                        )
                    } else {
                        format!("{name}: what was {column} at the start is {other}: start again")
                    }
                });
                said.chain(self.gone_labels(&made)).collect()
            }
        };
        // A column and a filter may read the same.
        said.sort();
        said.dedup();
        said
    }

    /// The labels of enums by which rows could be filtered at the start: PostgreSQL refuses those that are no more.
    fn gone_labels(&self, made: &Made) -> Vec<String> {
        let name = &made.dataset.name;
        let before = self.catalog.find(name).map(|dataset| dataset.filters());
        let pairs = before.unwrap_or_default().iter().zip(&made.dataset.filters);
        let gone = pairs.flat_map(|(before, now)| {
            let labels = before.labels().iter();
            let gone = labels.filter(|label| !now.labels().contains(label));
            gone.map(|label| {
                let filter = before.name();
                format!("{name}: the filter `{filter}` has no `{label}` any more: start again")
            })
        });
        gone.collect()
    }
}
