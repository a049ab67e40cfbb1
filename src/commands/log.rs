//! The log, on the standard error.

use std::io::{self, IsTerminal, Write};

use cmms_export::cli::{Cli, Command, LogFormat, unknown_variables};
use cmms_export::output::printable::printable;
use diesel_export::record::LOG_TARGET;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format;

/// Starts the log.
pub(crate) fn start(cli: &Cli) -> Result<(), String> {
    let default = match cli.command {
        Command::Serve(_) | Command::Database => "info".to_owned(),
        // The command itself reports, at its end, why its export has failed.
        _ => format!("warn,{LOG_TARGET}=off"),
    };
    let filter = cli.global.log.as_deref().unwrap_or(&default);
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| format!("--log {filter}: {error}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would report on the standard error, which is what it could not write to, and panic when it cannot.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    match cli.global.log_format {
        LogFormat::Human => {
            let fields = format::debug_fn(|writer, field, value| {
                let value = format!("{value:?}");
                match field.name() {
                    "message" => write!(writer, "{}", printable(&value)),
                    name => write!(writer, "{name}={}", printable(&value)),
                }
            });
            log.with_target(false)
                .with_writer(io::stderr)
                .fmt_fields(fields.delimited(" "))
                .init();
        }
        LogFormat::Json => log
            .json()
            .with_span_list(false)
            .with_writer(|| JsonLines(io::stderr()))
            .init(),
    }
    for unknown in unknown_variables() {
        let meant = unknown.meant.unwrap_or_default();
        tracing::warn!(
            variable = unknown.name,
            meant,
            "an unknown variable is ignored"
        );
    }
    Ok(())
}

/// Writes JSON objects, one a line. JSON itself escapes fewer characters than a terminal executes.
struct JsonLines<W>(W);

impl<W: Write> Write for JsonLines<W> {
    /// Receives an event, which comes as one piece with its line end.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = printable(text.trim_end_matches('\n'));
        self.0.write_all(format!("{line}\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
