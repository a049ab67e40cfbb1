//! Datasets of tables that no Diesel schema declares: from a file, and from what PostgreSQL's catalog says of them.
//!
//! [`init`] writes such a file of what a database has; people edit it. [`DatasetsFile`] reads it, and makes datasets of it.

mod dataset;
mod datasets_file;
mod declare;
mod file;
mod init;
mod names;
mod pg_catalog;

pub use self::datasets_file::{DatasetsError, DatasetsFile, FileDatasets};
pub use self::file::{InvalidFile, Problem};
pub use self::init::{InitError, init};
