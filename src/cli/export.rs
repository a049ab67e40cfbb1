//! The command `export`. Its filter flags are the filters that the datasets declare.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser, ValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::datasets;
use diesel_export::Strategy;
use diesel_export::csv::{Delimiter, Preset};
use diesel_export::dataset::{Catalog, ColumnKind, FilterField, FilterTest};
use diesel_export::format::FileType;
use diesel_export::parameters::{
    OF_CSV_ALONE, Pair, Parameters, columns_from, filter_from_pairs, order_from,
};

use super::flags::{ExportFlags, one_of};

const FILTERS: &str = "Filters (all that are given must hold)";

/// An export to a file.
#[derive(Debug, Args)]
pub struct ExportOptions {
    /// Dataset to export
    #[command(flatten)]
    pub parameters: ParameterFlags,
    /// What `serve` and `export` have of every export
    #[command(flatten)]
    pub exports: ExportFlags,
    /// Wait until the replica has everything that the primary has now, or export from the primary; fail if neither is certain
    #[arg(long, env = "CMMS_FRESH", help_heading = "Replicas", value_parser = clap::builder::BoolishValueParser::new())]
    pub fresh: bool,
    /// Output file, which appears once it is complete; `-` is the standard output. Shows progress on a terminal
    #[arg(
        long,
        short,
        env = "CMMS_OUTPUT",
        help_heading = "Output",
        value_name = "FILE|-",
        default_value = "-"
    )]
    pub output: PathBuf,
    /// File for the manifest, as JSON: rows, bytes, SHA-256
    #[arg(
        long,
        env = "CMMS_MANIFEST",
        help_heading = "Output",
        value_name = "FILE"
    )]
    pub manifest: Option<PathBuf>,
}

/// What to export, and how.
#[derive(Debug, Clone)]
pub struct ParameterFlags {
    options: Options,
    file_type: FileType,
    /// The filters that are set: names and values, as in a URL.
    filters: Vec<(String, String)>,
}

/// The flags that are the same for every dataset.
#[derive(Debug, Clone, Args)]
struct Options {
    /// Dataset to export, of the program or of --datasets [default: the first one]
    #[arg(value_name = "DATASET", value_parser = DatasetName)]
    dataset: Option<String>,
    /// Strategy that loads the rows
    #[arg(long, env = "CMMS_STRATEGY", value_parser = one_of::<Strategy>(), default_value_t)]
    strategy: Strategy,
    /// Names of the columns, in this order, separated by commas [default: the dataset's default columns]
    #[arg(
        long,
        env = "CMMS_COLUMNS",
        help_heading = "Output",
        value_name = "A,B"
    )]
    columns: Option<String>,
    /// Columns to sort the rows by, before their key; `-` before a name sorts in descending order [default: the key alone]
    #[arg(
        long,
        env = "CMMS_ORDER",
        help_heading = "Output",
        value_name = "A,-B",
        allow_hyphen_values = true
    )]
    order: Option<String>,
    /// Filter by its name, as in a URL; may be given several times
    #[arg(
        long,
        help_heading = FILTERS,
        value_name = "NAME=VALUE",
        value_parser = name_and_value
    )]
    filter: Vec<(String, String)>,
    /// File format [default: that of the extension of the output, else csv]
    #[arg(long, env = "CMMS_FORMAT", help_heading = "Output", value_parser = one_of::<FileType>())]
    format: Option<FileType>,
    /// CSV dialect
    #[arg(
        long,
        env = "CMMS_PRESET",
        help_heading = "Output",
        value_parser = one_of::<Preset>(),
        default_value_t
    )]
    preset: Preset,
    /// Column separator
    #[arg(
        long,
        env = "CMMS_DELIMITER",
        help_heading = "Output",
        value_parser = one_of::<Delimiter>(),
        default_value_t
    )]
    delimiter: Delimiter,
}

/// Reads the name of a dataset. Those of a file are not known yet; the program's own are for `--help` and for completions.
#[derive(Clone)]
struct DatasetName;

impl TypedValueParser for DatasetName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names: Vec<String> = datasets::catalog().names().map(str::to_owned).collect();
        Some(Box::new(names.into_iter().map(PossibleValue::new)))
    }
}

/// The endings of files that nobody would expect CSV in.
const OTHER_FORMATS: [&str; 6] = ["gz", "zst", "zip", "json", "parquet", "tsv"];

/// Returns the format that the output's name asks for; an error if that is one that is not written.
fn file_type_of(output: Option<&PathBuf>) -> Result<FileType, clap::Error> {
    let extension = output.and_then(|path| Path::extension(path));
    let is = |name: &str| extension.is_some_and(|extension| extension.eq_ignore_ascii_case(name));
    if let Some(other) = OTHER_FORMATS.into_iter().find(|other| is(other)) {
        let error = format!(
            "--output ….{other}: this program writes CSV, Excel workbooks (….xlsx) and JSON lines (….ndjson). For a compressed file, pipe the export \
             (`cmms-export export | gzip > tasks.csv.gz`); for tabs, `--delimiter tab --output tasks.csv`"
        );
        return Err(clap::Error::raw(ErrorKind::InvalidValue, error));
    }
    Ok(if is("xlsx") {
        FileType::Xlsx
    } else if is("ndjson") || is("jsonl") {
        FileType::Ndjson
    } else {
        FileType::Csv
    })
}

