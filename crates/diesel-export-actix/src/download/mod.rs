//! `GET /{dataset}.csv` and `GET /{dataset}.xlsx`: an export as a response. CSV is streamed while it is made; a workbook, and a CSV
//! whose length is wanted, is made first, in the spool, and then sent.
//!
//! Three parties: a thread of its own makes the export; a [handover](crate::download::handover) takes it to the response's [body](Body), by
//! way of the disk if the client is slow, so that it holds no query and fills no memory; and a [supervisor] stops it all when the
//! client disconnects or receives nothing, when the server does not answer, or when the export is cancelled. The body ends cleanly only if
//! the export says that it is complete; otherwise the connection is reset.

pub(crate) mod body;
pub(crate) mod compression;
pub(crate) mod conditions;
pub(crate) mod digest;
pub(crate) mod file_stream;
pub(crate) mod filename;
pub(crate) mod handover;
pub(crate) mod registry;
pub(crate) mod supervisor;

mod head;
mod making;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::http::Version;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, VARY,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, rt, web};
use time::OffsetDateTime;
use tokio::sync::OwnedSemaphorePermit;

pub(crate) use self::head::{Unsent, head};
use self::making::start;
use crate::access::visible::Visible;
use crate::connections::client_socket::{ClientSocket, Unfinished};
use crate::download::body::Body;
use crate::download::compression::{Coding, Compression};
use crate::download::conditions::refuse_range;
use crate::download::digest::{REPR_DIGEST, repr_digest};
use crate::download::filename::content_disposition;
use crate::download::handover::Message;
use crate::download::registry::Known;
use crate::monitoring::metrics::Rejection;
use crate::monitoring::request_log::leave_to_export;
use crate::pages::export_page::address;
use crate::pages::html;
use crate::problem::query_string::{QueryString, invalid};
use crate::problem::{EXPORT_ID, Kind, Problem};
use crate::service::app::App;
use crate::service::app::OfDataset;
use diesel_export::format::FileType;
use diesel_export::parameters::Parameters;
use diesel_export::spool::Spool;

/// Time that the response waits for the first bytes of a stream, so that a failure before them gets a status of its own. Not for
/// ever: some proxy on the way may want to see a response's head.
const FIRST_BYTES_WAIT: Duration = Duration::from_secs(20);

/// No cache keeps it, and no intermediary compresses or changes it.
const UNTOUCHED: &str = "no-store, no-transform";

/// The type of a download.
pub(crate) fn media_type(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Csv => "text/csv; charset=utf-8; header=present",
        FileType::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        FileType::Ndjson => "application/x-ndjson",
    }
}

/// The rows as a file: streamed, unless its length is wanted or it is a workbook, which is sent as soon as it is complete.
pub(crate) async fn get(
    request: HttpRequest,
    app: web::Data<App>,
    dataset: OfDataset,
    visible: Visible,
    file_type: FileType,
) -> Result<HttpResponse, Problem> {
    let Query {
        id,
        fresh,
        whole,
        parameters,
    } = Query::read(request.query_string(), &dataset, file_type)?;
    if app.access.sites.may_have_sent(request.headers()) {
        if !app.settings.has_pages {
            return Err(Problem::new(Kind::CrossSite));
        }
        // A user who follows a link decides on the page.
        let page = address(&parameters, &app, &visible);
        return Ok(html::see_other(&page));
    }
    refuse_range(&request)?;
    let export = parameters.into_export(app.settings.limits);
    let disposition = content_disposition(&export.filter, file_type, OffsetDateTime::now_utc());
    let delivery = Delivery::choose(&request, &app, file_type, whole)?;
    let is_streamed = matches!(delivery, Delivery::Streamed(_));
    let permits = Permits::take(&app)?;
    if app.prepared.has(&id) {
        return Err(Problem::new(Kind::ExportIdTaken));
    }
    let known = app
        .exports
        .begin(id, &export, fresh, &app.settings.facts)
        .ok_or_else(|| Problem::new(Kind::ExportIdTaken))?;
    leave_to_export(&request);

    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, media_type(file_type)))
        .insert_header((CONTENT_DISPOSITION, disposition))
        .insert_header((CACHE_CONTROL, UNTOUCHED))
        // Proxies must not buffer it.
        .insert_header(("X-Accel-Buffering", "no"));
    if let Some(coding) = delivery.coding() {
        response.insert_header((CONTENT_ENCODING, coding.name()));
    }
    if is_streamed && app.settings.compression != Compression::Off {
        response.insert_header((VARY, "Accept-Encoding"));
    }
    let client = request.conn_data::<ClientSocket>().cloned();
    let mut body = start(known, permits, client.clone(), delivery, app.into_inner());
    let first = if is_streamed {
        rt::time::timeout(FIRST_BYTES_WAIT, body.receiver.next()).await
    } else {
        Ok(body.receiver.next().await)
    };
    respond(response, body, first.ok(), client)
}

