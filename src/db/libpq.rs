//! Connections that speak `COPY … TO STDOUT`: the workspace's own crate for it.

pub use diesel_copy_out::{
    Connection, CopyOutDsl, Error, InvalidUrl, Manager, Options, Row, connection_options as options,
};
