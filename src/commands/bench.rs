//! `cmms-export bench`: measures the strategies.

use cmms_export::benchmark::{self, Stop, render};
use cmms_export::cli::{Bench, Global};
use cmms_export::database::connect_migrated;
use cmms_export::output::progress::Progress;
use cmms_export::process;
use diesel_export::Sink;

use super::{Outcome, open_output, print_line, seed_private, stop_cluster};

pub(crate) fn bench(global: &Global, options: Bench) -> Outcome {
    let json = options.json.as_deref().map(open_output).transpose()?;
    let stop = Stop::default();
    let interrupted = stop.clone();
    process::on_interrupt(move || interrupted.stop())?;
    let connected = connect_migrated(global, 1)?;
    seed_private(&connected)?;
    let what = benchmark::Options {
        strategies: options.strategies,
        runs: options.runs,
        rows: options.rows,
    }
    .checked()?;
    let mut progress = None;
    let report = benchmark::run(
        &what,
        options.limits.limits(),
        &connected.database,
        &connected.url,
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

pub(crate) fn bench_run(global: &Global) -> Outcome {
    let url = global.database_url().unwrap_or_default();
    print_line(&benchmark::child::run(url)?)?;
    Ok(())
}
