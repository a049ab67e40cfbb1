//! The export page. It shows what its query string says, and works without a script, which only makes it quicker.

mod address;
mod choice;
mod count;
mod filters;
mod said;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::access::visible::Visible;
use crate::api::read::{QUERY_TIMEOUT, ReadFrom, read};
use crate::pages::html;
use crate::pages::layout::Layout;
use crate::prepared::page::List;
use crate::prepared::row_cost::RowCost;
use crate::problem::Problem;
use crate::service::app::App;
use crate::service::app::OfDataset;
use crate::service::application::EXPORT;
use strum::VariantArray;

use diesel_export::csv::{Delimiter, Preset};
use diesel_export::dataset::{Cell, Column, ColumnKind, Dataset, FilterField};
use diesel_export::format::FileType;
use diesel_export::parameters::Parameters;
use diesel_export::queries::{self, FirstRows};
use diesel_export::{self as export, Strategy};

pub(crate) use address::address;
use address::{chosen, curl, download, path, query};
use choice::{Choose, read_query};
use count::{Count, estimate};
use filters::{Control, Is, choose_found, look_up};

/// Stands for the rest of a text that the preview cuts.
const REST: &str = "<span role=\"img\" title=\"The file has all of this text\" aria-label=\"The file has all of this text\">…</span>";

#[derive(Template)]
#[template(path = "export.html")]
struct ExportPage<'a> {
    layout: Layout,
    /// What the page says beside if there are no rows, in HTML.
    no_rows: &'static str,
    tabs: Vec<Tab>,
    dataset: &'a Arc<dyn Dataset>,
    /// A word for its rows.
    rows: String,
    /// Where the page is.
    path: String,
    controls: Vec<Control>,
    /// What the filters are set to, in words.
    said: Vec<String>,
    /// Whether there is room for files that are made first.
    has_spool: bool,
    parameters: &'a Parameters,
    /// The same as names and values of the page's address.
    chosen: Vec<(String, String)>,
    /// The columns that are chosen, in their order, and then the others.
    columns: Vec<&'a Column>,
    first: FirstRows,
    count: Count,
    /// Whether the dataset has no row at all.
    is_empty: bool,
    strategies: &'static [Strategy],
    default: Strategy,
    curl: String,
    download: String,
    /// Those that were prepared for later; `None` if that is not possible here.
    prepared: Option<List>,
    /// What the page says about preparing this export.
    estimate: String,
    /// What a row comes to in each format, for the page's script.
    paces: String,
    /// Whether its downloads ask for what the primary has now. If there is no primary to ask, they would fail.
    is_fresh: bool,
}

impl ExportPage<'_> {
    fn is_chosen(&self, column: &Column) -> bool {
        self.parameters.columns.has(column)
    }

    /// Returns the column's place as the dataset declares it.
    fn index(&self, column: &Column) -> usize {
        let all = self.dataset.columns();
        let index = all.iter().position(|known| known.name() == column.name());
        index.unwrap_or_default()
    }

    /// Returns the button's word for the file.
    fn kind(&self) -> &'static str {
        match self.parameters.file_type {
            FileType::Csv => "CSV",
            FileType::Xlsx => "Excel",
            FileType::Ndjson => "JSON lines",
        }
    }

    /// How the rows are sorted by a column, if they are by that first, as ARIA says it.
    fn sorted(&self, column: &Column) -> Option<&'static str> {
        let order = self.parameters.order.to_string();
        let first = order.split(',').next().unwrap_or_default();
        match first.strip_prefix('-') {
            Some(name) => (name == column.name()).then_some("descending"),
            None => (first == column.name()).then_some("ascending"),
        }
    }

    /// The order that a click on a column's head asks for: up, then down, then that of the key.
    fn next_order(&self, column: &Column) -> String {
        match self.sorted(column) {
            None => column.name().to_owned(),
            Some("ascending") => format!("-{}", column.name()),
            Some(_) => String::new(),
        }
    }

    /// Whether a filter is set that is not among the first.
    fn has_more_filters(&self) -> bool {
        self.controls
            .iter()
            .skip(FIRST_FILTERS)
            .any(|control| !control.said().is_empty())
    }

    /// Returns the page's address with the default columns.
    fn with_default_columns(&self) -> String {
        self.without(|name| name == "columns")
    }

    /// Returns the page's address with all rows.
    fn without_filters(&self) -> String {
        self.without(|name| {
            self.dataset
                .filters()
                .iter()
                .any(|field| field.name() == name)
        })
    }

    fn without(&self, is_left_out: impl Fn(&str) -> bool) -> String {
        let others = self.chosen.iter().filter(|(name, _)| !is_left_out(name));
        format!("{}?{}", self.path, query(others))
    }
}

/// A link to the page of a dataset.
struct Tab {
    title: String,
    path: String,
    is_current: bool,
    /// The names of the filters that it shares with the page, as JSON; none if there are none.
    shared: Option<String>,
}

impl Tab {
    /// The links to all datasets, with those of the chosen filters that they have, too.
    fn all(
        app: &App,
        visible: &Visible,
        current: &Arc<dyn Dataset>,
        chosen: &[(String, String)],
    ) -> Vec<Self> {
        let tabs = visible.catalog.all().map(|dataset| {
            let is_shared = |field: &&FilterField| {
                let is_same = |own: &FilterField| {
                    (own.name(), own.of(), own.kind(), own.test())
                        == (field.name(), field.of(), field.kind(), field.test())
                };
                current.filters().iter().any(is_same)
            };
            let shared = dataset.filters().iter().filter(is_shared);
            let shared: Vec<&str> = shared.map(FilterField::name).collect();
            let kept = chosen.iter().filter(|(name, _)| shared.contains(&&**name));
            let query = query(kept);
            let separator = if query.is_empty() { "" } else { "?" };
            Self {
                title: title(dataset.name()),
                path: format!("{}{separator}{query}", path(dataset, app, visible)),
                is_current: dataset == current,
                shared: (!shared.is_empty()).then(|| serde_json::json!(shared).to_string()),
            }
        });
        tabs.collect()
    }
}

