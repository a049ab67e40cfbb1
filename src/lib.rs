//! Exports the tasks of a CMMS (computerised maintenance management system) from PostgreSQL to CSV.
pub mod cli;
pub mod connect;
pub mod db;
pub mod export;
pub mod memory;
pub mod models;
pub mod output;
pub mod progress;
#[expect(missing_docs, reason = "generated")]
pub mod schema;
pub mod seed;
pub mod web;
