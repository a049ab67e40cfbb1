//! Clients of the service.

pub mod browser;
pub mod client;
pub mod prepared;
