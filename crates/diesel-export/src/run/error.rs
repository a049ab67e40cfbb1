//! Why an export is not complete.

use std::io;
use std::time::Duration;

use diesel::PgConnection;

use crate::Strategy;
use crate::dataset::UnexpectedNull;
use crate::db::servers::NoReplica;
use crate::db::{self, Database, UnfitTables, libpq};
use crate::manifest::{ErrorClass, State};
use crate::units;

/// Why an export is not complete.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// The sink accepted no more.
    #[error("the output failed: {0}")]
    Sink(#[source] io::Error),
    /// No server may run it now.
    #[error(transparent)]
    NoReplica(#[from] NoReplica),
    /// The database's tables differ from those that the program expects.
    #[error(transparent)]
    Tables(#[from] UnfitTables),
    /// It was cancelled.
    #[error("the export was cancelled")]
    Cancelled,
    /// The strategy would hold more rows in memory than allowed.
    #[error(
        "there are more than {limit} rows, which the strategy {} would hold in memory: choose one of {}",
        strategy.name(),
        unbuffered()
    )]
    TooManyRows {
        /// The strategy that was chosen.
        strategy: Strategy,
        /// The maximum number of rows.
        limit: u32,
    },
    /// A struct of `joined` has no place for a NULL.
    #[error("{0}, which the strategy joined does not take: choose another one")]
    UnexpectedNull(UnexpectedNull),
    /// The strategy's rows take more memory than allowed for all such exports together.
    #[error(
        "the rows take more than {}, in which the strategy {} would hold them in memory: choose one of {}",
        units::exact_bytes(*limit), strategy.name(), unbuffered()
    )]
    TooLargeToBuffer {
        /// The strategy that was chosen.
        strategy: Strategy,
        /// The maximum number of bytes.
        limit: u64,
    },
    /// Other exports hold the memory that the strategy's rows need.
    #[error(
        "other exports hold the rest of {}, in which the strategy {} would hold the rows in memory: try again later, or choose one of {}",
        units::exact_bytes(*limit), strategy.name(), unbuffered()
    )]
    BufferBusy {
        /// The strategy that was chosen.
        strategy: Strategy,
        /// The bytes that all such exports together may hold.
        limit: u64,
    },
    /// A workbook would have more rows than allowed.
    #[error(
        "there are more than {limit} rows, which is the most for an Excel workbook here: export CSV, or fewer rows"
    )]
    TooManyRowsForXlsx {
        /// The maximum number of rows.
        limit: u64,
    },
    /// A text does not fit into a workbook's cell.
    #[error(
        "row {row} has in the column `{column}` a text of more than {most} characters, which Excel does not take: export CSV, or without this column"
    )]
    TextTooLong {
        /// The number of the row in the export, from 1.
        row: u64,
        /// The column's name.
        column: String,
        /// The maximum length of a cell, in characters.
        most: usize,
    },
    /// The workbook's file cannot be as it would have to be.
    #[error("the workbook could not be made: {0}")]
    Workbook(#[source] io::Error),
}

impl Error {
    /// Finds out why the database has failed, as [`db::Error::explained`] does.
    pub fn explained(self, connection: &mut PgConnection, waited: Option<Duration>) -> Self {
        match self {
            Self::Database(error) => Self::Database(error.explained(connection, waited)),
            error => error,
        }
    }

    /// Finds out whether the database has refused because of its tables, which may change while the program runs.
    pub fn because_of_tables(self, database: &Database, dataset: &str) -> Self {
        let Self::Database(error) = &self else {
            return self;
        };
        if self.class() != Some(ErrorClass::Database)
            || matches!(error, db::Error::TableLocked(_) | db::Error::Moved)
        {
            return self;
        }
        match database.unfit(Some(dataset)) {
            Ok(Some(unfit)) => {
                tracing::error!(%error, "the database failed");
                unfit.into()
            }
            // Then the first error matters more.
            Ok(None) | Err(_) => self,
        }
    }

    /// The state of the export after this error, and the error's name in a manifest.
    pub fn end(&self) -> (State, Option<ErrorClass>) {
        match self.class() {
            None => (State::Cancelled, None),
            class => (State::Failed, class),
        }
    }

    /// The error's name in a manifest; `None` if the export was cancelled, which is no failure.
    pub fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Cancelled => None,
            Self::TooManyRows { .. } | Self::TooManyRowsForXlsx { .. } => {
                Some(ErrorClass::TooManyRows)
            }
            Self::UnexpectedNull(_) => Some(ErrorClass::UnexpectedNull),
            Self::TooLargeToBuffer { .. } => Some(ErrorClass::TooLargeToBuffer),
            Self::BufferBusy { .. } => Some(ErrorClass::Busy),
            Self::TextTooLong { .. } => Some(ErrorClass::TextTooLong),
            Self::Sink(error) => Some(match full(error) {
                Some(SpoolFull::Spool) => ErrorClass::SpoolFull,
                Some(SpoolFull::Disk) => ErrorClass::DiskFull,
                None => ErrorClass::Output,
            }),
            Self::Workbook(_) => Some(ErrorClass::Output),
            Self::NoReplica(_) => Some(ErrorClass::NoReplica),
            Self::Tables(UnfitTables::Missing) => Some(ErrorClass::TablesMissing),
            Self::Tables(UnfitTables::Different(_) | UnfitTables::Partly(_)) => {
                Some(ErrorClass::TablesDiffer)
            }
            Self::Database(db::Error::NotFresh(_)) => Some(ErrorClass::NotFresh),
            Self::Database(error) if error.is_recovery_conflict() => {
                Some(ErrorClass::RecoveryConflict)
            }
            Self::Database(error) if error.is_unavailable() => {
                Some(ErrorClass::DatabaseUnavailable)
            }
            Self::Database(error) if error.is_statement_timeout() => {
                Some(ErrorClass::StatementTimeout)
            }
            Self::Database(_) => Some(ErrorClass::Database),
        }
    }
}

/// The strategies that hold no more than a few rows.
fn unbuffered() -> String {
    let names: Vec<&str> = Strategy::unbuffered().map(Strategy::name).collect();
    names.join(", ")
}

/// Why a sink in the spool accepts no more: the cause of its error.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub enum SpoolFull {
    /// The spool is full.
    #[error("the spool is full")]
    Spool,
    /// The spool's disk is full: somebody has to act.
    #[error("the spool's disk is full")]
    Disk,
}

fn full(error: &io::Error) -> Option<SpoolFull> {
    error.get_ref()?.downcast_ref().copied()
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        match error {
            diesel::result::Error::DeserializationError(error) => {
                match error.downcast::<UnexpectedNull>() {
                    Ok(error) => Self::UnexpectedNull(*error),
                    Err(error) => {
                        Self::Database(diesel::result::Error::DeserializationError(error).into())
                    }
                }
            }
            error => Self::Database(error.into()),
        }
    }
}

impl From<libpq::Error> for Error {
    fn from(error: libpq::Error) -> Self {
        Self::Database(error.into())
    }
}
