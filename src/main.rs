//! The program: reads the command line and hands over.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use cmms_export::bench::{self, Stop, render};
use cmms_export::cli::{
    Bench, Cli, Command, DatabaseCommand, DatabaseOptions, ExportOptions, Fetch as FetchOptions,
    Global, LogFormat, Migrate, Serve, Verify,
};
use cmms_export::connect::{
    self, Connected, Start, connect, connect_and_migrate, connect_for_exports, connect_migrated,
    data_dir, wait_for_database,
};
use cmms_export::db::servers::{Replicas, Rules, Servers};
use cmms_export::db::{Database, libpq};
use cmms_export::export::cancellation::Cancellation;
use cmms_export::export::manifest::State;
use cmms_export::export::record::Record;
use cmms_export::export::{self, Sink, routing};
use cmms_export::fetch::{self, Fetch};
use cmms_export::output::Output;
use cmms_export::progress::{self, ExportProgress, Progress};
use cmms_export::seed::{self, Seed};
use cmms_export::spool::Spool;
use cmms_export::upkeep;
use cmms_export::verify;
use cmms_export::web;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The exit code after the reader of our output has gone away: what a shell says of a program that SIGPIPE has ended. No failure that
/// anybody wants to read about, and yet no success, as the output is not whole.
const BROKEN_PIPE: u8 = 128 + 13;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Err(error)) = cli.global.database_url().map(libpq::options) {
        usage_error(ErrorKind::ValueValidation, error);
    }
    let outcome = start_log(&cli).and_then(|()| match cli.command {
        Command::Serve(options) => serve(&cli.global, &options),
        Command::Migrate(options) => migrate(&cli.global, &options),
        Command::Seed(options) => seed(&cli.global, &options),
        Command::Export(options) => export(&cli.global, *options),
        Command::Verify(options) => verify(&options),
        Command::Fetch(options) => fetch(&options),
        Command::Bench(options) => bench(&cli.global, options),
        Command::BenchRun => bench_run(&cli.global),
        Command::Database(options) => database(&cli.global, options),
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

fn serve(global: &Global, options: &Serve) -> Outcome {
    if let Err(error) = options.check() {
        usage_error(ErrorKind::MissingRequiredArgument, error);
    }
    if options.require_database && global.database_url().is_none_or(str::is_empty) {
        usage_error(
            ErrorKind::MissingRequiredArgument,
            "--require-database (CMMS_REQUIRE_DATABASE) without --database-url (DATABASE_URL): no database of made-up data is \
             started in its place",
        );
    }
    let rules = replica_rules(&options.replicas);
    // Before anything else, so that an address that is taken is reported at once.
    let listener = std::net::TcpListener::bind(options.bind)
        .map_err(|error| format!("cannot listen on {}: {error}", options.bind))?;
    let address = listener.local_addr()?;
    // With replicas, the service starts without it.
    if let (Some(url), Some(patience)) = (global.database_url(), options.wait_for_database)
        && !rules.have_replicas()
    {
        wait_for_database(url, patience)?;
    }
    let connected = connect_for_exports(
        global,
        options.max_exports.into(),
        &rules,
        Start::Anyway,
        |_| (),
    )?;
    seed_private(&connected)?;
    if connected.embedded.is_some() {
        tracing::warn!(
            "a private database with made-up tasks is served: set DATABASE_URL to serve your own"
        );
    }
    let settings = web::Settings {
        limits: options.limits.and(options.workbook_limits),
        rules,
        max_exports: options.max_exports.into(),
        max_downloads: options.max_downloads.into(),
        max_queued: options.max_queued.into(),
        keep_exports: options.keep_exports,
        spool: spool(global, options)?,
        reader_timeout: options.reader_timeout,
        shutdown_timeout: options.shutdown_timeout,
        compression: options.compression,
        allowed_hosts: options.allowed_host.clone(),
        auth_token: options.auth_token.get().map(str::to_owned),
        allow_benchmarks: options.allow_benchmarks,
        database_url: connected.url.clone(),
        data_dir: data_dir(global).ok(),
        is_demonstration: connected.embedded.is_some(),
    };
    // The last word of the start, behind all that may go wrong.
    let ready = || print_line(&format!("cmms-export is at http://{address}/"));
    web::serve(listener, connected.database.clone(), settings, ready)?;
    stop_cluster(connected)
}

/// The spool: where it was said, or in the data directory. If that cannot be written, as on a read-only system with a database
/// elsewhere, it is in the system's directory for temporary files, or there is none.
fn spool(global: &Global, options: &Serve) -> Result<Option<Arc<Spool>>, String> {
    let size = options.spool_size;
    if size == 0 {
        return Ok(None);
    }
    let open = |directory: &Path| {
        let spool = Spool::open(directory, size)
            .map_err(|error| format!("the spool cannot be in {}: {error}", directory.display()))?;
        tracing::info!(directory = %directory.display(), bytes = size, "the spool is ready");
        Ok(spool)
    };
    if let Some(directory) = &options.spool_dir {
        return open(directory).map(Some);
    }
    let usual = match data_dir(global) {
        Ok(directory) => open(&directory.join("spool")),
        Err(error) => Err(format!("there is no place for the spool: {error}")),
    };
    let Err(error) = usual else {
        return usual.map(Some);
    };
    if global.database_url().is_none() {
        return Err(error);
    }
    let temporary = std::env::temp_dir();
    match open(&temporary) {
        Ok(spool) => {
            tracing::warn!(error, "the spool is in {} instead", temporary.display());
            Ok(Some(spool))
        }
        Err(second) => {
            tracing::warn!(
                error,
                second,
                "there is no spool: exports wait for their readers"
            );
            Ok(None)
        }
    }
}

/// Returns the rules, or ends the program with a usage error.
fn replica_rules(replicas: &Replicas) -> Rules {
    replicas
        .rules()
        .unwrap_or_else(|error| usage_error(ErrorKind::ValueValidation, error))
}

fn migrate(global: &Global, options: &Migrate) -> Outcome {
    let (connected, versions) = connect_and_migrate(global, options.yes)?;
    for version in &versions {
        print_line(&format!("applied {version}"))?;
    }
    if versions.is_empty() {
        print_line("nothing to do: the database is up to date")?;
    }
    stop_cluster(connected)
}

fn seed(global: &Global, options: &Seed) -> Outcome {
    if let Err(error) = options.check() {
        usage_error(ErrorKind::ValueValidation, error);
    }
    let connected = connect_migrated(global, 1)?;
    run_seed(options, &connected)?;
    stop_cluster(connected)
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

fn export(global: &Global, options: ExportOptions) -> Outcome {
    if options.manifest.as_ref() == Some(&options.output) {
        usage_error(
            ErrorKind::ArgumentConflict,
            "the export and its manifest cannot go to one place",
        );
    }
    let rules = replica_rules(&options.replicas);
    let mut output = open_output(&options.output)?;
    let manifest = options.manifest.as_deref().map(open_output).transpose()?;
    let limits = options.limits.and(options.workbook_limits);
    let export = options.parameters.0.into_export(limits);
    let cancellation = Cancellation::default();
    let unfinished = output.unfinished_path();
    let output_is_file = unfinished.is_some();
    cancel_on_signal(cancellation.clone(), unfinished)?;
    let connections = export::CONNECTIONS as u32;
    let ahead = |database: &Database| {
        if !rules.have_replicas() {
            export::open_ahead(&export, database);
        }
    };
    let connected = connect_for_exports(global, connections, &rules, Start::IfTablesFit, ahead)?;
    let servers = Servers::for_one_export(
        &connected.url,
        connected.database.clone().for_one_export(),
        connected.role,
        rules,
        |url, wait| Database::new(url, connections, wait).for_one_export(),
    );

    let record = Record::start(
        format!("{:032x}", rand::random::<u128>()),
        &export,
        connected.embedded.is_some(),
    );
    // If the output is a pipe, the program behind it has the terminal. A script gets only what it asked for.
    let is_watched = output_is_file && io::stderr().is_terminal();
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
        eprintln!(
            "{}",
            progress::summary(&options.output, whole.rows, whole.bytes, whole.seconds)
        );
    }
    stop_cluster(connected)
}

/// On SIGINT and SIGTERM, cancels the export, and ends the process if the export has not ended within a second. That happens if the
/// reader of our output takes nothing: the server does not heed a cancel request while it waits for us.
fn cancel_on_signal(cancellation: Cancellation, unfinished: Option<PathBuf>) -> Outcome {
    ctrlc::set_handler(move || {
        let cancel = cancellation.clone();
        std::thread::spawn(move || cancel.cancel());
        std::thread::sleep(Duration::from_secs(1));
        if let Some(unfinished) = &unfinished {
            let _ = std::fs::remove_file(unfinished);
        }
        eprintln!("cmms-export: {}", export::Error::Cancelled);
        std::process::exit(1);
    })?;
    Ok(())
}

fn verify(options: &Verify) -> Outcome {
    let manifest = verify::manifest(&options.manifest, options.auth_token.get())?;
    let csv: Box<dyn io::Read> = if options.file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(open_input(&options.file)?)
    };
    let verdict = verify::verify(csv, &manifest)?;
    print_line(&format!("whole: {verdict}"))?;
    Ok(())
}

fn fetch(options: &FetchOptions) -> Outcome {
    let fetch = Fetch {
        url: &options.url,
        auth_token: options.auth_token.get(),
        output: &options.output,
        retries: options.retries,
    };
    let is_watched = io::stderr().is_terminal();
    let mut progress = None;
    let whole = fetch.run(&mut |event| match event {
        fetch::Event::Progress { bytes, total } if is_watched => progress
            .get_or_insert_with(|| Progress::start("Fetching", "bytes", total))
            .update(bytes),
        fetch::Event::Progress { .. } => {}
        fetch::Event::Notice(text) => {
            // The line would be amid the bar, which may also be of another file by now.
            progress = None;
            eprintln!("cmms-export: {text}");
        }
    })?;
    if let Some(progress) = progress {
        progress.finish();
    }
    print_line(&format!("whole: {whole}"))?;
    Ok(())
}

fn bench(global: &Global, options: Bench) -> Outcome {
    let json = options.json.as_deref().map(open_output).transpose()?;
    let stop = Stop::default();
    let interrupted = stop.clone();
    ctrlc::set_handler(move || interrupted.stop())?;
    let connected = connect_migrated(global, 1)?;
    seed_private(&connected)?;
    let what = bench::Options {
        strategies: options.strategies,
        runs: options.runs,
        rows: options.rows,
    }
    .checked()?;
    let mut progress = None;
    let report = bench::run(
        &what,
        options.limits,
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

fn bench_run(global: &Global) -> Outcome {
    let url = global.database_url().unwrap_or_default();
    print_line(&bench::child::run(url)?)?;
    Ok(())
}

/// Fills the private cluster with the article's data if it is empty.
fn seed_private(connected: &Connected) -> Outcome {
    if connected.embedded.is_some()
        && seed::is_empty(&mut *connected.database.control_connection()?)?
    {
        run_seed(&Seed::default(), connected)?;
    }
    Ok(())
}

fn database(global: &Global, options: DatabaseOptions) -> Outcome {
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

/// Ends the program with a usage error, as clap does if the command line is wrong.
fn usage_error(kind: ErrorKind, error: impl Display) -> ! {
    Cli::command().error(kind, error).exit()
}

fn open_input(path: &Path) -> Result<File, String> {
    File::open(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn open_output(path: &Path) -> Result<Output, String> {
    opened(path, Output::open(path))
}

fn opened(path: &Path, output: io::Result<Output>) -> Result<Output, String> {
    output.map_err(|error| format!("{}: {error}", path.display()))
}

/// Stops the private cluster, if there is one, and reports it if the cluster does not stop.
fn stop_cluster(connected: Connected) -> Outcome {
    let Some(embedded) = connected.embedded else {
        // The end of this process closes the connections. To say goodbye on each makes the server end its processes first.
        std::mem::forget(connected.database);
        return Ok(());
    };
    drop(connected.database);
    Ok(embedded.stop()?)
}

fn print_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Whether the reader of our output has gone away, an error that nobody wants to read about.
fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(broken)
        || matches!(error.downcast_ref(), Some(export::Error::Sink(error)) if broken(error))
}
