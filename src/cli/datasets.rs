//! The command `datasets`: the file of datasets, for tables that are not the program's own.

use std::path::PathBuf;

use clap::Subcommand;

/// What to do with the file of datasets.
#[derive(Debug, clap::Args)]
pub struct Datasets {
    /// What to do
    #[command(subcommand)]
    pub command: DatasetsCommand,
}

/// What to do with the file of datasets.
#[derive(Debug, Subcommand)]
pub enum DatasetsCommand {
    /// Write a file of datasets for the tables and views that the database has
    Init(Init),
    /// Check whether the database has what a file of datasets says
    Check(Check),
}

/// A file to check.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// File of datasets
    pub file: PathBuf,
}

/// The file of datasets in place of the program's own.
#[derive(Debug, Clone, clap::Args)]
pub struct DatasetsFlag {
    /// File of datasets, as `cmms-export datasets init` writes it; needs DATABASE_URL [default: the tasks, assets, locations and
    /// users of a CMMS]
    #[arg(long, env = "CMMS_DATASETS", value_name = "FILE")]
    pub datasets: Option<PathBuf>,
}

/// A new file.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// Schema whose tables and views are included; can be given several times
    #[arg(
        long,
        env = "CMMS_SCHEMA",
        value_name = "NAME",
        default_value = "public"
    )]
    pub schema: Vec<String>,
    /// Output file; `-` is the standard output
    #[arg(
        long,
        short,
        env = "CMMS_OUTPUT",
        value_name = "FILE|-",
        default_value = "-"
    )]
    pub output: PathBuf,
}
