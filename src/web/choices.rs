//! `GET /api/filters`: what a filter can be set to.

use actix_web::{HttpRequest, web};

use super::App;
use super::problem::{Problem, ProblemBody};
use super::query_string::{QueryString, invalid};
use super::read::{QUERY_TIMEOUT, ReadFrom, read};
use crate::datasets;
use crate::export::choices::{self, Choices};
use crate::export::dataset::{NulCharacter, SearchText};
use crate::export::parameters::filter_from_pairs;

/// What a filter can be set to: the first 200, in the order of their names.
#[utoipa::path(
    method(get, head),
    path = "/api/filters",
    params(
        ("of" = String, Query, description = "Of which dataset: `locations`, `assets` or `users`"),
        ("q" = Option<String>, Query, description = "Only those whose name has all of these words in it, in any order, in upper or lower case"),
        ("location_id" = Option<i64>, Query, description = "Only assets at this location"),
    ),
    responses(
        (status = 200, body = Choices),
        (status = 400, description = "A parameter is not understood", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
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
    let filter = filter_from_pairs(dataset, query.rest())?;
    let choices = read(
        &request,
        &app,
        ReadFrom::Database,
        QUERY_TIMEOUT,
        move |connection| choices::load(connection, &filter, &text),
    );
    Ok(web::Json(choices.await?))
}
