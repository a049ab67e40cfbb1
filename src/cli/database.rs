//! The private cluster's commands.

use std::path::PathBuf;

use clap::Subcommand;

/// The private cluster.
#[derive(Debug, clap::Args)]
pub struct DatabaseOptions {
    /// What to do with it; without a command, it is kept up
    #[command(subcommand)]
    pub command: Option<DatabaseCommand>,
}

/// What to do with the private cluster.
#[derive(Debug, Subcommand)]
pub enum DatabaseCommand {
    /// Backs the private cluster up, while others may use it
    Backup {
        /// Where to; the file appears when it is whole. `-` is the standard output
        file: PathBuf,
    },
    /// Puts a new cluster, filled from a backup, into the private one's place, and keeps the old one beside it
    Restore {
        /// The backup
        file: PathBuf,
    },
    /// Brings the private cluster to the newest PostgreSQL that is found, and keeps the old one beside it
    Upgrade {
        /// The directory of the cluster's present version of postgres [default: the usual places]
        #[arg(long, env = "CMMS_OLD_BINDIR", value_name = "DIR")]
        old_bindir: Option<PathBuf>,
    },
}
