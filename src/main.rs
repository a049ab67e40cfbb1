//! The program: reads the command line and hands over.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use cmms_export::cli::{Cli, Command, Export, Global, LogFormat, Serve};
use cmms_export::connect::{Connected, connect, connect_migrated};
use cmms_export::export;
use cmms_export::export::cancellation::Cancellation;
use cmms_export::output::Output;
use cmms_export::progress::Progress;
use cmms_export::seed::{self, Seed};
use cmms_export::web;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = start_log(&cli).and_then(|()| match cli.command {
        Command::Serve(options) => serve(&cli.global, &options),
        Command::Migrate => migrate(&cli.global),
        Command::Seed(options) => seed(&cli.global, &options),
        Command::Export(options) => export(&cli.global, options),
        Command::Database => database(&cli.global),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !is_broken_pipe(error.as_ref()) {
                eprintln!("cmms-export: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start_log(cli: &Cli) -> Outcome {
    let default = match cli.command {
        Command::Serve(_) | Command::Database => "info",
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

fn serve(global: &Global, options: &Serve) -> Outcome {
    // Before anything else is done: an address that is taken is found out at once.
    let listener = std::net::TcpListener::bind(options.bind)
        .map_err(|error| format!("cannot listen on {}: {error}", options.bind))?;
    let address = listener.local_addr()?;
    let connected = connect_migrated(global)?;
    if connected.embedded.is_some()
        && seed::is_empty(&mut *connected.database.control_connection()?)?
    {
        run_seed(&Seed::default(), &connected)?;
    }
    print_line(&format!("cmms-export is at http://{address}/"))?;
    web::serve(listener, connected.database.clone())?;
    stop(connected)
}

fn migrate(global: &Global) -> Outcome {
    let connected = connect(global)?;
    let versions = connected.database.migrate()?;
    for version in &versions {
        print_line(&format!("applied {version}"))?;
    }
    if versions.is_empty() {
        print_line("nothing to do: the database is up to date")?;
    }
    stop(connected)
}

fn seed(global: &Global, options: &Seed) -> Outcome {
    if let Err(error) = options.check() {
        Cli::command()
            .error(ErrorKind::ValueValidation, error)
            .exit();
    }
    let connected = connect_migrated(global)?;
    run_seed(options, &connected)?;
    stop(connected)
}

fn run_seed(options: &Seed, connected: &Connected) -> Outcome {
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

fn export(global: &Global, options: Export) -> Outcome {
    let failed = |error| format!("{}: {error}", options.output.display());
    let mut output = Output::open(&options.output).map_err(failed)?;
    let cancellation = Cancellation::default();
    let cancel = cancellation.clone();
    ctrlc::set_handler(move || cancel.cancel())?;
    let connected = connect_migrated(global)?;
    export::run(
        &options.parameters.into(),
        &connected.database,
        &cancellation,
        &mut output,
    )?;
    output.finish()?;
    stop(connected)
}

fn database(global: &Global) -> Outcome {
    if global.database_url.is_some() {
        return Err("DATABASE_URL is set: there is no private cluster to keep up".into());
    }
    let (sender, receiver) = mpsc::channel();
    ctrlc::set_handler(move || sender.send(()).unwrap_or_default())?;
    let connected = connect(global)?;
    print_line(&connected.url)?;
    eprintln!("The private cluster runs until this program ends (Ctrl-C).");
    receiver.recv()?;
    stop(connected)
}

/// Stops the private cluster, if there is one, and says so where it does not stop.
fn stop(connected: Connected) -> Outcome {
    drop(connected.database);
    connected
        .embedded
        .map_or(Ok(()), |embedded| Ok(embedded.stop()?))
}

fn print_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Whether the reader of our output went away: no error that anybody wants to read about.
fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(broken)
        || matches!(error.downcast_ref(), Some(export::Error::Sink(error)) if broken(error))
}
