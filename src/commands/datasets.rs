//! `cmms-export datasets`: the file of datasets.

use cmms_export::cli::{Check, Datasets, DatasetsCommand, Global, Init};
use cmms_export::database::{connect, datasets_file};
use diesel_export::Sink as _;
use diesel_export::tables;

use super::{Outcome, open_output, print_line, require_own_database};

pub(crate) fn datasets(global: &Global, options: &Datasets) -> Outcome {
    match &options.command {
        DatasetsCommand::Init(options) => init(global, options),
        DatasetsCommand::Check(options) => check(global, options),
    }
}

fn init(global: &Global, options: &Init) -> Outcome {
    require_own_database(global, "`datasets init`");
    let mut output = open_output(&options.output)?;
    let database = connect(global, 1)?.database;
    let file = tables::init(&mut *database.probe_connection()?, &options.schema)?;
    output.write(file.into())?;
    Ok(output.finish()?)
}

fn check(global: &Global, options: &Check) -> Outcome {
    require_own_database(global, "`datasets check`");
    let (_connected, datasets) = datasets_file::open(&options.file, global, 1)?;
    let count = datasets.catalog().all().count();
    print_line(&format!(
        "the database has what the file says: {count} datasets"
    ))?;
    Ok(())
}
