//! `cmms-export database`, `migrate` and `seed`.

use std::sync::mpsc;

use clap::error::ErrorKind;
use cmms_export::cli::{Global, Migrate};
use cmms_export::database::seed::Seed;
use cmms_export::database::{connect, connect_and_migrate, connect_migrated};
use cmms_export::process;
use private_postgres::PrivatePostgres;

use super::{Outcome, print_line, run_seed, stop_cluster, usage_error};

pub(crate) fn database(global: &Global) -> Outcome {
    if global.database_url().is_some() {
        return Err("DATABASE_URL is set: this is for the private cluster alone".into());
    }
    let (sender, receiver) = mpsc::channel();
    process::on_interrupt(move || sender.send(()).unwrap_or_default())?;
    let connected = connect(global, 1)?;
    let private = connected
        .private_cluster
        .as_ref()
        .map(PrivatePostgres::database_url);
    print_line(private.unwrap_or_default())?;
    eprintln!("The private cluster runs until this program ends (Ctrl-C).");
    receiver.recv()?;
    stop_cluster(connected)
}

pub(crate) fn migrate(global: &Global, options: &Migrate) -> Outcome {
    let (connected, versions) = connect_and_migrate(global, options.yes)?;
    for version in &versions {
        print_line(&format!("applied {version}"))?;
    }
    if versions.is_empty() {
        print_line("nothing to do: the database is up to date")?;
    }
    stop_cluster(connected)
}

pub(crate) fn seed(global: &Global, options: &Seed) -> Outcome {
    if let Err(error) = options.check() {
        usage_error(ErrorKind::ValueValidation, error);
    }
    let connected = connect_migrated(global, 1)?;
    run_seed(options, &connected)?;
    stop_cluster(connected)
}
