//! The filters on the page: what each is set to, and what there is to choose from.

use std::sync::Arc;

use actix_web::HttpRequest;
use diesel::{PgConnection, QueryResult};

use crate::api::read::{QUERY_TIMEOUT, ReadFrom, read};
use crate::app::App;
use diesel_export as export;
use diesel_export::choices::{self, Choice};
use diesel_export::dataset::{
    Catalog, Dataset, Filter, FilterField, FilterKind, FilterValue, SearchText,
};
use diesel_export::parameters::Parameters;

use crate::pages::export_page::capitalized;

/// A filter on the page.
pub(crate) struct Control {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) is: Is,
}

/// How a filter is set.
pub(crate) enum Is {
    Select(Select),
    Text(String),
    Boolean(Option<bool>),
}

/// A filter that is set by choosing from a list.
pub(crate) struct Select {
    /// The dataset that it chooses from.
    pub(crate) of: String,
    /// The other filters that narrow the choice.
    pub(crate) narrowed_by: Vec<String>,
    pub(crate) can_be_none: bool,
    /// The name of the parameter by which the page, without its script, looks for other choices.
    pub(crate) search: String,
    pub(crate) text: SearchText,
    pub(crate) choices: Vec<Choice>,
    pub(crate) more: bool,
    pub(crate) chosen: Option<String>,
}

impl Select {
    pub(crate) fn is_chosen(&self, choice: &Choice) -> bool {
        self.chosen.as_ref() == Some(&choice.id.to_string())
    }

    pub(crate) fn is_searched(&self) -> bool {
        self.more || !self.text.as_str().is_empty()
    }
}

/// The filters, with what each is set to and what there is to choose from.
fn controls(
    connection: &mut PgConnection,
    catalog: &Catalog,
    filter: &Filter,
    searches: &[(String, SearchText)],
) -> QueryResult<Vec<Control>> {
    let fields = filter.dataset().filters().iter();
    let controls = fields.map(|field| {
        let value = filter.get(field.name());
        let is = match (field.kind(), field.of().and_then(|of| catalog.find(of))) {
            (_, Some(of)) => {
                let search = searches.iter().find(|(name, _)| *name == field.name());
                let text = search.map(|(_, text)| text.clone()).unwrap_or_default();
                Is::Select(select(connection, field, of, text, filter)?)
            }
            (FilterKind::Boolean, _) => Is::Boolean(match value {
                Some(FilterValue::Boolean(value)) => Some(*value),
                _ => None,
            }),
            _ => Is::Text(value.map(ToString::to_string).unwrap_or_default()),
        };
        Ok(Control {
            name: field.name().to_owned(),
            label: label(field),
            is,
        })
    });
    controls.collect()
}

fn select(
    connection: &mut PgConnection,
    field: &FilterField,
    of: &Arc<dyn Dataset>,
    text: SearchText,
    filter: &Filter,
) -> QueryResult<Select> {
    // What narrows the rows narrows the choice, too: of the assets, only those at the location.
    let mut choice = Filter::all(of);
    let mut narrowed_by = Vec::new();
    for shared in of.filters().iter().filter(|shared| shared.of().is_some()) {
        if filter
            .dataset()
            .filters()
            .iter()
            .any(|own| own.name() == shared.name())
        {
            narrowed_by.push(shared.name().to_owned());
            if let Some(value) = filter.get(shared.name()) {
                // It is a filter of this dataset.
                let _ = choice.set(shared, value.clone());
            }
        }
    }
    let mut choices = choices::load(connection, &choice, &text)?;
    let value = filter.get(field.name());
    if let Some(FilterValue::Id(id)) = value
        && choices.choices.iter().all(|choice| choice.id != *id)
    {
        let unknown = || Choice {
            id: *id,
            name: format!("unknown ({id})"),
        };
        let chosen = choices::find(connection, of, *id)?.unwrap_or_else(unknown);
        choices.choices.insert(0, chosen);
    }
    Ok(Select {
        of: of.name().to_owned(),
        narrowed_by,
        can_be_none: matches!(field.kind(), FilterKind::IdOrNone),
        search: search_name(field),
        text,
        choices: choices.choices,
        more: choices.more,
        chosen: value.map(ToString::to_string),
    })
}

/// Reads them from the database.
pub(crate) async fn look_up(
    request: &HttpRequest,
    app: &App,
    filter: &Filter,
    searches: &[(String, SearchText)],
) -> Result<Vec<Control>, export::Error> {
    let (chosen, searches) = (filter.clone(), searches.to_vec());
    let catalog = Arc::clone(&app.settings.catalog);
    let controls =
        move |connection: &mut PgConnection| controls(connection, &catalog, &chosen, &searches);
    let dataset = Arc::clone(filter.dataset());
    read(
        request,
        app,
        dataset,
        ReadFrom::Database,
        QUERY_TIMEOUT,
        controls,
    )
    .await
}

/// Sets each filter whose search, without a script, has found exactly one choice: it is what was meant.
pub(crate) async fn choose_found(
    request: &HttpRequest,
    app: &App,
    parameters: &mut Parameters,
    searches: &[(String, SearchText)],
) -> Result<(), export::Error> {
    if searches.iter().all(|(_, text)| text.as_str().is_empty()) {
        return Ok(());
    }
    let dataset = Arc::clone(parameters.filter.dataset());
    for control in look_up(request, app, &parameters.filter, searches).await? {
        let field = dataset.filters().iter();
        let field = field.into_iter().find(|field| field.name() == control.name);
        if let (Some(field), Is::Select(select)) = (field, control.is)
            && select.chosen.is_none()
            && !select.text.as_str().is_empty()
            && let [only] = select.choices.as_slice()
        {
            // It is a filter of this dataset.
            let _ = parameters.filter.set(field, FilterValue::Id(only.id));
        }
    }
    Ok(())
}

/// The parameter by which the page, without its script, looks for choices of a filter.
pub(crate) fn search_name(field: &FilterField) -> String {
    format!("{}_q", field.name().trim_end_matches("_id"))
}

/// Returns a filter's label.
fn label(field: &FilterField) -> String {
    let words = field.name().trim_end_matches("_id").replace('_', " ");
    let words = capitalized(&words);
    match field.kind() {
        FilterKind::Text => format!("{words} contains"),
        _ => words,
    }
}
