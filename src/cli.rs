//! The command line. Every flag can also be given as an environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::export::parameters::Parameters;
use crate::seed::Seed;

/// Exports the tasks of a CMMS from PostgreSQL to CSV.
///
/// Without DATABASE_URL, a private PostgreSQL cluster is started, in a directory of its own.
#[derive(Debug, Parser)]
#[command(version, name = "cmms-export")]
pub struct Cli {
    /// What every command takes
    #[command(flatten)]
    pub global: Global,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// The database, as libpq takes it; without it, a private cluster is started
    // Hidden: it may hold a password, and `--help` prints values.
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "URL",
        global = true,
        hide_env_values = true
    )]
    pub database_url: Option<String>,
    /// Where the private cluster lives [default: the user's data directory; for root /var/lib/cmms-export]
    #[arg(long, env = "CMMS_DATA_DIR", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// What is logged, as in `info` or `cmms_export=debug` [default: info for serve and database, else warn]
    #[arg(long, env = "CMMS_LOG", value_name = "FILTER", global = true)]
    pub log: Option<String>,
    /// How the log is written
    #[arg(
        long,
        env = "CMMS_LOG_FORMAT",
        value_enum,
        default_value_t,
        global = true
    )]
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum LogFormat {
    /// for people
    #[default]
    Human,
    /// a JSON object a line
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves the web pages and the download
    Serve(Serve),
    /// Brings the database's tables up to date
    Migrate,
    /// Fills the database with made-up data
    Seed(Seed),
    /// Writes the tasks as CSV
    Export(Export),
    /// Keeps the private cluster up, and prints its DATABASE_URL
    Database,
}

/// The web service.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The address to listen on
    #[arg(
        long,
        env = "CMMS_BIND",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080"
    )]
    pub bind: SocketAddr,
}

/// An export to a file.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// What to export
    #[command(flatten)]
    pub parameters: Parameters,
    /// Where to; the file appears when it is whole. `-` is the standard output
    #[arg(
        long,
        short,
        env = "CMMS_OUTPUT",
        value_name = "FILE|-",
        default_value = "-"
    )]
    pub output: PathBuf,
}
