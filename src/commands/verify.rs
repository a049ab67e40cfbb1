//! `cmms-export verify`: whether a file is complete.

use std::io;
use std::path::Path;

use cmms_export::cli::Verify;
use diesel_export::verify;

use super::{Outcome, open_input, print_line};

pub(crate) fn verify(options: &Verify) -> Outcome {
    let manifest = verify::manifest(&options.manifest)?;
    let file: Box<dyn io::Read> = if options.file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(open_input(&options.file)?)
    };
    let verdict = verify::verify(file, &manifest)?;
    print_line(&format!("complete: {verdict}"))?;
    Ok(())
}
