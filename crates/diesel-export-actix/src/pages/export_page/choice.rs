//! What the page is asked for, by its query string.

use std::sync::Arc;

use crate::problem::Problem;
use crate::problem::query_string::{QueryString, invalid};
use diesel_export as export;
use diesel_export::csv::Preset;
use diesel_export::dataset::{Dataset, SearchText};
use diesel_export::format::FileType;
use diesel_export::parameters::{Parameters, columns_from, named, order_from};

use crate::pages::export_page::filters::search_name;

/// What the page is asked for.
pub(crate) struct Choose {
    pub(crate) parameters: Parameters,
    /// Whether the file is asked for, and not the page.
    pub(crate) is_download: bool,
    /// What is looked for in the lists of filters, by these filters' names.
    pub(crate) searches: Vec<(String, SearchText)>,
}

/// Reads the page's query. Without a spool, there are no workbooks.
pub(crate) fn read_query(
    query: &str,
    dataset: &Arc<dyn Dataset>,
    has_spool: bool,
) -> Result<Choose, Problem> {
    let mut query = QueryString::parse(query)?.of_form();
    let mut searches = Vec::new();
    for field in dataset.filters() {
        if let Some(name) = search_name(field, dataset)
            && let Some(text) = query.take(&name)?
        {
            let text = text.parse();
            let text = text.map_err(|error: export::dataset::InvalidText| {
                invalid(&name, &error.to_string())
            })?;
            searches.push((field.name().to_owned(), text));
        }
    }
    let moved = query.take("move")?;
    let sorted = query.take("sort")?;
    let is_download = query.take_bool("download")?.unwrap_or(false);
    let says_preset = query.says("preset");
    // The page is for people, who have Excel; an address with a preset is of CSV.
    let file_type = match query.take("format")?.as_deref() {
        None | Some("") if says_preset => FileType::Csv,
        None | Some("") => FileType::Xlsx,
        Some(name) => named("format", name)?,
    };
    let file_type = match file_type.is_streamed() || has_spool {
        true => file_type,
        false => FileType::Csv,
    };
    // The form has what is of CSV alone, whatever is chosen.
    let mut parameters = Parameters::from_pairs(dataset, FileType::Csv, query.rest())?;
    parameters.file_type = file_type;
    if !says_preset {
        parameters.preset = Preset::Excel;
    }
    if let Some(sorted) = sorted {
        parameters.order = order_from(dataset, &sorted)?;
    }
    if let Some(moved) = moved {
        move_column(&mut parameters, &moved)?;
    }
    Ok(Choose {
        parameters,
        is_download,
        searches,
    })
}

/// Moves a column, as the page's buttons ask for it: `up:title`, `down:title`.
fn move_column(parameters: &mut Parameters, moved: &str) -> Result<(), Problem> {
    let (direction, name) = moved.split_once(':').unwrap_or_default();
    let mut names: Vec<&str> = parameters.columns.names().collect();
    let is_up = match direction {
        "up" => true,
        "down" => false,
        _ => return Err(invalid("move", "expected `up:` or `down:`, and a column")),
    };
    // A column that is not chosen, or that is at the end already, stays where it is.
    if let Some(from) = names.iter().position(|known| *known == name) {
        let to = if is_up {
            from.checked_sub(1)
        } else {
            Some(from + 1)
        };
        if let Some(to) = to.filter(|to| *to < names.len()) {
            names.swap(from, to);
        }
    }
    parameters.columns = columns_from(parameters.columns.dataset(), &names.join(","))?;
    Ok(())
}
