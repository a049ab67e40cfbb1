//! The benchmark, and its page.

mod api;
mod browser;
mod command;
mod kept;
pub(crate) mod service;
