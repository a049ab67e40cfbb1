//! `GET /exports/{id}/{name}`: the file of a prepared export, or a range of it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::body::BodySize;
use actix_web::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETag,
    EntityTag, LastModified,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::access::visible::Visible;
use crate::connections::client_socket::ClientSocket;
use crate::download::conditions::{Part, Validators};
use crate::download::digest::{REPR_DIGEST, repr_digest};
use crate::download::file_stream::FileStream;
use crate::download::supervisor::ObstacleWatch;
use crate::download::{Unsent, media_type, permit_for_download};
use crate::prepared::Fetched;
use crate::problem::{Kind, Problem, ProblemBody};
use crate::service::app::App;
use crate::service::app::blocking;
use diesel_export::stall_detector::StallDetector;

/// Browsers may cache it, but revalidate; proxies neither cache nor transform it.
const PRIVATE: &str = "private, no-cache, no-transform";

/// Downloads the file of a prepared export.
#[utoipa::path(
    method(get, head),
    path = "/exports/{id}/{name}",
    operation_id = "export_file",
    params(
        ("id" = String, Path, description = "The export's ID"),
        ("name" = String, Path, description = "File name: the dataset, a dot and the format, as in the manifest's `file`"),
    ),
    responses(
        (status = 200, description = "The file", content((String = "text/csv"), (String = "application/x-ndjson"), (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")), headers(
            ("ETag" = String, description = "The SHA-256 in hexadecimal"),
            ("Repr-Digest" = String, description = "The SHA-256 (RFC 9530)"),
        )),
        (status = 206, description = "The requested range", content((String = "text/csv"), (String = "application/x-ndjson"), (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))),
        (status = 304, description = "Not modified, by `If-None-Match` or `If-Modified-Since`"),
        (status = 404, description = "No such file, or it was deleted or has expired", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 409, description = "The export has not finished", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 412, description = "The file has changed, by `If-Match` or `If-Unmodified-Since`", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 416, description = "Range not satisfiable; `Content-Range` has the file's length", content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 503, description = "Too many downloads; see Retry-After", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(crate) async fn get(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    app: web::Data<App>,
    visible: Visible,
) -> Result<HttpResponse, Problem> {
    let prepared = Arc::clone(&app.prepared);
    let (id, name) = path.into_inner();
    let Fetched {
        file,
        manifest,
        disposition,
    } = blocking(move || prepared.fetch(&id, &name, visible.scope.as_deref())).await??;
    let unreadable = |error: io::Error| {
        tracing::error!(%error, "a prepared export cannot be read");
        Problem::new(Kind::Internal)
    };
    let modified = file.modified().map(whole_second);
    let sha256 = manifest.sha256.unwrap_or_default();
    let validators = Validators {
        modified: modified.map_err(unreadable)?.into(),
        length: manifest.bytes,
        etag: EntityTag::new_strong(sha256.clone()),
    };
    let part = validators.part(&request)?;
    let status = match part {
        Part::Whole => StatusCode::OK,
        Part::Range(..) => StatusCode::PARTIAL_CONTENT,
        Part::NotModified => StatusCode::NOT_MODIFIED,
    };
    let mut response = HttpResponse::build(status);
    response
        .insert_header(ETag(validators.etag))
        .insert_header(LastModified(validators.modified))
        .insert_header((CACHE_CONTROL, PRIVATE))
        .insert_header((ACCEPT_RANGES, "bytes"));
    if part == Part::NotModified {
        return Ok(response.finish());
    }
    response
        .insert_header((CONTENT_TYPE, media_type(manifest.format)))
        .insert_header((CONTENT_DISPOSITION, disposition))
        .insert_header(("X-Accel-Buffering", "no"));
    if let Some(digest) = repr_digest(&sha256) {
        response.insert_header((REPR_DIGEST, digest));
    }
    let range = match part {
        Part::Range(first, last) => {
            let length = validators.length;
            response.insert_header((CONTENT_RANGE, format!("bytes {first}-{last}/{length}")));
            first..last + 1
        }
        _ => 0..validators.length,
    };
    if request.method() == Method::HEAD {
        return Ok(response.body(Unsent(BodySize::Sized(validators.length))));
    }
    let permit = permit_for_download(&app)?;
    let flow = Arc::new(StallDetector::default());
    let over = CancellationToken::new();
    let client = request.conn_data::<ClientSocket>().cloned();
    if let Some(client) = client.clone() {
        let (flow, over) = (Arc::clone(&flow), over.clone());
        let limit = app.settings.reader_timeout;
        let cut_off = async move {
            over.run_until_cancelled(cut_off(&flow, limit, &client))
                .await
        };
        rt::spawn(cut_off.in_current_span());
    }
    let held = (over.drop_guard(), permit);
    let ended = move |outcome: Result<(), &io::Error>| {
        let _until_it_is_dropped = &held;
        if let Err(error) = outcome {
            tracing::error!(%error, "a prepared export cannot be read");
        }
    };
    Ok(response.body(FileStream::begin(
        Arc::new(file),
        range,
        flow,
        client,
        ended,
    )))
}

/// Resets the connection as soon as its client has received nothing for this long.
async fn cut_off(flow: &StallDetector, limit: Duration, client: &ClientSocket) {
    let watch = ObstacleWatch {
        flow,
        peer: None,
        reader_timeout: Some(limit),
        servers: None,
    };
    watch.obstacle().await;
    tracing::warn!("the reader of a prepared export took nothing for too long");
    client.reset();
}

/// What a header's date says of a time, so that the two are equal.
fn whole_second(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.unwrap_or_default().as_secs())
}
