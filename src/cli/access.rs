//! The command `access`: who may see what.

use std::path::PathBuf;

use clap::Subcommand;

use super::datasets::DatasetsFlag;

/// What to do with the access file.
#[derive(Debug, clap::Args)]
pub struct Access {
    /// What to do
    #[command(subcommand)]
    pub command: AccessCommand,
}

/// What to do with the access file.
#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Print what an access file lets a user see
    Check(AccessCheck),
}

/// A user to look at.
#[derive(Debug, clap::Args)]
pub struct AccessCheck {
    /// Access file, as `serve` takes it
    #[arg(long, env = "CMMS_ACCESS_FILE", value_name = "FILE")]
    pub access_file: PathBuf,
    /// The user
    #[arg(long, env = "CMMS_USER", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub user: String,
    /// A group of the user's; can be given several times
    #[arg(long, env = "CMMS_GROUP", value_name = "NAME")]
    pub group: Vec<String>,
    /// The datasets that there are
    #[command(flatten)]
    pub datasets: DatasetsFlag,
}
