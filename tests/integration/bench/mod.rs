//! The benchmark, and its page.

mod api;
mod browser;
mod command;
mod import;
pub(crate) mod service;
