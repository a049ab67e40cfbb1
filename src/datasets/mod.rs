//! What this program exports, a file for each dataset: the query, the columns, the filters.
//!
//! Nothing else names them. The command line, the web and every strategy take them from here.

mod assets;
mod locations;
mod tasks;
mod users;

use std::sync::LazyLock;

use crate::export::dataset::Dataset;

static ALL: LazyLock<[Box<dyn Dataset>; 4]> = LazyLock::new(|| {
    [
        tasks::declare(),
        assets::declare(),
        locations::declare(),
        users::declare(),
    ]
});

/// All datasets; the first is the one that is meant if none is named.
pub fn all() -> impl Iterator<Item = &'static dyn Dataset> {
    ALL.iter().map(|dataset| &**dataset)
}

/// The dataset that is meant if none is named.
pub fn default() -> &'static dyn Dataset {
    &*ALL[0]
}

/// The dataset of this name.
pub fn find(name: &str) -> Option<&'static dyn Dataset> {
    all().find(|dataset| dataset.name() == name)
}
