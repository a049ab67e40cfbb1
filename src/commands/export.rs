//! `cmms-export export`: one export, to a file or to stdout.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use cmms_export::cli::{ExportOptions, Global};
use cmms_export::database::{Start, connect_for_exports, datasets_file};
use cmms_export::datasets;
use cmms_export::output::progress::{self, ExportProgress};
use cmms_export::process;
use diesel_export::cancellation::Cancellation;
use diesel_export::db::Database;
use diesel_export::db::servers::Servers;
use diesel_export::manifest::State;
use diesel_export::record::Record;
use diesel_export::{self as export, Sink, routing};

use super::{
    Outcome, in_time_zone, open_output, replica_rules, require_own_database, say, stop_cluster,
    usage_error,
};

pub(crate) fn export(global: &Global, options: ExportOptions) -> Outcome {
    let connections = export::CONNECTIONS as u32;
    // What the datasets of a file are, its database says.
    let (own, catalog) = match &options.exports.datasets.datasets {
        Some(path) => {
            require_own_database(global, "--datasets (CMMS_DATASETS)");
            let (connected, datasets) = datasets_file::open(path, global, connections)?;
            (Some(connected), datasets.catalog().clone())
        }
        None => (None, datasets::catalog()),
    };
    let parameters = options
        .parameters
        .parameters(&catalog)
        .unwrap_or_else(|error| usage_error(ErrorKind::InvalidValue, error));
    if options.manifest.as_ref() == Some(&options.output) {
        usage_error(
            ErrorKind::ArgumentConflict,
            "the export and its manifest cannot go to one place",
        );
    }
    let rules = replica_rules(&options.exports.replicas);
    let mut output = open_output(&options.output)?;
    let manifest = options.manifest.as_deref().map(open_output).transpose()?;
    let limits = options.exports.limits();
    let export = parameters.into_export(limits);
    let cancellation = Cancellation::default();
    cancel_on_signal(cancellation.clone(), output.unfinished_path())?;
    let ahead = |database: &Database| {
        if !rules.have_replicas() {
            export::open_ahead(&export, database);
        }
    };
    let mut connected = match own {
        Some(own) => own,
        None => connect_for_exports(global, connections, &rules, Start::IfTablesFit, ahead)?,
    };
    if let Err(error) = in_time_zone(&mut connected, &options.exports.print.time_zone) {
        // Nothing is left to clean up: the process ends here.
        drop((output, manifest, connected));
        usage_error(ErrorKind::ValueValidation, error);
    }
    let servers = Servers::for_one_export(
        &connected.url,
        connected.database.clone().for_one_export(),
        connected.role,
        rules,
        |url, wait| {
            let replica = connected.database.like(url, connections, wait);
            replica.for_one_export()
        },
    );

    let record = Record::start(
        format!("{:032x}", rand::random::<u128>()),
        &export,
        connected.facts(),
    );
    // If the output is a pipe, the program behind it has the terminal. A script gets only what it asked for.
    let is_watched = output.is_file() && io::stderr().is_terminal();
    let progress = ExportProgress::start(is_watched);
    let observer = (&record, &progress);
    let run = |sink: &mut dyn Sink| {
        routing::run(
            &export,
            &servers,
            options.fresh,
            &cancellation,
            &observer,
            sink,
        )
    };
    // The hash is for the manifest alone.
    let outcome = if manifest.is_some() {
        record.of(&mut output, run)
    } else {
        run(&mut output)
    };
    drop(progress);
    let outcome = outcome.and_then(|_summary| output.finish().map_err(export::Error::Sink));
    let (state, class) = match &outcome {
        Ok(()) => (State::Complete, None),
        Err(error) => error.end(),
    };
    record.end(state, class);
    if let Some(mut manifest) = manifest {
        let mut json = serde_json::to_vec_pretty(&record.manifest())?;
        json.push(b'\n');
        let written = manifest.write(json.into()).and_then(|()| manifest.finish());
        // If both failed, the export's error matters more than the manifest's.
        outcome?;
        written?;
    } else {
        outcome?;
    }
    if is_watched {
        let whole = record.manifest();
        say(&(progress::summary(&options.output, whole.rows, whole.bytes, whole.seconds) + "\n"));
    }
    stop_cluster(connected)
}

/// On SIGINT and SIGTERM, cancels the export, and ends the process if the export has not ended within a second. That happens if the
/// reader of our output takes nothing: the server does not honor a cancel request while it waits for us.
fn cancel_on_signal(cancellation: Cancellation, unfinished: Option<PathBuf>) -> Outcome {
    process::on_interrupt(move || {
        cancellation.cancel_elsewhere();
        std::thread::sleep(Duration::from_secs(1));
        if let Some(unfinished) = &unfinished {
            let _ = std::fs::remove_file(unfinished);
        }
        say(&format!("cmms-export: {}\n", export::Error::Cancelled));
        process::end(1);
    })?;
    Ok(())
}