/// What the page shows from the database.
struct Content {
    controls: Vec<Control>,
    first: FirstRows,
    is_empty: bool,
}

/// The export page of the default dataset.
#[utoipa::path(method(get, head), path = "/", responses((status = 200, content_type = "text/html", body = String)))]
pub(crate) async fn index(
    request: HttpRequest,
    app: web::Data<App>,
    visible: Visible,
) -> Result<HttpResponse, Problem> {
    let dataset = OfDataset(Arc::clone(visible.catalog.default()));
    page(request, app, dataset, visible).await
}

/// The export page of a dataset.
pub(crate) async fn page(
    request: HttpRequest,
    app: web::Data<App>,
    OfDataset(dataset): OfDataset,
    visible: Visible,
) -> Result<HttpResponse, Problem> {
    let has_spool = app.settings.spool.is_some();
    let choose = read_query(request.query_string(), &dataset, has_spool)?;
    if choose.is_download {
        // Without the page's script, its form cannot know which address has the file of the format that is chosen.
        let mut pairs = choose.parameters.to_pairs();
        if app.servers.knows_primary() {
            pairs.push(("fresh".to_owned(), "true".to_owned()));
        }
        let location = if app.access.sites.may_have_sent(request.headers()) {
            // Who follows another site's link decides on the page.
            address(&choose.parameters, &app, &visible)
        } else {
            app.address(download(&choose.parameters, &pairs))
        };
        return Ok(html::see_other(&location));
    }
    let (parameters, content, count) = load(&request, &app, &visible, choose).await?;
    let needs_token = app.settings.auth_token.is_some();
    let pairs = parameters.to_pairs();
    let download = download(&parameters, &pairs);
    let prepared = List::latest(&app, &visible).await?;
    let cost = |format| app.metrics.row_costs.of(dataset.name(), format);
    let estimate = estimate(count, cost(parameters.file_type));
    let paces = FileType::VARIANTS.iter().map(|file_type| {
        let parts = cost(*file_type).map(RowCost::parts);
        (file_type.extension(), parts)
    });
    let paces = serde_json::json!(paces.collect::<BTreeMap<_, _>>()).to_string();
    let chosen = chosen(&parameters);
    let all = dataset.columns().iter();
    let others = all.filter(|column| !parameters.columns.has(column));
    let page = ExportPage {
        layout: app.layout(EXPORT),
        no_rows: app.settings.application.no_rows,
        tabs: Tab::all(&app, &visible, &dataset, &chosen),
        dataset: &dataset,
        rows: words(dataset.name()),
        path: path(&dataset, &app, &visible),
        said: content.controls.iter().flat_map(Control::said).collect(),
        controls: content.controls,
        has_spool,
        columns: parameters
            .columns
            .columns()
            .into_iter()
            .chain(others)
            .collect(),
        download,
        chosen,
        parameters: &parameters,
        first: content.first,
        count,
        is_empty: content.is_empty,
        strategies: Strategy::all(),
        default: Strategy::default(),
        curl: curl(
            &request,
            &app.settings.base_path,
            needs_token.then_some(app.settings.application.token_variable),
        ),
        prepared,
        estimate,
        paces,
        is_fresh: app.servers.knows_primary(),
    };
    html::respond(StatusCode::OK, &page)
}

/// Filters that are always in sight; one more needs no less room than the line that shows it.
const FIRST_FILTERS: usize = 2;
/// More datasets than these are a list, and no tabs.
const MOST_TABS: usize = 8;

/// A name as people write it: `order_lines` are order lines.
pub(crate) fn words(name: &str) -> String {
    name.replace(['_', '-'], " ")
}

/// The same at the beginning of a line.
pub(crate) fn title(name: &str) -> String {
    let words = words(name);
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// Reads the page's content, and counts the rows if that does not take too long.
async fn load(
    request: &HttpRequest,
    app: &App,
    visible: &Visible,
    choose: Choose,
) -> Result<(Parameters, Content, Count), export::Error> {
    let Choose {
        mut parameters,
        searches,
        ..
    } = choose;
    choose_found(request, app, visible, &mut parameters, &searches).await?;
    let Parameters {
        columns,
        filter,
        order,
        ..
    } = parameters.clone();
    let counted = filter.clone();
    let controls = look_up(request, app, visible, &counted, &searches);
    let rows = read(
        request,
        app,
        Arc::clone(filter.dataset()),
        ReadFrom::Exports,
        QUERY_TIMEOUT,
        move |connection| {
            let first = queries::first_rows(connection, &columns, &filter, &order)?;
            let is_empty = first.rows.is_empty() && !queries::any(connection, filter.dataset())?;
            Ok((first, is_empty))
        },
    );
    let (controls, (first, is_empty)) = tokio::try_join!(controls, rows)?;
    let content = Content {
        controls,
        first,
        is_empty,
    };
    let shown = content.first.rows.len() as i64;
    let count = if shown < queries::PREVIEW_ROWS {
        Count::Exactly(shown)
    } else {
        count::of(request, app, counted).await?
    };
    Ok((parameters, content, count))
}

/// Returns a value as the preview shows it.
fn shown(cell: Cell<'_>) -> Cow<'_, str> {
    match cell {
        Cell::Null => "".into(),
        Cell::Integer(integer) => integer.to_string().into(),
        Cell::Boolean(boolean) => if boolean { "TRUE" } else { "FALSE" }.into(),
        Cell::Text(text) => text.into(),
    }
}
