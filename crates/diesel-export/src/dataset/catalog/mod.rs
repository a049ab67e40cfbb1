//! The datasets of a program.

mod scope;

use std::sync::Arc;

pub use self::scope::{InvalidScope, Scope};

use super::{Dataset, InvalidDeclaration};
use crate::request::misspelled::no_such;

/// There is no dataset of a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoSuchDataset(String);

/// The datasets of a program, as a value: whoever exports holds the one that the export has begun with.
#[derive(Debug, Clone)]
pub struct Catalog {
    default: Arc<dyn Dataset>,
    others: Vec<Arc<dyn Dataset>>,
}

impl Catalog {
    /// The catalog of these datasets, or what cannot work in it. `default` is the one that is meant if none is named.
    pub fn new(
        default: Arc<dyn Dataset>,
        others: impl IntoIterator<Item = Arc<dyn Dataset>>,
    ) -> Result<Self, InvalidDeclaration> {
        let catalog = Self {
            default,
            others: others.into_iter().collect(),
        };
        catalog.check()?;
        Ok(catalog)
    }

    fn check(&self) -> Result<(), InvalidDeclaration> {
        for (index, dataset) in self.all().enumerate() {
            let invalid = |reason: String| Err(InvalidDeclaration::new(dataset.name(), reason));
            let mut before = self.all().take(index);
            if before.any(|other| other.name() == dataset.name()) {
                return invalid("there is another one of this name".to_owned());
            }
            for field in dataset.filters() {
                let Some(of) = field.of() else { continue };
                let name = field.name();
                match self.find(of) {
                    None => {
                        return invalid(format!(
                            "its filter `{name}` is of the dataset `{of}`, which is not there"
                        ));
                    }
                    Some(of)
                        if of
                            .table()
                            .single_key()
                            .is_none_or(|key| key.kind != *field.kind()) =>
                    {
                        return invalid(format!(
                            "its filter `{name}` is of another type than the key of the dataset `{}`",
                            of.name()
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// All datasets, the default one first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Dataset>> {
        std::iter::once(&self.default).chain(&self.others)
    }

    /// The dataset that is meant if none is named.
    pub fn default(&self) -> &Arc<dyn Dataset> {
        &self.default
    }

    /// The dataset of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<dyn Dataset>> {
        self.all().find(|dataset| dataset.name() == name)
    }

    /// The dataset of this name, or what there is instead.
    pub fn named(&self, name: &str) -> Result<&Arc<dyn Dataset>, NoSuchDataset> {
        self.find(name).ok_or_else(|| {
            let said = format!("there is no dataset `{name}`");
            let names: Vec<&str> = self.names().collect();
            NoSuchDataset(no_such(&said, name, "the datasets are", &names))
        })
    }

    /// The names of all datasets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all().map(|dataset| dataset.name())
    }
}
