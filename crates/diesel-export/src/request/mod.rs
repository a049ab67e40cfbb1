//! What can be asked for: an export's names and values, and what a filter can be set to.

pub mod choices;
pub(crate) mod misspelled;
pub mod parameters;
