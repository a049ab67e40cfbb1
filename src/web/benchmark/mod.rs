//! The benchmark: its API, its page, and the results that are kept.

pub(crate) mod api;
pub(crate) mod page;
pub(crate) mod store;
