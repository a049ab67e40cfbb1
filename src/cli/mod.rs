//! The command line. Every flag can also be given as an environment variable.

mod access;
mod datasets;
mod environment;
mod export;
mod flags;
mod serve;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub use self::access::{Access, AccessCheck, AccessCommand};
pub use self::datasets::{Check, Datasets, DatasetsCommand, DatasetsFlag, Init};
pub use self::environment::{UnknownVariable, unknown_variables};
pub use self::export::{ExportOptions, ParameterFlags};
use self::flags::one_of;
pub use self::flags::{
    ExportFlags, InvalidReplicas, LimitFlags, PrintFlags, Replicas, WorkbookFlags,
};
pub use self::serve::{AuthToken, OpenToAll, Serve, Users};
use crate::benchmark;
use crate::database::seed::Seed;
use crate::process::secret;
use diesel_export::Strategy;

/// The `application_name` of the program's connections, unless a URL or PGAPPNAME gives another one.
pub(crate) const APPLICATION_NAME: &str = "cmms-export";

/// Exports the tasks of a CMMS, its assets, locations and users from PostgreSQL to CSV, JSON lines or an Excel workbook.
///
/// Without DATABASE_URL, a private PostgreSQL cluster is started, in a directory of its own.
#[derive(Debug, Parser)]
#[command(version, name = "cmms-export")]
pub struct Cli {
    /// The flags of every command
    #[command(flatten)]
    pub global: Global,
    /// Command to run
    #[command(subcommand)]
    pub command: Command,
}

/// The flags of every command.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Connection string of the database, as for libpq; without it, a private cluster is started
    // Hidden: it may hold a password, and `--help` prints values.
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "URL",
        global = true,
        hide_env_values = true,
        help_heading = "General"
    )]
    database_url: Option<String>,
    /// File with the connection string of the database [default: systemd's credential database-url, if there is one]
    #[arg(
        long,
        env = "DATABASE_URL_FILE",
        value_name = "FILE",
        global = true,
        conflicts_with = "database_url",
        value_parser = secret::in_file,
        help_heading = "General"
    )]
    database_url_file: Option<String>,
    /// Directory of the private cluster [default: the user's data directory; for root /var/lib/cmms-export]
    #[arg(
        long,
        env = "CMMS_DATA_DIR",
        value_name = "DIR",
        global = true,
        help_heading = "General"
    )]
    pub data_dir: Option<PathBuf>,
    /// Log filter, such as `info` or `debug,actix_http=info` [default: info for serve and database, else warn]
    #[arg(
        long,
        env = "CMMS_LOG",
        value_name = "FILTER",
        global = true,
        help_heading = "General"
    )]
    pub log: Option<String>,
    /// Log format
    #[arg(
        long,
        env = "CMMS_LOG_FORMAT",
        value_enum,
        default_value_t,
        global = true,
        help_heading = "General"
    )]
    pub log_format: LogFormat,
}

impl Global {
    /// The database's URL, if it was given.
    pub fn database_url(&self) -> Option<&str> {
        let either = self
            .database_url
            .as_ref()
            .or(self.database_url_file.as_ref());
        either.map(String::as_str)
    }
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
    /// Serve the web pages, downloads and API
    Serve(Box<Serve>),
    /// Run the pending migrations
    Migrate(Migrate),
    /// Fill the database with made-up data
    Seed(Seed),
    /// Export tasks, or another dataset, as CSV, JSON lines or an Excel workbook
    Export(Box<ExportOptions>),
    /// Check by its manifest whether an exported file is complete
    Verify(Verify),
    /// Describe the tables of any database, to export them
    Datasets(Datasets),
    /// Look at who may see what
    Access(Access),
    /// Measure the time and memory that each strategy takes
    Bench(Bench),
    /// Does one run of the benchmark, for the program itself
    #[command(hide = true, name = crate::benchmark::CHILD_COMMAND)]
    BenchRun,
    /// Keep the private cluster running, and print its DATABASE_URL
    Database,
}

/// A benchmark.
#[derive(Debug, clap::Args)]
pub struct Bench {
    /// Dataset of --datasets to measure [default: the first one; without a file, the tasks]
    #[arg(requires = "datasets")]
    pub dataset: Option<String>,
    /// The datasets
    #[command(flatten)]
    pub datasets: DatasetsFlag,
    /// Strategies to measure [default: all; with a file, without `joined`]
    #[arg(
        long,
        env = "CMMS_STRATEGIES",
        value_name = "A,B",
        value_parser = one_of::<Strategy>(),
        value_delimiter = ','
    )]
    pub strategies: Vec<Strategy>,
    /// Runs of each strategy, after a warm-up
    #[arg(long, env = "CMMS_RUNS", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=i64::from(benchmark::MAX_RUNS)))]
    pub runs: u32,
    /// Number of tasks to export, in the order of their IDs [default: all]
    #[arg(long, env = "CMMS_ROWS", value_name = "N", conflicts_with = "datasets", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    pub rows: Option<u64>,
    /// File for all measurements and the description of the machine, as JSON
    #[arg(long, env = "CMMS_JSON", value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print the table in Markdown
    #[arg(long, env = "CMMS_MARKDOWN")]
    pub markdown: bool,
    /// What an export may cost
    #[command(flatten)]
    pub limits: LimitFlags,
}

/// The migrations.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// Create the tables even if the database has other tables
    #[arg(long, env = "CMMS_YES", value_parser = clap::builder::BoolishValueParser::new())]
    pub yes: bool,
}

/// A file to check against its manifest.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// File to check; `-` is the standard input
    pub file: PathBuf,
    /// Manifest of the file; `-` is the standard input
    #[arg(long, env = "CMMS_MANIFEST", value_name = "FILE|-")]
    pub manifest: PathBuf,
}
