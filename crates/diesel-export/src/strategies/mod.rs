//! The ways to load the rows, a file for each.

pub(crate) mod copy;
pub(crate) mod joined;
pub(crate) mod lookup;
pub(crate) mod paged;
pub(crate) mod strategy;
pub(crate) mod streamed;
pub(crate) mod tuples;
