//! The export page, as its query string says: it works without a script, which only makes it quicker.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use clap::ValueEnum;
use diesel::{PgConnection, QueryResult};

use super::pace::Pace;
use super::prepared_page::List;
use super::problem::{Kind, Problem};
use super::query_string::{QueryString, invalid};
use super::read::{QUERY_TIMEOUT, ReadFrom, read};
use super::{App, OfDataset, html};
use crate::datasets;
use crate::db::SchemaState;
use crate::export::choices::{self, Choice};
use crate::export::csv::{Delimiter, Preset};
use crate::export::dataset::{
    Cell, Column, ColumnKind, Dataset, Filter, FilterField, FilterKind, FilterValue, Row,
    SearchText,
};
use crate::export::format::FileType;
use crate::export::manifest::ErrorClass;
use crate::export::parameters::{Parameters, columns_from};
use crate::export::{self, Strategy, queries};
use crate::units::{readable_bytes, readable_seconds};

/// Time to count the matching rows in. The page does not wait any longer: its script asks for the count once it is shown.
const COUNT_TIMEOUT: Duration = Duration::from_millis(50);
/// What a page says at least without an exact count, if it can.
const MANY: i64 = 100_000;

/// How many rows match.
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
    tabs: Vec<Tab>,
    dataset: &'static dyn Dataset,
    /// Where the page is.
    path: String,
    controls: Vec<Control>,
    parameters: Parameters,
    /// The same as names and values of the page's address.
    chosen: Vec<(&'static str, String)>,
    /// The columns that are chosen, in their order, and then the others.
    columns: Vec<&'static Column>,
    rows: Vec<Row>,
    count: Count,
    /// There is no row at all.
    is_empty: bool,
    strategies: &'static [Strategy],
    default: Strategy,
    curl: String,
    download: String,
    /// Those that were prepared for later; `None` if that is not possible here.
    prepared: Option<List>,
    /// What is said of preparing this one.
    estimate: String,
    /// What a row comes to in each format, for the page's script.
    paces: String,
}

impl ExportPage {
    fn is_chosen(&self, column: &Column) -> bool {
        self.parameters.columns.has(column)
    }

    /// What the button calls the file.
    fn kind(&self) -> &'static str {
        match self.parameters.file_type {
            FileType::Csv => "CSV",
            FileType::Xlsx => "Excel",
        }
    }

    /// The page with the dataset's own choice of columns.
    fn with_default_columns(&self) -> String {
        let others = self.chosen.iter().filter(|(name, _)| *name != "columns");
        format!("{}?{}", self.path, query(others))
    }
}

/// The way to the page of a dataset.
struct Tab {
    title: String,
    path: String,
    is_current: bool,
}

impl Tab {
    fn all(current: &'static dyn Dataset) -> Vec<Self> {
        let tabs = datasets::all().map(|dataset| Self {
            title: capitalized(dataset.name()),
            path: path(dataset),
            is_current: *dataset == *current,
        });
        tabs.collect()
    }
}

/// A filter on the page.
struct Control {
    name: &'static str,
    label: String,
    is: Is,
}

/// How a filter is set.
enum Is {
    Select(Select),
    Text(String),
    Boolean(Option<bool>),
}

/// A filter that is set by choosing from a list.
struct Select {
    /// The dataset that it chooses from.
    of: &'static str,
    /// The other filters that narrow the choice.
    narrowed_by: Vec<&'static str>,
    can_be_none: bool,
    /// The name of the parameter by which the page, without its script, looks for other choices.
    search: String,
    text: SearchText,
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
    controls: Vec<Control>,
    rows: Vec<Row>,
    is_empty: bool,
}

