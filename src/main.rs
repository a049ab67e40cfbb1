//! The program: reads the command line and hands over.

mod commands;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use cmms_export::cli::{Cli, Command, LogFormat};
use cmms_export::db::libpq;
use cmms_export::{connect, export};

use commands::{Outcome, usage_error};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The exit code after the reader of our output has gone away: what a shell says of a program that SIGPIPE has ended. No failure that
/// anybody wants to read about, and yet no success, as the output is not whole.
const BROKEN_PIPE: u8 = 128 + 13;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Err(error)) = cli.global.database_url().map(libpq::options) {
        usage_error(ErrorKind::ValueValidation, error);
    }
    let outcome = start_log(&cli).and_then(|()| match cli.command {
        Command::Serve(options) => commands::serve(&cli.global, &options),
        Command::Migrate(options) => commands::migrate(&cli.global, &options),
        Command::Seed(options) => commands::seed(&cli.global, &options),
        Command::Export(options) => commands::export(&cli.global, *options),
        Command::Verify(options) => commands::verify(&options),
        Command::Fetch(options) => commands::fetch(&options),
        Command::Bench(options) => commands::bench(&cli.global, options),
        Command::BenchRun => commands::bench_run(&cli.global),
        Command::Database(options) => commands::database(&cli.global, options),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if is_broken_pipe(error.as_ref()) {
                return ExitCode::from(BROKEN_PIPE);
            }
            // One line: libpq's messages may have several.
            let text = error.to_string();
            eprintln!(
                "cmms-export: {}",
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            );
            if let Some(views) = error
                .downcast_ref()
                .and_then(|error: &connect::Error| error.views())
            {
                eprint!("{views}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start_log(cli: &Cli) -> Outcome {
    let default = match cli.command {
        Command::Serve(_) | Command::Database(_) => "info",
        _ => "warn",
    };
    let filter = cli.global.log.as_deref().unwrap_or(default);
    let filter = tracing_subscriber::EnvFilter::builder()
        .parse(filter)
        .map_err(|error| format!("--log {filter}: {error}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match cli.global.log_format {
        LogFormat::Human => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Whether the reader of our output has gone away, an error that nobody wants to read about.
fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(broken)
        || matches!(error.downcast_ref(), Some(export::Error::Sink(error)) if broken(error))
}
