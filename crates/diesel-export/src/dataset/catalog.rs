//! The datasets of a program.

use std::sync::Arc;

use super::Dataset;

/// The datasets of a program, as a value: whoever exports holds the one that the export has begun with.
#[derive(Debug, Clone)]
pub struct Catalog {
    default: Arc<dyn Dataset>,
    others: Vec<Arc<dyn Dataset>>,
}

impl Catalog {
    /// The catalog of these datasets. `default` is the one that is meant if none is named.
    pub fn new(
        default: Arc<dyn Dataset>,
        others: impl IntoIterator<Item = Arc<dyn Dataset>>,
    ) -> Self {
        Self {
            default,
            others: others.into_iter().collect(),
        }
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

    /// The names of all datasets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all().map(|dataset| dataset.name())
    }
}
