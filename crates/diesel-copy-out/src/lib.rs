#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, missing_debug_implementations)]

mod connection;
mod connection_string;
mod copy_out;
mod error;
mod literal;
#[cfg(feature = "r2d2")]
mod manager;
mod options;
mod query;
mod raw;
mod row;
#[cfg(feature = "stream")]
mod stream;

pub use connection::CopyConnection;
pub use connection_string::{InvalidUrl, connection_options};
pub use copy_out::CopyOut;
pub use error::{Error, ErrorKind};
pub use literal::Unwritable;
#[cfg(feature = "r2d2")]
pub use manager::Manager;
pub use options::Options;
pub use query::CopyOutDsl;
pub use raw::Cancel;
pub use row::Row;
#[cfg(feature = "stream")]
pub use stream::CopyStream;
