//! `cmms-export database`, `migrate` and `seed`: what is done to the database.

use std::path::PathBuf;
use std::sync::mpsc;

use clap::error::ErrorKind;
use cmms_export::cli::{DatabaseCommand, DatabaseOptions, Global, Migrate};
use cmms_export::connect::{connect, connect_and_migrate, connect_migrated, data_dir};
use cmms_export::output::Output;
use cmms_export::seed::Seed;
use cmms_export::upkeep;

use super::{Outcome, open_input, opened, print_line, run_seed, stop_cluster, usage_error};

pub(crate) fn database(global: &Global, options: DatabaseOptions) -> Outcome {
    if global.database_url().is_some() {
        return Err("DATABASE_URL is set: this is for the private cluster alone".into());
    }
    let said = match options.command {
        None => return keep_up(global),
        Some(DatabaseCommand::Backup { file }) => {
            let output = opened(&file, Output::open_private(&file))?;
            remove_on_signal(output.unfinished_path())?;
            let said = upkeep::backup(&data_dir(global)?, output)?;
            eprintln!("{said}");
            return Ok(());
        }
        Some(DatabaseCommand::Restore { file }) => {
            let backup = open_input(&file)?;
            upkeep::restore(&data_dir(global)?, backup)?
        }
        Some(DatabaseCommand::Upgrade { old_bindir }) => {
            upkeep::upgrade(&data_dir(global)?, old_bindir.as_deref())?
        }
    };
    print_line(&said)?;
    Ok(())
}

/// On SIGINT and SIGTERM, removes the file, and ends the process.
fn remove_on_signal(unfinished: Option<PathBuf>) -> Outcome {
    ctrlc::set_handler(move || {
        if let Some(unfinished) = &unfinished {
            let _ = std::fs::remove_file(unfinished);
        }
        std::process::exit(1);
    })?;
    Ok(())
}

fn keep_up(global: &Global) -> Outcome {
    let (sender, receiver) = mpsc::channel();
    ctrlc::set_handler(move || sender.send(()).unwrap_or_default())?;
    let connected = connect(global, 1)?;
    print_line(&connected.url)?;
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