/// Responds with what comes first, if it came in time.
fn respond(
    mut response: HttpResponseBuilder,
    mut body: Body,
    first: Option<Option<Message>>,
    client: Option<ClientSocket>,
) -> Result<HttpResponse, Problem> {
    let Known { run, begun, .. } = body.download.known.clone();
    let record = &run.record;
    let mut file = None;
    match first {
        Some(Some(Message::Failed(error))) => {
            body.download.fail(&error);
            return Err(Problem::of_failure(&error).of_export(record.id()));
        }
        Some(None) => {
            body.download.end_without_a_word();
            return Err(Problem::new(Kind::Internal).of_export(record.id()));
        }
        Some(Some(Message::File(made, length))) => file = Some((made, length)),
        Some(message) => body.next = message,
        None => {}
    }
    // The strategy actually used, known since before the first bytes.
    let manifest = record.manifest();
    // Known once there are bytes: until then, it may yet be another server.
    if let (Some(source), true) = (manifest.source, file.is_some() || body.next.is_some()) {
        response.insert_header(("X-Export-Source", source.name()));
    }
    begun.store(true, Ordering::Relaxed);
    let milliseconds = record.seconds() * 1e3;
    response
        .insert_header((EXPORT_ID, record.id()))
        .insert_header(("X-Export-Strategy", manifest.strategy.name()))
        .insert_header((
            "Server-Timing",
            format!("first-bytes;dur={milliseconds:.1}"),
        ));
    let Some((file, length)) = file else {
        body.unfinished = Some(Unfinished::begin(client));
        return Ok(response.body(body));
    };
    if let Some(digest) = record.whole().sha256.as_deref().and_then(repr_digest) {
        response.insert_header((REPR_DIGEST, digest));
    }
    Ok(response.body(body.of_file(file, length, client)))
}

/// How an export reaches its client.
enum Delivery {
    /// As it is made, compressed or not.
    Streamed(Option<Coding>),
    /// When it is complete; until then it is in the spool.
    Whole(Arc<Spool>),
}

impl Delivery {
    fn choose(
        request: &HttpRequest,
        app: &App,
        file_type: FileType,
        whole: bool,
    ) -> Result<Self, Problem> {
        // Without chunked coding, only the length shows a client of HTTP/1.0 whether it has everything.
        let has_chunks = request.version() >= Version::HTTP_11;
        if file_type.is_streamed() && has_chunks && !whole {
            let coding = Coding::choose(request, app.settings.compression);
            return Ok(Self::Streamed(coding));
        }
        match &app.settings.spool {
            Some(spool) => Ok(Self::Whole(Arc::clone(spool))),
            None => {
                let detail = "this service has no spool, in which a workbook is made, and any file whose length is wanted: \
                              export CSV or JSON lines without `whole=true`, over HTTP/1.1";
                Err(Problem::with_detail(Kind::SpoolFull, detail))
            }
        }
    }

    /// How it is compressed on the way. A file that is made first is not: a workbook is compressed itself, and the length of others must be
    /// that of the file, by which its client checks what it has.
    fn coding(&self) -> Option<Coding> {
        match self {
            Self::Streamed(coding) => *coding,
            Self::Whole(_) => None,
        }
    }
}

/// The permits that a download holds.
struct Permits {
    /// For the database, until the export no longer needs it.
    export: OwnedSemaphorePermit,
    /// For a download, until everything is handed on.
    download: OwnedSemaphorePermit,
}

impl Permits {
    fn take(app: &App) -> Result<Self, Problem> {
        let download = permit_for_download(app)?;
        let export = Arc::clone(&app.permits).try_acquire_owned().map_err(|_| {
            app.metrics.rejected(Rejection::Busy);
            Problem::new(Kind::Busy)
        })?;
        Ok(Self { export, download })
    }
}

/// Takes a permit for a download.
pub(crate) fn permit_for_download(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    let permits = Arc::clone(&app.download_permits);
    permits.try_acquire_owned().map_err(|_| {
        app.metrics.rejected(Rejection::Downloads);
        Problem::with_detail(Kind::Busy, "too many downloads are under way")
    })
}

/// The options of a download.
struct Query {
    /// Given by the client, or new.
    id: String,
    /// Whether it must have all that the primary has now.
    fresh: bool,
    /// Whether it is to be made first, so that its length is known.
    whole: bool,
    parameters: Parameters,
}

impl Query {
    fn read(query: &str, dataset: &OfDataset, file_type: FileType) -> Result<Self, Problem> {
        let mut query = QueryString::parse(query)?;
        let id = match query.take("export_id")? {
            None => format!("{:032x}", rand::random::<u128>()),
            Some(id) if is_id(&id) => id.into_owned(),
            Some(_) => {
                return Err(invalid(
                    "export_id",
                    "1 to 64 characters of A-Z, a-z, 0-9, `-` and `_`",
                ));
            }
        };
        let fresh = query.take_bool("fresh")?.unwrap_or(false);
        let whole = query.take_bool("whole")?.unwrap_or(false);
        Ok(Self {
            id,
            fresh,
            whole,
            parameters: Parameters::from_pairs(&dataset.0, file_type, query.rest())?,
        })
    }
}

/// Whether it may be an id.
pub fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
