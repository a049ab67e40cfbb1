//! What programs ask for: rows, counts, choices, exports, and the description of all of it.

pub(crate) mod choices;
pub mod events;
pub(crate) mod exports;
pub(crate) mod openapi;
pub(crate) mod read;
pub(crate) mod rows;
