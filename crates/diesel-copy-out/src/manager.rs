//! Connections for a pool.

use std::fmt;

use diesel::r2d2::ManageConnection;

use crate::{CopyConnection, Error};

/// Opens connections for an r2d2 pool. The pool closes those that come back within a COPY or a transaction.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_server/cluster.rs"));
/// use std::io;
///
/// use diesel::r2d2::Pool;
/// use diesel_copy_out::{Manager, Options};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cluster = Cluster::start();
/// # let url = cluster.url();
/// let pool = Pool::builder().max_size(4).build(Manager::new(url))?;
/// let mut connection = pool.get()?;
/// let copy = connection.copy_out("select 1", &Options::csv())?;
/// assert_eq!(io::read_to_string(copy)?, "1\n");
/// # Ok(())
/// # }
/// ```
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
    type Connection = CopyConnection;
    type Error = Error;

    fn connect(&self) -> Result<CopyConnection, Error> {
        CopyConnection::establish(&self.url)
    }

    fn is_valid(&self, connection: &mut CopyConnection) -> Result<(), Error> {
        connection.execute("select 1")
    }

    fn has_broken(&self, connection: &mut CopyConnection) -> bool {
        !connection.is_reusable()
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        formatter.debug_struct("Manager").finish_non_exhaustive()
    }
}
