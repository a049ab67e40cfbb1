//! stub
#![allow(missing_docs)]
use std::path::{Path, PathBuf};
pub enum Durability {
    Durable,
    ThrowAway,
}
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub struct EmbeddedError;
pub struct Embedded;
impl Embedded {
    pub fn start(_: &Path, _: Durability) -> Result<Self, EmbeddedError> {
        Err(EmbeddedError)
    }
    pub fn database_url(&self) -> &str {
        ""
    }
    pub fn stop(self) -> Result<(), EmbeddedError> {
        Ok(())
    }
}
pub fn default_data_dir() -> Result<PathBuf, EmbeddedError> {
    Err(EmbeddedError)
}
