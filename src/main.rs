//! The program: reads the command line and hands over.

mod commands;

use std::io;
use std::panic;

use clap::error::ErrorKind;
use cmms_export::cli::{Cli, Command};
use cmms_export::{database, process};
use diesel_export::{self as export, db::libpq};

use commands::{log, say, usage_error};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The exit code after the reader of our output has gone away: what a shell reports for a program that SIGPIPE has ended. It is no failure
/// that needs a message, and yet no success, as the output is not complete.
const BROKEN_PIPE: u8 = 128 + 13;

/// The exit code after an error.
const FAILURE: u8 = 1;

/// The exit code after a panic, as Rust has it.
const PANIC: u8 = 101;

fn main() {
    let code = panic::catch_unwind(run).unwrap_or(PANIC);
    process::end(code)
}

/// Runs the command, and returns the exit code. All values are dropped at its end: see [`process::end`].
fn run() -> u8 {
    let cli = Cli::read();
    if let Some(Err(error)) = cli.global.database_url().map(libpq::options) {
        usage_error(ErrorKind::ValueValidation, error);
    }
    let started = process::survive_file_size_limit().map_err(Into::into);
    let started = started.and_then(|()| match cli.command {
        // It opens no database.
        Command::Verify(_) => Ok(()),
        _ => Ok(process::check_address_space()?),
    });
    let started = started.and_then(|()| Ok(log::start(&cli)?));
    let outcome = started.and_then(|()| match cli.command {
        Command::Serve(options) => commands::serve(&cli.global, &options),
        Command::Migrate(options) => commands::migrate(&cli.global, &options),
        Command::Seed(options) => commands::seed(&cli.global, &options),
        Command::Export(options) => commands::export(&cli.global, *options),
        Command::Verify(options) => commands::verify(&options),
        Command::Access(options) => commands::access(&cli.global, &options),
        Command::Datasets(options) => commands::datasets(&cli.global, &options),
        Command::Bench(options) => commands::bench(&cli.global, options),
        Command::BenchRun => commands::bench_run(&cli.global),
        Command::Database => commands::database(&cli.global),
    });
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            if is_broken_pipe(error.as_ref()) {
                return BROKEN_PIPE;
            }
            if let Some(problems) = error
                .downcast_ref()
                .and_then(|error: &database::datasets_file::Error| error.problems())
            {
                problems
                    .iter()
                    .for_each(|problem| say(&format!("{problem}\n")));
                return FAILURE;
            }
            // One line: libpq's messages may have several.
            let text = error.to_string();
            let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            say(&format!("cmms-export: {line}\n"));
            if let Some(views) = error
                .downcast_ref()
                .and_then(|error: &database::Error| error.views())
            {
                say(views);
            }
            FAILURE
        }
    }
}

/// Whether the reader of our output has gone away, an error that needs no message.
fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(broken)
        || matches!(error.downcast_ref(), Some(export::Error::Sink(error)) if broken(error))
}
