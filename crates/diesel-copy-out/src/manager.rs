//! Connections for a pool.

use diesel::r2d2::ManageConnection;

use crate::{Connection, Error};

/// Opens connections for an r2d2 pool.
#[derive(Debug)]
pub struct Manager {
    url: String,
}

impl Manager {
    /// A manager of connections to `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = Error;

    fn connect(&self) -> Result<Connection, Error> {
        Connection::establish(&self.url)
    }

    fn is_valid(&self, connection: &mut Connection) -> Result<(), Error> {
        connection.execute("select 1")
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        !connection.is_reusable()
    }
}
