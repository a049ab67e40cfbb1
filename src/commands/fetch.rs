//! `cmms-export fetch` and `verify`: a file that a service has made.

use std::io::{self, IsTerminal};
use std::path::Path;

use cmms_export::cli::{Fetch as FetchOptions, Verify};
use cmms_export::fetch::{self, Fetch};
use cmms_export::progress::Progress;
use cmms_export::verify;

use super::{Outcome, open_input, print_line};

pub(crate) fn fetch(options: &FetchOptions) -> Outcome {
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

pub(crate) fn verify(options: &Verify) -> Outcome {
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
