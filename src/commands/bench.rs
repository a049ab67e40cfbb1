//! `cmms-export bench`: measures the strategies.

use std::error::Error;
use std::path::Path;

use clap::error::ErrorKind;
use cmms_export::benchmark::{self, OfFile, Stop, render};
use cmms_export::cli::{Bench, Global};
use cmms_export::database::{Connected, connect_migrated, datasets_file};
use cmms_export::output::progress::Progress;
use cmms_export::process;
use diesel_export::{Sink, Strategy};

use super::{
    Outcome, open_output, print_line, require_own_database, seed_private, stop_cluster, usage_error,
};

pub(crate) fn bench(global: &Global, options: Bench) -> Outcome {
    let json = options.json.as_deref().map(open_output).transpose()?;
    let stop = Stop::default();
    let interrupted = stop.clone();
    process::on_interrupt(move || interrupted.stop())?;
    let (connected, of_file) = match &options.datasets.datasets {
        Some(file) => {
            let (connected, of_file) = of_file(global, file, options.dataset.as_deref())?;
            (connected, Some(of_file))
        }
        None => {
            let connected = connect_migrated(global, 1)?;
            seed_private(&connected)?;
            (connected, None)
        }
    };
    let mut strategies = options.strategies;
    if strategies.is_empty() && of_file.is_some() {
        // A file's datasets have no models.
        let all = Strategy::all().iter().copied();
        strategies.extend(all.filter(|strategy| *strategy != Strategy::Joined));
    }
    let what = benchmark::Options {
        strategies,
        runs: options.runs,
        rows: options.rows,
    }
    .checked()?;
    let mut progress = None;
    let report = benchmark::run(
        &what,
        options.limits.limits(),
        of_file.as_ref(),
        (&connected.database, &connected.url),
        &stop,
        |now| {
            progress
                .get_or_insert_with(|| Progress::start("Measuring", "runs", now.total.into()))
                .update(now.done.into());
        },
    )?;
    if let Some(progress) = progress {
        progress.finish();
    }
    if let Some(mut json) = json {
        json.write(report.to_json()?.into())?;
        json.finish()?;
    }
    print_line(&if options.markdown {
        render::markdown(&report)
    } else {
        render::text(&report)
    })?;
    stop_cluster(connected)
}

/// Opens the database of a file's dataset, which the runs' processes open by themselves.
fn of_file(
    global: &Global,
    file: &Path,
    dataset: Option<&str>,
) -> Result<(Connected, OfFile), Box<dyn Error>> {
    require_own_database(global, "--datasets (CMMS_DATASETS)");
    let (connected, datasets) = datasets_file::open(file, global, 1)?;
    let catalog = datasets.catalog();
    let dataset = match dataset {
        Some(name) => catalog
            .named(name)
            .unwrap_or_else(|error| usage_error(ErrorKind::InvalidValue, error)),
        None => catalog.default(),
    };
    let of_file = OfFile {
        file: file.to_owned(),
        dataset: dataset.name().to_owned(),
        tables: dataset.relations().to_vec(),
    };
    Ok((connected, of_file))
}

pub(crate) fn bench_run(global: &Global) -> Outcome {
    let url = global.database_url().unwrap_or_default();
    print_line(&benchmark::child::run(url)?)?;
    Ok(())
}
