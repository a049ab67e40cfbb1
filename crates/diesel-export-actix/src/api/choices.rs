//! `GET /api/filters`: what a filter can be set to.

use std::collections::HashSet;
use std::sync::Arc;

use actix_web::{HttpRequest, web};

use crate::access::visible::Visible;
use crate::api::read::{QUERY_TIMEOUT, ReadFrom, read};
use crate::problem::Problem;
use crate::problem::query_string::{QueryString, invalid};
use crate::service::app::App;
use diesel_export::choices::{self, Choices};
use diesel_export::dataset::{Catalog, Dataset, FilterField, InvalidText, SearchText};
use diesel_export::parameters::filter_from_pairs;

/// The datasets that filters choose from.
pub(crate) fn of_choices(catalog: &Catalog) -> impl Iterator<Item = &Arc<dyn Dataset>> {
    let fields = catalog.all().flat_map(|dataset| dataset.filters());
    let of: HashSet<&str> = fields.filter_map(FilterField::of).collect();
    let all = catalog.all();
    all.filter(move |dataset| of.contains(dataset.name()))
}

/// The filters that narrow what can be chosen of some dataset.
pub(crate) fn narrowing(catalog: &Catalog) -> impl Iterator<Item = &FilterField> {
    of_choices(catalog)
        .flat_map(|dataset| dataset.filters())
        .filter(|field| field.of().is_some())
}

/// What a filter can be set to: the first 100, those that fit the search best first, then by name.
pub(crate) async fn filters(
    request: HttpRequest,
    app: web::Data<App>,
    visible: Visible,
) -> Result<web::Json<Choices>, Problem> {
    let mut query = QueryString::parse(request.query_string())?;
    let of = query.take("of")?.unwrap_or_default();
    let catalog = &visible.catalog;
    let dataset = of_choices(catalog)
        .find(|dataset| dataset.name() == of)
        .ok_or_else(|| {
            let names: Vec<String> = of_choices(catalog)
                .map(|dataset| format!("`{}`", dataset.name()))
                .collect();
            invalid("of", &format!("expected one of {}", names.join(", ")))
        })?;
    let text = query.take("q")?.unwrap_or_default();
    let text: SearchText = text
        .parse()
        .map_err(|error: InvalidText| invalid("q", &error.to_string()))?;
    let mut pairs = query.rest();
    let own = dataset.filters();
    let others: Vec<&FilterField> = narrowing(catalog)
        .filter(|field| own.iter().all(|own| own.name() != field.name()))
        .collect();
    // What narrows another dataset's choice says nothing of this one's: it has to be understood, and no more.
    for (name, value) in pairs.extract_if(.., |(name, _)| {
        others.iter().any(|field| field.name() == *name)
    }) {
        let read = others.iter().filter(|field| field.name() == name);
        let read = read.map(|field| field.parse(&value)).reduce(Result::or);
        if !value.is_empty()
            && let Some(Err(error)) = read
        {
            return Err(invalid(&name, &error.to_string()));
        }
    }
    let filter = filter_from_pairs(dataset, pairs)?;
    let choices = read(
        &request,
        &app,
        Arc::clone(dataset),
        ReadFrom::Database,
        QUERY_TIMEOUT,
        move |connection| choices::load(connection, &filter, &text),
    );
    Ok(web::Json(choices.await?))
}
