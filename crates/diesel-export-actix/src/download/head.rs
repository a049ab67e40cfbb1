//! `HEAD /{dataset}.csv` and `HEAD /{dataset}.xlsx`: what a download would be, without the export.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use time::OffsetDateTime;

use crate::download::filename::content_disposition;
use crate::download::{Delivery, Query, UNTOUCHED, media_type};
use crate::problem::Problem;
use crate::service::app::App;
use crate::service::app::OfDataset;
use diesel_export::format::FileType;

/// What a file would be, without the export: the database is not queried.
pub(crate) async fn head(
    request: HttpRequest,
    app: web::Data<App>,
    dataset: OfDataset,
    file_type: FileType,
) -> Result<HttpResponse, Problem> {
    let query = Query::read(request.query_string(), &dataset, file_type)?;
    Delivery::choose(&request, &app, file_type, query.whole)?;
    let filter = query.parameters.filter;
    let disposition = content_disposition(&filter, file_type, OffsetDateTime::now_utc());
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, media_type(file_type)))
        .insert_header((CONTENT_DISPOSITION, disposition))
        .insert_header((CACHE_CONTROL, UNTOUCHED))
        // The length is not known before it is made.
        .body(Unsent(BodySize::Stream)))
}

/// The body of a response to HEAD, of the size that it would have.
pub(crate) struct Unsent(pub(crate) BodySize);

impl MessageBody for Unsent {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        Poll::Ready(None)
    }
}
