//! The export page, as its query string says: it works without a script, which only makes it quicker.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use diesel::{PgConnection, QueryResult};

use super::preview::{From, read, search_text};
use super::problem::{Kind, Problem};
use super::query::{pairs, take};
use super::{App, html};
use crate::db::SchemaState;
use crate::export::choices::{self, Choice, Of};
use crate::export::csv::{Delimiter, HEADER, Preset};
use crate::export::filter::{Filter, Title, UpdatedBy};
use crate::export::manifest::ErrorClass;
use crate::export::parameters::Parameters;
use crate::export::preview::{self, Row};
use crate::export::{self, Strategy};

/// Time for what the page cannot do without.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to count the matching tasks in. The page does not wait any longer: its script asks for the count once it is shown.
const COUNT_TIMEOUT: Duration = Duration::from_millis(50);
/// What a page says at least without an exact count, if it can.
const MANY: i64 = 100_000;

/// How many tasks match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Exactly(i64),
    MoreThan(i64),
    Unknown,
}

#[derive(Template)]
#[template(path = "export.html")]
struct ExportPage {
    demonstration: bool,
    selects: Vec<Select>,
    parameters: Parameters,
    /// The same as names and values.
    chosen: Vec<(&'static str, String)>,
    header: [&'static str; 7],
    rows: Vec<Row>,
    count: Count,
    /// There is no task at all.
    is_empty: bool,
    strategies: &'static [Strategy],
    default: Strategy,
    curl: String,
    download: String,
}

/// A filter that is set by choosing from a list.
struct Select {
    name: &'static str,
    label: &'static str,
    of: &'static str,
    /// The name of the parameter by which the page, without its script, looks for other choices.
    search: &'static str,
    text: Title,
    choices: Vec<Choice>,
    more: bool,
    chosen: Option<String>,
}

impl Select {
    fn is_chosen(&self, choice: &Choice) -> bool {
        self.chosen.as_ref() == Some(&choice.id.to_string())
    }

    fn is_searched(&self) -> bool {
        self.more || !self.text.as_str().is_empty()
    }
}

/// What is read of the database for the page.
struct Content {
    selects: Vec<Select>,
    rows: Vec<Row>,
    is_empty: bool,
}

/// What the page is asked for.
struct Choose {
    parameters: Parameters,
    filter: Filter,
    searches: [Title; 3],
}

/// The export page.
#[utoipa::path(method(get, head), path = "/", responses((status = 200, content_type = "text/html", body = String)))]
pub(super) async fn index(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let choose = match read_query(request.query_string(), &app) {
        Ok(choose) => choose,
        Err(problem) => return html::unavailable(&request, problem),
    };
    match load(&request, &app, choose.filter, choose.searches).await {
        Ok((content, count)) => {
            let chosen = choose.parameters.to_pairs();
            let download = download_path(&chosen);
            let page = ExportPage {
                demonstration: app.settings.is_demonstration,
                selects: content.selects,
                parameters: choose.parameters,
                chosen,
                header: HEADER,
                rows: content.rows,
                count,
                is_empty: content.is_empty,
                strategies: Strategy::all(),
                default: Strategy::default(),
                curl: curl(&request, app.settings.auth_token.is_some()),
                download,
            };
            html::respond(StatusCode::OK, &page)
        }
        Err(error) => {
            let problem = match error.class() {
                Some(ErrorClass::Database) => tables_problem(&app).await,
                _ => None,
            };
            html::unavailable(&request, problem.unwrap_or_else(|| error.into()))
        }
    }
}

fn read_query(query: &str, app: &App) -> Result<Choose, Problem> {
    let mut pairs = pairs(query)?;
    let mut search = |name| search_text(&take(&mut pairs, name)?.unwrap_or_default(), name);
    let searches = [search("location_q")?, search("asset_q")?, search("user_q")?];
    let says_preset = pairs
        .iter()
        .any(|(name, value)| name == "preset" && !value.is_empty());
    let mut parameters = Parameters::from_pairs(pairs)?;
    if !says_preset {
        // The page is for people.
        parameters.preset = Preset::Excel;
    }
    let filter = parameters.clone().into_export(app.settings.limits).filter;
    Ok(Choose {
        parameters,
        filter,
        searches,
    })
}

/// Reads the page's content, and counts the tasks where that does not take too long.
async fn load(
    request: &HttpRequest,
    app: &App,
    filter: Filter,
    searches: [Title; 3],
) -> Result<(Content, Count), export::Error> {
    let (chosen, counted) = (filter.clone(), filter.clone());
    let selects = read(
        request,
        app,
        From::Database,
        QUERY_TIMEOUT,
        move |connection| selects(connection, &chosen, searches.clone()),
    );
    let rows = read(
        request,
        app,
        From::Exports,
        QUERY_TIMEOUT,
        move |connection| {
            let rows = preview::rows(connection, &filter)?;
            let is_empty = rows.is_empty() && !preview::any(connection)?;
            Ok((rows, is_empty))
        },
    );
    let (selects, (rows, is_empty)) = tokio::try_join!(selects, rows)?;
    let content = Content {
        selects,
        rows,
        is_empty,
    };
    let shown = content.rows.len() as i64;
    if shown < preview::ROWS {
        return Ok((content, Count::Exactly(shown)));
    }
    let at_least = counted.clone();
    let exact = read(
        request,
        app,
        From::Exports,
        COUNT_TIMEOUT,
        move |connection| preview::count(connection, &counted),
    );
    if let Some(count) = in_time(exact.await)? {
        return Ok((content, Count::Exactly(count)));
    }
    let many = read(
        request,
        app,
        From::Exports,
        COUNT_TIMEOUT,
        move |connection| preview::has_more_than(connection, &at_least, MANY),
    );
    let count = match in_time(many.await)? {
        Some(true) => Count::MoreThan(MANY),
        _ => Count::Unknown,
    };
    Ok((content, count))
}

/// What was read, or `None` if that took too long.
fn in_time<T>(outcome: Result<T, export::Error>) -> Result<Option<T>, export::Error> {
    match outcome {
        Err(error) if error.class() == Some(ErrorClass::StatementTimeout) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// What can be chosen from, and what is.
fn selects(
    connection: &mut PgConnection,
    filter: &Filter,
    [location_q, asset_q, user_q]: [Title; 3],
) -> QueryResult<Vec<Select>> {
    let editor = match filter.updated_by_id {
        Some(UpdatedBy::User(id)) => Some(id),
        _ => None,
    };
    let mut select =
        |of, name, label, search, text: &Title, location_id, chosen_id: Option<i64>| {
            let mut choices = choices::load(connection, of, text, location_id)?;
            if let Some(id) = chosen_id
                && choices.choices.iter().all(|choice| choice.id != id)
            {
                let unknown = || Choice {
                    id,
                    name: format!("unknown ({id})"),
                };
                let chosen = choices::find(connection, of, id)?.unwrap_or_else(unknown);
                choices.choices.insert(0, chosen);
            }
            Ok::<_, diesel::result::Error>(Select {
                name,
                label,
                of: of.name(),
                search,
                text: text.clone(),
                choices: choices.choices,
                more: choices.more,
                chosen: chosen_id.map(|id| id.to_string()),
            })
        };
    let mut selects = vec![
        select(
            Of::Locations,
            "location_id",
            "Location",
            "location_q",
            &location_q,
            None,
            filter.location_id,
        )?,
        select(
            Of::Assets,
            "asset_id",
            "Asset",
            "asset_q",
            &asset_q,
            filter.location_id,
            filter.asset_id,
        )?,
        select(
            Of::Users,
            "created_by_id",
            "Created by",
            "user_q",
            &user_q,
            None,
            filter.created_by_id,
        )?,
        select(
            Of::Users,
            "updated_by_id",
            "Last changed by",
            "user_q",
            &user_q,
            None,
            editor,
        )?,
    ];
    if filter.updated_by_id == Some(UpdatedBy::Nobody)
        && let Some(select) = selects.last_mut()
    {
        select.chosen = Some(UpdatedBy::Nobody.to_string());
    }
    Ok(selects)
}

/// What is wrong with the tables, if that is why a query has failed.
async fn tables_problem(app: &web::Data<App>) -> Option<Problem> {
    let app = app.clone();
    match web::block(move || app.database.schema_state()).await {
        Ok(Ok(SchemaState::Missing)) => Some(Problem::new(Kind::TablesMissing)),
        Ok(Ok(SchemaState::Different(differences))) => Some(Problem::of_tables(&differences)),
        _ => None,
    }
}

fn download_path(chosen: &[(&'static str, String)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(chosen)
        .finish();
    format!("/tasks.csv?{query}")
}

/// The command that downloads, but for the path.
fn curl(request: &HttpRequest, needs_token: bool) -> String {
    let connection = request.connection_info();
    let token = if needs_token {
        "-H \"Authorization: Bearer $CMMS_AUTH_TOKEN\" "
    } else {
        ""
    };
    format!(
        "curl -fOJ {token}'{}://{}",
        connection.scheme(),
        connection.host()
    )
}

/// A number with a comma every three digits.
fn grouped(number: &i64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
