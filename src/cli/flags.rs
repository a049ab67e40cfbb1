//! Flags that several commands have: what exports may cost, and where they run.

use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use strum::{EnumMessage, VariantArray};

use super::{APPLICATION_NAME, DatasetsFlag};
use crate::process::secret;
use diesel_export::Limits;
use diesel_export::db::UTC;
use diesel_export::db::libpq::InvalidUrl;
use diesel_export::db::servers::{Hosts, Rules};
use diesel_export::units::{bytes, seconds};

/// Reads one of an enum's names. The help of each is its documentation.
pub(super) fn one_of<T>() -> impl TypedValueParser<Value = T>
where
    T: VariantArray + EnumMessage + Into<&'static str> + Copy + Send + Sync,
    T: FromStr<Err = strum::ParseError>,
{
    let values = T::VARIANTS.iter().map(|variant| {
        let help = variant.get_documentation().unwrap_or_default();
        let help: Vec<&str> = help.lines().collect();
        PossibleValue::new((*variant).into()).help(help.join(" ").trim_end_matches('.').to_owned())
    });
    PossibleValuesParser::new(values).try_map(|name| name.parse())
}

/// What an export may cost.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct LimitFlags {
    /// Maximum number of rows for `joined` and `tuples`, which hold all rows in memory
    #[arg(long, env = "CMMS_MAX_BUFFERED_ROWS", help_heading = "Limits", value_name = "N", default_value_t = Limits::default().max_buffered_rows)]
    max_buffered_rows: u32,
    /// Maximum memory for the rows of all `joined` and `tuples` exports together: bytes, or a number with KiB, MiB or GiB
    #[arg(long, env = "CMMS_MAX_BUFFERED_SIZE", help_heading = "Limits", value_name = "SIZE", default_value = "1GiB", value_parser = bytes)]
    max_buffered_size: u64,
    /// Time limit of each query of an export, including waiting for its client [default: none]
    #[arg(long, env = "CMMS_STATEMENT_TIMEOUT", help_heading = "Limits", value_name = "SECONDS", value_parser = seconds)]
    statement_timeout: Option<Duration>,
    /// Maximum memory for the names that `lookup` holds: bytes, or a number with KiB, MiB or GiB; if there are more, `copy` is used
    #[arg(long, env = "CMMS_LOOKUP_MEMORY", help_heading = "Limits", value_name = "SIZE", default_value = "64MiB", value_parser = bytes)]
    lookup_memory: u64,
}

/// What an Excel workbook may cost.
// Flags of their own: the benchmark makes no workbooks.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct WorkbookFlags {
    /// Maximum number of rows of an Excel workbook [default: unlimited, in several sheets]
    #[arg(
        long,
        env = "CMMS_MAX_XLSX_ROWS",
        help_heading = "Limits",
        value_name = "N"
    )]
    max_xlsx_rows: Option<u64>,
}

impl LimitFlags {
    /// The limits that they set.
    pub fn limits(self) -> Limits {
        Limits {
            max_buffered_rows: self.max_buffered_rows,
            max_buffered_size: self.max_buffered_size,
            max_xlsx_rows: None,
            statement_timeout: self.statement_timeout,
            lookup_memory: self.lookup_memory,
        }
    }
}

/// What `serve` and `export` have of every export.
#[derive(Debug, Clone, clap::Args)]
pub struct ExportFlags {
    /// The datasets
    #[command(flatten)]
    pub datasets: DatasetsFlag,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    workbooks: WorkbookFlags,
    /// How values are printed
    #[command(flatten)]
    pub print: PrintFlags,
    /// Where exports run
    #[command(flatten)]
    pub replicas: Replicas,
}

impl ExportFlags {
    /// What an export may cost.
    pub fn limits(&self) -> Limits {
        Limits {
            max_xlsx_rows: self.workbooks.max_xlsx_rows,
            ..self.limits.limits()
        }
    }
}

/// How values are printed.
#[derive(Debug, Clone, clap::Args)]
pub struct PrintFlags {
    /// Time zone of timestamps, by its name in the tz database, such as `Europe/Berlin`
    #[arg(
        long,
        env = "CMMS_TIME_ZONE",
        help_heading = "Output",
        value_name = "ZONE",
        default_value = UTC
    )]
    pub time_zone: String,
}

/// Where exports run, and when they run elsewhere, as the command line has it.
#[derive(Debug, Clone, clap::Args)]
pub struct Replicas {
    /// Connection string of the hot standbys that exports run on: one or several hosts, as for libpq [default: the database]
    // Hidden: it may hold a password, and `--help` prints values. Not parsed here either: clap would print what is wrong.
    #[arg(
        long,
        env = "EXPORT_DATABASE_URL",
        help_heading = "Replicas",
        value_name = "URL",
        hide_env_values = true
    )]
    pub export_database_url: Option<String>,
    /// File with the connection string of the standbys
    #[arg(long, env = "EXPORT_DATABASE_URL_FILE", help_heading = "Replicas", value_name = "FILE", conflicts_with = "export_database_url", value_parser = secret::in_file)]
    pub export_database_url_file: Option<String>,
    /// Maximum replication lag; if all replicas lag more, exports run on the primary
    #[arg(long, env = "CMMS_MAX_REPLICA_LAG", help_heading = "Replicas", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub max_replica_lag: Duration,
    /// Never run an export on the primary
    #[arg(long, env = "CMMS_REPLICA_ONLY", help_heading = "Replicas", value_parser = clap::builder::BoolishValueParser::new())]
    pub replica_only: bool,
}

/// Why the options are invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReplicas {
    /// It is not a URL.
    #[error("EXPORT_DATABASE_URL: {0}")]
    Url(#[from] InvalidUrl),
    /// There are no replicas.
    #[error(
        "--replica-only (CMMS_REPLICA_ONLY) without --export-database-url (EXPORT_DATABASE_URL): there is no replica"
    )]
    None,
}

impl Replicas {
    /// Reads the rules for where exports run.
    pub fn rules(&self) -> Result<Rules, InvalidReplicas> {
        let url = self.export_database_url.as_deref();
        let hosts = url
            .or(self.export_database_url_file.as_deref())
            .map(|url| Hosts::parse(url, APPLICATION_NAME));
        if self.replica_only && hosts.is_none() {
            return Err(InvalidReplicas::None);
        }
        Ok(Rules {
            hosts: hosts.transpose()?,
            max_lag: self.max_replica_lag,
            replica_only: self.replica_only,
        })
    }
}
