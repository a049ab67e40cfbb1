//! `GET /api/filters`: what a filter can be set to.

use actix_web::{HttpRequest, web};

use super::App;
use super::problem::Problem;
use super::query_string::{QueryString, invalid};
use super::read::{QUERY_TIMEOUT, ReadFrom, read};
use crate::datasets;
use crate::export::choices::{self, Choices};
use crate::export::dataset::{Dataset, NulCharacter, SearchText};
use crate::export::parameters::filter_from_pairs;

/// What a filter can be set to: the first 200, in the order of their names.
pub(super) async fn filters(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<web::Json<Choices>, Problem> {
    let mut query = QueryString::parse(request.query_string())?;
    let of = query.take("of")?.unwrap_or_default();
    let dataset = datasets::all()
        .find(|dataset| dataset.name() == of && dataset.label().is_some())
        .ok_or_else(|| {
            let names = datasets::all().filter(|dataset| dataset.label().is_some());
            let names: Vec<String> = names
                .map(|dataset| format!("`{}`", dataset.name()))
                .collect();
            invalid("of", &format!("expected one of {}", names.join(", ")))
        })?;
    let text = query.take("q")?.unwrap_or_default();
    let text: SearchText = text
        .parse()
        .map_err(|error: NulCharacter| invalid("q", &error.to_string()))?;
    // What narrows another dataset's choice says nothing of this one's: a page may send all that it has.
    let narrows = |name: &str| dataset.filters().iter().any(|field| field.name() == name);
    let is_of_others = |name: &str| {
        let mut fields = datasets::all().flat_map(Dataset::filters);
        !narrows(name) && fields.any(|field| field.name() == name)
    };
    let pairs = query.rest().into_iter();
    let filter = filter_from_pairs(dataset, pairs.filter(|(name, _)| !is_of_others(name)))?;
    let choices = read(
        &request,
        &app,
        ReadFrom::Database,
        QUERY_TIMEOUT,
        move |connection| choices::load(connection, &filter, &text),
    );
    Ok(web::Json(choices.await?))
}