/// Refuses flags for CSV on the command line. Variables are ignored: they may be set for all exports.
fn refuse_csv_flags(matches: &ArgMatches) -> Result<(), clap::Error> {
    for flag in ["preset", "delimiter"] {
        if matches.value_source(flag) == Some(ValueSource::CommandLine) {
            let error = format!("--{flag} {OF_CSV_ALONE}");
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, error));
        }
    }
    Ok(())
}

/// The filters of all datasets as flags. Several datasets may have a filter of the same name.
fn filter_flags(catalog: &Catalog) -> Vec<Arg> {
    let mut filters: Vec<(&str, Vec<&FilterField>)> = Vec::new();
    for field in catalog.all().flat_map(|dataset| dataset.filters()) {
        match filters.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, fields)) => fields.push(field),
            None => filters.push((field.name(), vec![field])),
        }
    }
    let flags = filters.iter();
    flags.map(|(name, fields)| flag(name, fields)).collect()
}

fn flag(name: &str, fields: &[&FilterField]) -> Arg {
    let help: Vec<&str> = fields.iter().map(|field| field.help()).collect();
    let first = fields.first().map(|field| (*field).clone());
    let placeholder = first.as_ref().map_or("TEXT", placeholder);
    let several = first
        .as_ref()
        .is_some_and(|field| field.test() == FilterTest::OneOf);
    let parser = ValueParser::from(move |text: &str| {
        let read = first.as_ref().map(|field| field.parse(text)).transpose();
        read.map(|_| FilterText(text.to_owned()))
    });
    Arg::new(name.to_owned())
        .long(name.replace('_', "-"))
        .env(format!("CMMS_{}", name.to_uppercase()))
        .help_heading(FILTERS)
        .help(help.join("; or: "))
        .value_name(placeholder)
        .value_parser(parser)
        .action(if several {
            ArgAction::Append
        } else {
            ArgAction::Set
        })
        .allow_hyphen_values(true)
}

/// What a usage text shows in place of a filter's value.
fn placeholder(field: &FilterField) -> &'static str {
    let is_of_several = field.test() == FilterTest::OneOf;
    match field.kind() {
        _ if field.is_boolean() => "true|false",
        ColumnKind::Integer if is_of_several && field.takes_none() => "N,N|none",
        ColumnKind::Integer if is_of_several => "N,N",
        ColumnKind::Integer | ColumnKind::Decimal | ColumnKind::Float => "N",
        ColumnKind::Date => "DATE",
        ColumnKind::Time | ColumnKind::Timestamp | ColumnKind::Timestamptz => "TIME",
        _ => "TEXT",
    }
}

/// The value of a filter's flag. No other flag has such values.
#[derive(Debug, Clone)]
struct FilterText(String);

/// Reads `NAME=VALUE`.
fn name_and_value(text: &str) -> Result<(String, String), String> {
    // An empty value would leave all rows.
    let pair = text.split_once('=').filter(|(_, value)| !value.is_empty());
    let (name, value) = pair.ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl ParameterFlags {
    /// Returns the parameters of an export of the catalog, or why there is no such export.
    pub fn parameters(self, catalog: &Catalog) -> Result<Parameters, String> {
        let options = self.options;
        let dataset = match &options.dataset {
            Some(name) => catalog.named(name).map_err(|error| error.to_string())?,
            None => catalog.default(),
        };
        let mut parameters = Parameters {
            strategy: options.strategy,
            file_type: self.file_type,
            preset: options.preset,
            delimiter: options.delimiter,
            ..Parameters::of(dataset)
        };
        if let Some(columns) = options.columns {
            parameters.columns =
                columns_from(dataset, &columns).map_err(|error| error.to_string())?;
        }
        if let Some(order) = options.order {
            parameters.order = order_from(dataset, &order).map_err(|error| error.to_string())?;
        }
        let filters = self.filters.into_iter().chain(options.filter);
        let pairs: Vec<_> = filters
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let unknown = |(name, _): &&Pair<'_>| {
            let mut fields = dataset.filters().iter();
            fields.all(|field| field.name() != name)
        };
        if let Some((name, _)) = pairs.iter().find(unknown) {
            return Err(format!("the {} have no filter `{name}`", dataset.name()));
        }
        parameters.filter = filter_from_pairs(dataset, pairs).map_err(|error| error.to_string())?;
        Ok(parameters)
    }
}

impl Args for ParameterFlags {
    fn augment_args(command: Command) -> Command {
        Options::augment_args(command).args(filter_flags(&datasets::catalog()))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ParameterFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = Options::from_arg_matches(matches)?;
        let output: Option<&PathBuf> = matches.get_one("output");
        let named = file_type_of(output)?;
        let file_type = options.format.unwrap_or(named);
        if file_type != FileType::Csv {
            refuse_csv_flags(matches)?;
        }
        let filters = matches.ids().flat_map(|id| {
            let values = matches.try_get_many::<FilterText>(id.as_str());
            let values = values.ok().flatten().into_iter().flatten();
            values.map(move |FilterText(value)| (id.to_string(), value.clone()))
        });
        Ok(Self {
            file_type,
            filters: filters.collect(),
            options,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