/// What the page is asked for.
struct Choose {
    parameters: Parameters,
    /// Whether that is the file.
    is_download: bool,
    /// What is looked for in the lists of filters, by these filters' names.
    searches: Vec<(&'static str, SearchText)>,
}

/// The export page of the tasks.
#[utoipa::path(method(get, head), path = "/", responses((status = 200, content_type = "text/html", body = String)))]
pub(super) async fn index(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    page(request, app, OfDataset(datasets::default())).await
}

/// The export page of a dataset.
pub(super) async fn page(
    request: HttpRequest,
    app: web::Data<App>,
    OfDataset(dataset): OfDataset,
) -> Result<HttpResponse, Problem> {
    let choose = match read_query(request.query_string(), dataset) {
        Ok(choose) => choose,
        Err(problem) => return html::unavailable(&request, problem),
    };
    if choose.is_download {
        // Without the page's script, its form cannot know which address has the file of the format that is chosen.
        let mut pairs = choose.parameters.to_pairs();
        pairs.push(("fresh", "true".to_owned()));
        return Ok(HttpResponse::SeeOther()
            .insert_header((LOCATION, download(&choose.parameters, &pairs)))
            .finish());
    }
    match load(&request, &app, choose).await {
        Ok((parameters, content, count)) => {
            let pairs = parameters.to_pairs();
            let download = download(&parameters, &pairs);
            let prepared = List::load(&app).await?;
            let pace = |format| app.metrics.paces.of(dataset.name(), format);
            let estimate = estimate(count, pace(parameters.file_type));
            let paces = serde_json::json!({"csv": pace(FileType::Csv).map(Pace::parts), "xlsx": pace(FileType::Xlsx).map(Pace::parts)}).to_string();
            let chosen = chosen(&parameters);
            let all = dataset.columns().iter();
            let others = all.filter(|column| !parameters.columns.has(column));
            let page = ExportPage {
                demonstration: app.settings.is_demonstration,
                tabs: Tab::all(dataset),
                dataset,
                path: path(dataset),
                controls: content.controls,
                columns: parameters
                    .columns
                    .columns()
                    .iter()
                    .copied()
                    .chain(others)
                    .collect(),
                download,
                chosen,
                parameters,
                rows: content.rows,
                count,
                is_empty: content.is_empty,
                strategies: Strategy::all(),
                default: Strategy::default(),
                curl: curl(&request, app.settings.auth_token.is_some()),
                prepared,
                estimate,
                paces,
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

fn read_query(query: &str, dataset: &'static dyn Dataset) -> Result<Choose, Problem> {
    let mut query = QueryString::parse(query)?;
    let mut searches = Vec::new();
    for field in dataset.filters() {
        let name = search_name(field);
        if let Some(text) = query.take(&name)? {
            let text = text.parse();
            let text = text.map_err(|error: export::dataset::InvalidText| {
                invalid(&name, &error.to_string())
            })?;
            searches.push((field.name(), text));
        }
    }
    let moved = query.take("move")?;
    let is_download = query.take_bool("download")?.unwrap_or(false);
    let says_preset = query.says("preset");
    // The page is for people, who have Excel; an address with a preset is of CSV.
    let file_type = match query.take("format")?.as_deref() {
        None | Some("") if says_preset => FileType::Csv,
        None | Some("") => FileType::Xlsx,
        Some(name) => FileType::from_str(name, false)
            .map_err(|_| invalid("format", "expected `csv` or `xlsx`"))?,
    };
    // The form has what is of CSV alone, whatever is chosen.
    let mut parameters = Parameters::from_pairs(dataset, FileType::Csv, query.rest())?;
    parameters.file_type = file_type;
    if !says_preset {
        parameters.preset = Preset::Excel;
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

/// The parameter by which the page, without its script, looks for choices of a filter.
fn search_name(field: &FilterField) -> String {
    format!("{}_q", field.name().trim_end_matches("_id"))
}

/// What the page calls a filter.
fn label(field: &FilterField) -> String {
    let words = field.name().trim_end_matches("_id").replace('_', " ");
    let words = capitalized(&words);
    match field.kind() {
        FilterKind::Text => format!("{words} contains"),
        _ => words,
    }
}

pub(super) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// Where the page of a dataset is.
fn path(dataset: &dyn Dataset) -> String {
    if *dataset == *datasets::default() {
        "/".to_owned()
    } else {
        format!("/{}", dataset.name())
    }
}

/// The page with these parameters.
pub(super) fn address(parameters: &Parameters) -> String {
    let chosen = chosen(parameters);
    format!("{}?{}", path(parameters.filter.dataset()), query(&chosen))
}

/// The parameters as names and values of the page's address.
fn chosen(parameters: &Parameters) -> Vec<(&'static str, String)> {
    let mut chosen = parameters.to_pairs();
    if parameters.file_type == FileType::Xlsx {
        chosen.push(("format", "xlsx".to_owned()));
    }
    chosen
}

/// Reads the page's content, and counts the rows if that does not take too long.
async fn load(
    request: &HttpRequest,
    app: &App,
    choose: Choose,
) -> Result<(Parameters, Content, Count), export::Error> {
    let Choose {
        mut parameters,
        searches,
        ..
    } = choose;
    choose_found(request, app, &mut parameters, &searches).await?;
    let Parameters {
        columns, filter, ..
    } = parameters.clone();
    let (set, counted) = (filter.clone(), filter.clone());
    let controls = read(
        request,
        app,
        ReadFrom::Database,
        QUERY_TIMEOUT,
        move |connection| controls(connection, &set, &searches),
    );
    let rows = read(
        request,
        app,
        ReadFrom::Exports,
        QUERY_TIMEOUT,
        move |connection| {
            let rows = queries::first_rows(connection, &columns, &filter)?;
            let is_empty = rows.is_empty() && !queries::any(connection, filter.dataset())?;
            Ok((rows, is_empty))
        },
    );
    let (controls, (rows, is_empty)) = tokio::try_join!(controls, rows)?;
    let content = Content {
        controls,
        rows,
        is_empty,
    };
    let shown = content.rows.len() as i64;
    if shown < queries::PREVIEW_ROWS {
        return Ok((parameters, content, Count::Exactly(shown)));
    }
    let at_least = counted.clone();
    let exact = read(
        request,
        app,
        ReadFrom::Exports,
        COUNT_TIMEOUT,
        move |connection| queries::count(connection, &counted),
    );
    if let Some(count) = in_time(exact.await)? {
        return Ok((parameters, content, Count::Exactly(count)));
    }
    let many = read(
        request,
        app,
        ReadFrom::Exports,
        COUNT_TIMEOUT,
        move |connection| queries::has_more_than(connection, &at_least, MANY),
    );
    let count = match in_time(many.await)? {
        Some(true) => Count::MoreThan(MANY),
        _ => Count::Unknown,
    };
    Ok((parameters, content, count))
}

/// Sets each filter that one has looked for, without a script, if exactly one is found: it is what was meant.
async fn choose_found(
    request: &HttpRequest,
    app: &App,
    parameters: &mut Parameters,
    searches: &[(&'static str, SearchText)],
) -> Result<(), export::Error> {
    if searches.iter().all(|(_, text)| text.as_str().is_empty()) {
        return Ok(());
    }
    let (filter, looked_for) = (parameters.filter.clone(), searches.to_vec());
    let controls = read(
        request,
        app,
        ReadFrom::Database,
        QUERY_TIMEOUT,
        move |connection| controls(connection, &filter, &looked_for),
    );
    for control in controls.await? {
        let field = parameters.filter.dataset().filters().iter();
        let field = field.into_iter().find(|field| field.name() == control.name);
        if let (Some(field), Is::Select(select)) = (field, control.is)
            && select.chosen.is_none()
            && !select.text.as_str().is_empty()
            && let [only] = select.choices.as_slice()
        {
            parameters.filter.set(field, FilterValue::Id(only.id));
        }
    }
    Ok(())
}

/// What was read, or `None` if that took too long.
fn in_time<T>(outcome: Result<T, export::Error>) -> Result<Option<T>, export::Error> {
    match outcome {
        Err(error) if error.class() == Some(ErrorClass::StatementTimeout) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// The filters, with what each is set to and what there is to choose from.
fn controls(
    connection: &mut PgConnection,
    filter: &Filter,
    searches: &[(&'static str, SearchText)],
) -> QueryResult<Vec<Control>> {
    let fields = filter.dataset().filters().iter();
    let controls = fields.map(|field| {
        let value = filter.get(field.name());
        let is = match (field.kind(), field.kind().of().and_then(datasets::find)) {
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
            name: field.name(),
            label: label(field),
            is,
        })
    });
    controls.collect()
}

fn select(
    connection: &mut PgConnection,
    field: &FilterField,
    of: &'static dyn Dataset,
    text: SearchText,
    filter: &Filter,
) -> QueryResult<Select> {
    // What narrows the rows narrows the choice, too: of the assets, only those at the location.
    let mut choice = Filter::all(of);
    let mut narrowed_by = Vec::new();
    for shared in of
        .filters()
        .iter()
        .filter(|shared| shared.kind().of().is_some())
    {
        if filter
            .dataset()
            .filters()
            .iter()
            .any(|own| own.name() == shared.name())
        {
            narrowed_by.push(shared.name());
            if let Some(value) = filter.get(shared.name()) {
                choice.set(shared, value.clone());
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
        of: of.name(),
        narrowed_by,
        can_be_none: matches!(field.kind(), FilterKind::IdOrNone { .. }),
        search: search_name(field),
        text,
        choices: choices.choices,
        more: choices.more,
        chosen: value.map(ToString::to_string),
    })
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

/// Where the file is.
fn download(parameters: &Parameters, pairs: &[(&'static str, String)]) -> String {
    let name = parameters.filter.dataset().name();
    let extension = parameters.file_type.extension();
    let query = query(pairs);
    let separator = if query.is_empty() { "" } else { "?" };
    format!("/{name}.{extension}{separator}{query}")
}

fn query<'p>(pairs: impl IntoIterator<Item = &'p (&'static str, String)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// What is said of preparing an export of so many rows. The page's script says the same of other choices.
fn estimate(count: Count, pace: Option<Pace>) -> String {
    let (rows, is_many) = match count {
        Count::Exactly(count) => (count, count >= MANY),
        Count::MoreThan(count) => (0, count >= MANY),
        Count::Unknown => (0, true),
    };
    let mut text = String::new();
    if let Some(pace) = pace.filter(|_| rows > 0) {
        let bytes = readable_bytes((rows as f64 * pace.bytes_per_row) as u64);
        let seconds = readable_seconds(rows as f64 * pace.seconds_per_row);
        text = format!("about {bytes}, ready in about {seconds}; ");
    }
    text += if is_many {
        "with so many rows the better way, made"
    } else {
        "made"
    };
    text + " on the server first, and fetched when you like, also in several goes."
}

/// A value in the preview.
fn shown(cell: Cell<'_>) -> Cow<'_, str> {
    match cell {
        Cell::Null => "".into(),
        Cell::Integer(integer) => integer.to_string().into(),
        Cell::Text(text) => text.into(),
    }
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
