//! What each command does, and what they share. The command line itself is in `cli`.

mod access;
mod bench;
mod database;
mod datasets;
mod export;
pub(crate) mod log;
mod serve;
mod verify;

pub(crate) use access::access;
pub(crate) use bench::{bench, bench_run};
pub(crate) use database::{database, migrate, seed};
pub(crate) use datasets::datasets;
pub(crate) use export::export;
pub(crate) use serve::serve;
pub(crate) use verify::verify;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;
use cmms_export::cli::{Cli, Global, Replicas};
use cmms_export::database::Connected;
use cmms_export::database::seed::{self, Seed};
use cmms_export::output::Output;
use cmms_export::output::printable::printable;
use cmms_export::output::progress::Progress;
use diesel_export::db::servers::Rules;

pub(super) type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Fills the private cluster with the article's data if it is empty.
pub(super) fn seed_private(connected: &Connected) -> Outcome {
    if connected.private_cluster.is_some()
        && seed::is_empty(&mut *connected.database.control_connection()?)?
    {
        run_seed(&Seed::default(), connected)?;
    }
    Ok(())
}

pub(super) fn run_seed(options: &Seed, connected: &Connected) -> Outcome {
    let mut progress = None;
    seed::run(options, &connected.database, |done| {
        progress
            .get_or_insert_with(|| Progress::start("Seeding", "tasks", options.tasks))
            .update(done);
    })?;
    if let Some(progress) = progress {
        progress.finish();
    }
    Ok(())
}

/// Ends the program with a usage error, as clap does if the command line is wrong.
pub(super) fn usage_error(kind: ErrorKind, error: impl Display) -> ! {
    Cli::command().error(kind, error).exit()
}

pub(super) fn open_input(path: &Path) -> Result<File, String> {
    File::open(path).map_err(|error| format!("{}: {error}", path.display()))
}

pub(super) fn open_output(path: &Path) -> Result<Output, String> {
    Output::open(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Stops the private cluster, if there is one, and reports it if the cluster does not stop.
pub(super) fn stop_cluster(connected: Connected) -> Outcome {
    let Some(embedded) = connected.private_cluster else {
        // The end of this process closes the connections. Closing each properly would make the server end its processes first.
        std::mem::forget(connected.database);
        return Ok(());
    };
    drop(connected.database);
    Ok(embedded.stop()?)
}

/// Writes lines to the standard error. A failure, as on a full disk, cannot be reported; `eprintln!` would panic.
pub(crate) fn say(text: &str) {
    let lines = text.lines().map(|line| format!("{}\n", printable(line)));
    let _ = io::stderr().write_all(lines.collect::<String>().as_bytes());
}

pub(super) fn print_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Sets the time zone in which the database's exports print points in time.
pub(super) fn in_time_zone(connected: &mut Connected, name: &str) -> Result<(), String> {
    connected.database = connected.database.clone().with_time_zone(name);
    match connected.database.knows_time_zone() {
        Ok(false) => Err(format!(
            "--time-zone {name} (CMMS_TIME_ZONE): the database's server has no time zone of this name; \
             `select name from pg_timezone_names` lists them"
        )),
        Ok(true) => Ok(()),
        Err(error) => {
            tracing::warn!(%error, "the time zone cannot be checked");
            Ok(())
        }
    }
}

/// Ends the program with a usage error if no database of the user's own is named: the private cluster has no tables but the program's.
pub(super) fn require_own_database(global: &Global, what: &str) {
    if global.database_url().is_none_or(str::is_empty) {
        let error = format!(
            "{what} without --database-url (DATABASE_URL): the private cluster has no tables but the program's own"
        );
        usage_error(ErrorKind::MissingRequiredArgument, error);
    }
}

/// Returns the rules, or ends the program with a usage error.
pub(super) fn replica_rules(replicas: &Replicas) -> Rules {
    replicas
        .rules()
        .unwrap_or_else(|error| usage_error(ErrorKind::ValueValidation, error))
}
