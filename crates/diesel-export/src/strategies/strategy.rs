//! The strategies: the ways to load the rows.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumMessage, EnumString, IntoStaticStr, VariantArray};

/// How the rows are loaded. Every strategy makes the same bytes.
#[derive(Display, EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// full model structs of all joined tables, all in memory
    Joined,
    /// only the chosen values, as tuples, all in memory
    Tuples,
    /// the chosen values, row by row as they arrive
    Streamed,
    /// the chosen values, in pages of 2,000 from one cursor
    Paged,
    /// PostgreSQL's own COPY, its bytes passed through
    Copy,
    /// COPY of the dataset's own table, on several connections at once, the names looked up in memory; if that does not pay, `copy`
    #[default]
    Lookup,
}

impl Strategy {
    /// All strategies, from the article's first to its last.
    pub fn all() -> &'static [Self] {
        Self::VARIANTS
    }

    /// Returns the strategies that hold only a part of the rows in memory.
    pub fn unbuffered() -> impl Iterator<Item = Self> {
        Self::all()
            .iter()
            .copied()
            .filter(|strategy| !strategy.is_buffered())
    }

    /// Returns whether it holds all rows in memory.
    pub fn is_buffered(self) -> bool {
        matches!(self, Self::Joined | Self::Tuples)
    }

    /// Returns its name on the command line and on the web.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
