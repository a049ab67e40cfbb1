//! The file of datasets that the command line names. It takes the place of the program's own datasets.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Connected, connect};
use crate::cli::Global;
use diesel_export::Export;
use diesel_export::dataset::Dataset;
use diesel_export::db::libpq::{self, CopyOutDsl as _};
use diesel_export::db::servers::Role;
use diesel_export::db::snapshot::{self, Beginning};
use diesel_export::db::{self, Database, LOCK_TIMEOUT, UnfitTables};
use diesel_export::tables::{DatasetsError, DatasetsFile, FileDatasets, InvalidFile};

/// Why the file's datasets cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It says what is not so. Each text says where and what.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// There is no database.
    #[error(transparent)]
    Connect(#[from] super::Error),
    /// The catalog cannot be read.
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl Error {
    fn invalid(path: &Path, invalid: &InvalidFile) -> Self {
        let problems = invalid.problems().iter().map(|problem| {
            let path = path.display();
            format!(
                "{path}:{}:{}: {}",
                problem.line, problem.column, problem.text
            )
        });
        Self::Invalid(problems.collect())
    }

    /// What is wrong in the file, if that is the reason.
    pub fn problems(&self) -> Option<&[String]> {
        match self {
            Self::Invalid(problems) => Some(problems),
            _ => None,
        }
    }
}

/// Reads the file.
pub fn read(path: &Path) -> Result<DatasetsFile, Error> {
    let text = fs::read(path).map_err(|error| Error::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    DatasetsFile::parse(text).map_err(|invalid| Error::invalid(path, &invalid))
}

/// Reads the file, opens the user's own database for up to so many exports at once, and makes the file's datasets of its tables.
pub fn open(
    path: &Path,
    global: &Global,
    connections: u32,
) -> Result<(Connected, Arc<FileDatasets>), Error> {
    let file = read(path)?;
    let mut connected = connect(global, connections)?;
    let mut connection = connected.database.first_connection()?;
    let datasets = file
        .datasets(&mut connection)
        .map_err(|error| match error {
            DatasetsError::Invalid(invalid) => Error::invalid(path, &invalid),
            DatasetsError::Database(error) => error.into(),
        })?;
    let sql = "select pg_is_in_recovery() as in_recovery";
    let row = connection.query_row(sql).map_err(db::Error::from)?;
    if row.unwrap_or_default().is("in_recovery") {
        connected.role = Role::Replica;
    }
    drop(connection);
    let datasets = Arc::new(datasets);
    let watch = Watch {
        datasets: Arc::clone(&datasets),
        logged: Mutex::default(),
    };
    let database = connected.database.clone();
    connected.database =
        database.with_unfit(Arc::new(move |database, name| watch.unfit(database, name)));
    Ok((connected, datasets))
}

/// Tells how the database differs by now from what the datasets were made of.
struct Watch {
    datasets: Arc<FileDatasets>,
    /// The differences that were logged last.
    logged: Mutex<Vec<String>>,
}

impl Watch {
    /// Why the exports of a dataset fail, or those of all datasets do; or which datasets differ.
    fn unfit(
        &self,
        database: &Database,
        dataset: Option<&str>,
    ) -> Result<Option<UnfitTables>, db::Error> {
        let mut connection = database.probe_connection()?;
        let different = self.datasets.differences(&mut connection)?;
        let all = different.iter().flat_map(|(_, said)| said.clone());
        let all: Vec<String> = all.collect();
        self.log(all.clone());
        let said = match dataset {
            Some(name) => {
                let of_it = different.into_iter().filter(|(of, _)| of == name);
                of_it.flat_map(|(_, said)| said).collect()
            }
            None => {
                let datasets = || self.datasets.catalog().all();
                if different.len() < datasets().count()
                    || datasets().any(|dataset| begins(database, &mut connection, dataset))
                {
                    let names: Vec<String> = different.into_iter().map(|(name, _)| name).collect();
                    return Ok((!names.is_empty()).then_some(UnfitTables::Partly(names)));
                }
                all
            }
        };
        Ok((!said.is_empty()).then_some(UnfitTables::Different(said)))
    }

    /// Logs each change once, however often it is asked for.
    fn log(&self, differences: Vec<String>) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged == differences {
            return;
        }
        for difference in differences.iter().filter(|said| !logged.contains(said)) {
            tracing::error!(difference, "a table is not as the file of datasets says");
        }
        if differences.is_empty() {
            tracing::info!("the tables are as the file of datasets says");
        }
        *logged = differences;
    }
}

/// Returns whether PostgreSQL takes the query of the dataset's default export: what differs may be something else of the dataset.
fn begins(
    database: &Database,
    connection: &mut libpq::CopyConnection,
    dataset: &Arc<dyn Dataset>,
) -> bool {
    let export = Export::of(dataset);
    let beginning = Beginning {
        name: &database.transaction_name(),
        relations: dataset.relations(),
        role: dataset.role(),
        user: dataset.user(),
        proof: dataset.proof(),
        time_zone: database.time_zone(),
        statement_timeout: None,
        lock_timeout: Some(LOCK_TIMEOUT),
    };
    let query = |connection: &mut libpq::CopyConnection| export.query().literal_sql_on(connection);
    let begun = snapshot::begin_copy(connection, &beginning, &[], query).is_ok()
        && query(connection).is_ok_and(|sql| connection.execute(&format!("explain {sql}")).is_ok());
    connection.execute("rollback").is_ok() && begun
}
