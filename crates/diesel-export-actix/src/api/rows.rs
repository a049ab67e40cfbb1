//! `/api/{dataset}`: the first rows of an export, and how many it has.

use std::sync::Arc;

use actix_web::{HttpRequest, rt, web};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use tokio::sync::SemaphorePermit;
use utoipa::ToSchema;

use crate::api::read::{QUERY_TIMEOUT, ReadFrom, read};
use crate::connections::client_socket::ClientSocket;
use crate::problem::query_string::QueryString;
use crate::problem::{Kind, Problem};
use crate::service::app::App;
use crate::service::app::OfDataset;
use diesel_export::dataset::{Row, Selection};
use diesel_export::parameters::{columns_from, filter_from_pairs, order_from};
use diesel_export::queries::{self, FirstRows};

/// Counts that run at once. They read all rows, and must leave connections to the pages, which read a few.
pub(crate) const MAX_COUNTS: usize = 2;

/// What an export has in it.
#[derive(Serialize)]
pub(crate) struct Preview {
    /// How many rows it has; `null` if that was not asked for.
    count: Option<i64>,
    /// The first of them, each text up to 200 characters.
    rows: Rows,
    /// Which of their texts are longer.
    cut: Vec<Cut>,
}

/// A text that is cut.
#[derive(Serialize)]
struct Cut {
    /// The number of its row, from 0.
    row: usize,
    /// The name of its column in the header.
    column: String,
}

impl Preview {
    fn new(count: Option<i64>, columns: Selection, first: FirstRows) -> Self {
        let name = |column: usize| columns.columns()[column].header().to_owned();
        let cut = first.cut.iter().map(|&(row, column)| Cut {
            row,
            column: name(column),
        });
        let cut = cut.collect();
        Self {
            count,
            cut,
            rows: Rows {
                rows: first.rows,
                columns,
            },
        }
    }
}

/// How many rows an export has.
#[derive(Serialize, ToSchema)]
pub(crate) struct Count {
    /// All rows that match.
    count: i64,
}

/// Rows as objects, by the names of the header.
struct Rows {
    columns: Selection,
    rows: Vec<Row>,
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.rows.len()))?;
        for row in &self.rows {
            rows.serialize_element(&NamedRow(&self.columns, row))?;
        }
        rows.end()
    }
}

struct NamedRow<'a>(&'a Selection, &'a Row);

impl Serialize for NamedRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let columns = self.0.columns();
        let mut row = serializer.serialize_map(Some(columns.len()))?;
        for (column, cell) in columns.iter().zip(self.1.cells()) {
            row.serialize_entry(column.header(), &cell)?;
        }
        row.end()
    }
}

/// Waits until a count may run.
async fn place_for_count<'a>(
    request: &HttpRequest,
    app: &'a App,
) -> Result<SemaphorePermit<'a>, Problem> {
    let permit = rt::time::timeout(QUERY_TIMEOUT, app.count_permits.acquire()).await;
    let is_gone = request
        .conn_data::<ClientSocket>()
        .is_some_and(ClientSocket::is_gone);
    match permit {
        Ok(Ok(permit)) if !is_gone => Ok(permit),
        _ => Err(Problem::new(Kind::StatementTimeout)),
    }
}

/// The number of the rows.
pub(crate) async fn count(
    request: HttpRequest,
    app: web::Data<App>,
    dataset: OfDataset,
) -> Result<web::Json<Count>, Problem> {
    let query = QueryString::parse(request.query_string())?;
    let filter = filter_from_pairs(&dataset.0, query.rest())?;
    let _permit = place_for_count(&request, &app).await?;
    let count = read(
        &request,
        &app,
        Arc::clone(filter.dataset()),
        ReadFrom::Exports,
        QUERY_TIMEOUT,
        move |connection| queries::count(connection, &filter),
    );
    Ok(web::Json(Count {
        count: count.await?,
    }))
}

/// The number of the rows, and the first of them.
pub(crate) async fn preview(
    request: HttpRequest,
    app: web::Data<App>,
    dataset: OfDataset,
) -> Result<web::Json<Preview>, Problem> {
    let OfDataset(dataset) = dataset;
    let mut query = QueryString::parse(request.query_string())?;
    let counts = query.take_bool("count")?.unwrap_or(true);
    let columns = match query.take("columns")? {
        Some(names) => columns_from(&dataset, &names)?,
        None => Selection::default_of(&dataset),
    };
    let order = order_from(&dataset, &query.take("order")?.unwrap_or_default())?;
    let filter = filter_from_pairs(&dataset, query.rest())?;
    let _permit = if counts {
        Some(place_for_count(&request, &app).await?)
    } else {
        None
    };
    let preview = read(
        &request,
        &app,
        Arc::clone(filter.dataset()),
        ReadFrom::Exports,
        QUERY_TIMEOUT,
        move |connection| {
            let count = counts.then(|| queries::count(connection, &filter));
            let count = count.transpose()?;
            let first = queries::first_rows(connection, &columns, &filter, &order)?;
            Ok(Preview::new(count, columns.clone(), first))
        },
    );
    Ok(web::Json(preview.await?))
}
