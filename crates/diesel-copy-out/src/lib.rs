//! `COPY … TO STDOUT` over libpq: complete, or an error.
//!
//! Diesel hands out no `PGconn`, and its own `copy_to` neither takes a query nor asks for the command's final result: a COPY that
//! fails in the middle looks like a short success. A [`Connection`] of this crate stands beside Diesel's. Its [`CopyOut`] ends only
//! after the server has confirmed that it sent every row.

mod connection;
mod connection_string;
mod copy_out;
mod error;
#[cfg(feature = "r2d2")]
mod manager;
mod raw;
mod row;

pub use connection::Connection;
pub use connection_string::{InvalidUrl, connection_options};
pub use copy_out::CopyOut;
pub use error::Error;
#[cfg(feature = "r2d2")]
pub use manager::Manager;
pub use raw::Cancel;
pub use row::Row;
