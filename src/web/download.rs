//! `GET /{dataset}.csv`: an export as a response that is streamed while it is made.
//!
//! Three parties: a thread of its own makes the CSV; a [handover](super::handover) takes it to the response's [body](Body), by way of
//! the disk if the client is slow, so that it holds no query and fills no memory; and a [watch](Watch) stops it all when the client
//! goes away or takes nothing, when the server does not answer, or when somebody says so. The body ends cleanly only if the export says that it is whole;
//! in every other case it ends with an error, at which the server breaks the connection off.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::Version;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, VARY,
};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::compression::{Coding, CompressingSink};
use super::filename::content_disposition;
use super::flow::Flow;
use super::handover::{Deputy, Message, Receiver, Sender, handover};
use super::metrics::Rejection;
use super::peer::Peer;
use super::problem::{EXPORT_ID, Kind, Problem};
use super::query_string::{QueryString, invalid};
use super::registry::Known;
use super::{App, OfDataset};
use crate::cli::Compression;
use crate::db;
use crate::db::servers::Servers;
use crate::export::cancellation::Cancellation;
use crate::export::manifest::{ErrorClass, State};
use crate::export::parameters::Parameters;
use crate::export::record::Record;
use crate::export::{self, Export, Sink, routing};

/// Bytes that the body hands on at a time: whether a client takes anything shows no finer.
const PIECE: usize = 64 * 1024;
/// Time that the response waits for the export's first bytes, so that a failure before them gets a status of its own. Not for
/// ever: some proxy on the way may want to see a response's head.
const FIRST_BYTES_WAIT: Duration = Duration::from_secs(20);
/// Time between two looks at the client.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// The type of a download.
const CSV: &str = "text/csv; charset=utf-8; header=present";
/// No cache keeps it, and nothing on the way packs or changes it.
const UNTOUCHED: &str = "no-store, no-transform";

/// The rows as CSV, streamed.
pub(super) async fn csv(
    request: HttpRequest,
    app: web::Data<App>,
    dataset: OfDataset,
) -> Result<HttpResponse, Problem> {
    let Query {
        id,
        fresh,
        parameters,
    } = Query::read(request.query_string(), &dataset)?;
    // HTTP/1.0 has no chunks: its client would have their lengths in the file or, without them, no way to see that it is cut short.
    if request.version() < Version::HTTP_11 {
        return Err(Problem::new(Kind::HttpVersion));
    }
    let export = parameters.into_export(app.settings.limits);
    let disposition = content_disposition(&export.filter, OffsetDateTime::now_utc());
    let permits = Permits::take(&app)?;
    let known = app
        .exports
        .begin(id, &export, app.settings.is_demonstration)
        .ok_or_else(|| Problem::new(Kind::ExportIdTaken))?;
    let record = Arc::clone(&known.record);

    let peer = request.conn_data::<Peer>().cloned();
    let compression = app.settings.compression;
    let coding = Coding::choose(&request, compression);
    let app = app.into_inner();
    let mut body = start(export, fresh, known, permits, peer, coding, app);
    match rt::time::timeout(FIRST_BYTES_WAIT, body.receiver.next()).await {
        Ok(Some(Message::Failed(error))) => {
            body.end(Some(&error));
            return Err(Problem::from(error).of_export(record.id()));
        }
        Ok(None) => {
            body.end_without_a_word();
            return Err(Problem::new(Kind::Internal).of_export(record.id()));
        }
        Ok(message) => body.next = message,
        Err(_elapsed) => {}
    }
    // Known once there are bytes: until then, it may yet be another server.
    let source = record.manifest().source.filter(|_| body.next.is_some());
    body.response_begun.store(true, Ordering::Relaxed);
    // The strategy actually used, known since before the first bytes.
    let manifest = record.manifest();
    let milliseconds = record.started().elapsed().as_secs_f64() * 1e3;
    let mut response = HttpResponse::Ok();
    if let Some(source) = source {
        response.insert_header(("X-Export-Source", source.name()));
    }
    if let Some(coding) = coding {
        response.insert_header((CONTENT_ENCODING, coding.name()));
    }
    if compression != Compression::Off {
        response.insert_header((VARY, "Accept-Encoding"));
    }
    Ok(response
        .insert_header((CONTENT_TYPE, CSV))
        .insert_header((CONTENT_DISPOSITION, disposition))
        // No cache keeps it, and nothing on the way packs it, holds it back or changes it.
        .insert_header((CACHE_CONTROL, UNTOUCHED))
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header((EXPORT_ID, record.id()))
        .insert_header(("X-Export-Strategy", manifest.strategy.name()))
        .insert_header((
            "Server-Timing",
            format!("first-bytes;dur={milliseconds:.1}"),
        ))
        .body(body))
}

/// The places that a download takes.
struct Permits {
    /// On the database, until the export is through with it.
    export: OwnedSemaphorePermit,
    /// Among the downloads, until all is handed on.
    download: OwnedSemaphorePermit,
}

impl Permits {
    fn take(app: &App) -> Result<Self, Problem> {
        let download = Arc::clone(&app.download_permits);
        let download = download.try_acquire_owned().map_err(|_| {
            app.metrics.rejected(Rejection::Downloads);
            Problem::with_detail(Kind::Busy, "as many downloads as are allowed are under way")
        })?;
        let export = Arc::clone(&app.permits).try_acquire_owned().map_err(|_| {
            app.metrics.rejected(Rejection::Busy);
            Problem::new(Kind::Busy)
        })?;
        Ok(Self { export, download })
    }
}

/// What a download would be, without the export: nothing is asked of the database.
pub(super) async fn csv_head(
    request: HttpRequest,
    dataset: OfDataset,
) -> Result<HttpResponse, Problem> {
    let query = Query::read(request.query_string(), &dataset)?;
    let disposition = content_disposition(&query.parameters.filter, OffsetDateTime::now_utc());
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, CSV))
        .insert_header((CONTENT_DISPOSITION, disposition))
        .insert_header((CACHE_CONTROL, UNTOUCHED))
        // Of the CSV, nobody knows the length before it is made.
        .body(Unsent))
}

/// The body of a response to HEAD whose length is not known.
struct Unsent;

impl MessageBody for Unsent {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        Poll::Ready(None)
    }
}

/// What a download is asked for with.
struct Query {
    /// Given by the client, or new.
    id: String,
    /// Whether it must have all that the primary has now.
    fresh: bool,
    parameters: Parameters,
}

impl Query {
    fn read(query: &str, dataset: &OfDataset) -> Result<Self, Problem> {
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
        Ok(Self {
            id,
            fresh,
            parameters: Parameters::from_pairs(dataset.0, query.rest())?,
        })
    }
}

/// Whether it may be an id.
pub(super) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Starts an export in a thread of its own, and the watch over it.
fn start(
    export: Export,
    fresh: bool,
    known: Known,
    permits: Permits,
    peer: Option<Peer>,
    coding: Option<Coding>,
    app: Arc<App>,
) -> Body {
    let (sender, receiver) = handover(
        known.record.id(),
        app.settings.spool.clone(),
        Arc::clone(&app.metrics),
    );
    let flow = Arc::new(Flow::default());
    let cancellation = Cancellation::default();
    let place = Arc::new(Place(Mutex::new(Some(permits.export))));
    let body = Body {
        receiver,
        next: None,
        known: known.clone(),
        over: CancellationToken::new(),
        flow: Arc::clone(&flow),
        cancellation: cancellation.clone(),
        response_begun: Arc::default(),
        app: Arc::clone(&app),
        permit: Some(permits.download),
    };
    app.metrics.started();
    let watch = Watch {
        known: known.clone(),
        flow: Arc::clone(&flow),
        peer,
        cancellation: cancellation.clone(),
        response_begun: Arc::clone(&body.response_begun),
        sender: sender.deputy(),
        place: Arc::downgrade(&place),
        app: Arc::clone(&app),
    };
    rt::spawn(watch.over(body.over.clone()));
    // A thread of its own, and not one of actix's blocking ones: those answer /readyz, and a long query holds this one long.
    let thread = std::thread::Builder::new().name("export".into());
    let spawned = thread.spawn(move || {
        let mut sender = sender;
        let mut channel = HandoverSink {
            sender: &mut sender,
            flow: &flow,
        };
        let outcome = make(
            &export,
            fresh,
            &app.servers,
            &cancellation,
            &mut channel,
            coding,
            &known.record,
        );
        let message = match outcome {
            Ok(()) => Message::Whole,
            Err(error) => {
                tracing::warn!(export_id = known.record.id(), %error, "the export broke off");
                Message::Failed(error)
            }
        };
        // Held until here, where the thread is through with the database, also if the client has long gone, but not until a slow
        // one has taken all. Before the last message: who asks again as soon as a download has ended must find the place free.
        drop(place);
        sender.end(message);
    });
    if let Err(error) = spawned {
        // The body, too, finds out: there is no sender.
        tracing::error!(%error, "no thread for an export");
    }
    body
}

/// Makes the CSV, and compresses it after it was recorded: the manifest tells of the CSV itself.
fn make(
    export: &Export,
    fresh: bool,
    servers: &Servers,
    cancellation: &Cancellation,
    channel: &mut HandoverSink<'_>,
    coding: Option<Coding>,
    record: &Record,
) -> Result<(), export::Error> {
    let flow = channel.flow;
    let mut compressing = CompressingSink::new(channel, coding).map_err(export::Error::Sink)?;
    record.of(&mut compressing, |sink| {
        routing::run(export, servers, fresh, cancellation, &(record, flow), sink)
    })?;
    compressing.finish().map_err(export::Error::Sink)
}

/// An export's place among those that may run at once.
struct Place(Mutex<Option<OwnedSemaphorePermit>>);

impl Place {
    /// Lets another export have it.
    fn free(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Stops an export when its client goes away or takes nothing, when its server does not answer, or when somebody says so.
struct Watch {
    known: Known,
    flow: Arc<Flow>,
    peer: Option<Peer>,
    cancellation: Cancellation,
    response_begun: Arc<AtomicBool>,
    sender: Deputy,
    /// Weak: it goes with the export's thread.
    place: Weak<Place>,
    app: Arc<App>,
}

impl Watch {
    async fn over(self, over: CancellationToken) {
        let (state, error) = loop {
            tokio::select! {
                biased;
                () = over.cancelled() => return,
                () = self.known.stop.cancelled() => break (State::Cancelled, None),
                () = rt::time::sleep(WATCH_INTERVAL) => {}
            }
            if self.peer.as_ref().is_some_and(Peer::is_gone) {
                break (State::Cancelled, None);
            }
            if self.flow.stalled_for() > self.app.settings.reader_timeout {
                break (State::Failed, Some(ErrorClass::ReaderTimeout));
            }
            if self.flow.is_dried_up(&self.app.servers) {
                break (State::Failed, Some(ErrorClass::DatabaseUnavailable));
            }
        };
        self.app.export_ended(&self.known, state, error);
        cancel(self.cancellation.clone());
        if error == Some(ErrorClass::DatabaseUnavailable) {
            self.abandon();
        }
        // Before there is a response, the handler answers with what has happened.
        if let (Some(peer), true) = (&self.peer, self.response_begun.load(Ordering::Relaxed)) {
            peer.abort();
        }
    }

    /// Speaks for the export's thread, which waits for its server, maybe for ever, and cannot be woken: it keeps its connection, and
    /// with it one of so many, until the server answers or the system gives the connection up; but not its place.
    fn abandon(&self) {
        tracing::warn!(
            export_id = self.known.record.id(),
            "the export's server does not answer: its thread is left behind"
        );
        if let Some(place) = self.place.upgrade() {
            place.free();
        }
        let error = db::Error::Connect("the server does not answer".into());
        self.sender.end(Message::Failed(error.into()));
    }
}

/// Stops an export without waiting until it has stopped.
pub(super) fn cancel(cancellation: Cancellation) {
    // A plain thread: when the server shuts down, this happens where no runtime is left.
    let thread = std::thread::Builder::new().name("cancel-export".into());
    if let Err(error) = thread.spawn(move || cancellation.cancel()) {
        tracing::error!(%error, "no thread to cancel an export: it ends with its next bytes");
    }
}

/// Hands the chunks over to the response.
struct HandoverSink<'a> {
    sender: &'a mut Sender,
    flow: &'a Flow,
}

impl Sink for HandoverSink<'_> {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        // In chunked coding, an empty chunk is the end: what came after it would be lost, and nobody would notice.
        if chunk.is_empty() {
            return Ok(());
        }
        self.flow.offered(chunk.len());
        self.sender.chunk(chunk)
    }
}

/// The response's body. Dropped before its end, because the client has gone, it cancels the export.
struct Body {
    receiver: Receiver,
    /// What was received, but not yet handed on.
    next: Option<Message>,
    known: Known,
    /// Cancelled at the end, however it comes.
    over: CancellationToken,
    flow: Arc<Flow>,
    cancellation: Cancellation,
    /// Whether the response's head is on its way.
    response_begun: Arc<AtomicBool>,
    app: Arc<App>,
    /// Held until all is handed on: what waits for the client is memory, or disk.
    permit: Option<OwnedSemaphorePermit>,
}

impl Body {
    /// Notes how the export has ended: whole, or with an error.
    fn end(&mut self, error: Option<&export::Error>) {
        self.permit = None;
        let (state, class) = match error {
            None => (State::Complete, None),
            Some(error) => match error.end() {
                // The output is the client.
                (_, Some(ErrorClass::Output)) => (State::Cancelled, None),
                end => end,
            },
        };
        self.app.export_ended(&self.known, state, class);
        self.over.cancel();
    }

    /// Notes that a part of the CSV is lost.
    fn end_lost(&mut self, error: &io::Error) {
        self.permit = None;
        let export_id = self.known.record.id();
        tracing::error!(export_id, %error, "what was spooled cannot be read");
        self.app
            .export_ended(&self.known, State::Failed, Some(ErrorClass::Output));
        self.over.cancel();
        cancel(self.cancellation.clone());
    }

    /// Notes that the export's thread has panicked: what was sent may look whole, but is not.
    fn end_without_a_word(&mut self) {
        self.permit = None;
        tracing::error!(
            export_id = self.known.record.id(),
            "the export's thread ended without a word"
        );
        self.app
            .export_ended(&self.known, State::Failed, Some(ErrorClass::Internal));
        self.over.cancel();
    }
}

impl MessageBody for Body {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        let body = self.get_mut();
        let message = match body.next.take() {
            Some(message) => Some(message),
            None => ready!(body.receiver.poll(context)),
        };
        Poll::Ready(match message {
            Some(Message::Chunk(mut chunk)) => {
                let piece = chunk.split_to(chunk.len().min(PIECE));
                body.flow.took(piece.len());
                body.next = (!chunk.is_empty()).then_some(Message::Chunk(chunk));
                Some(Ok(piece))
            }
            Some(Message::Whole) => {
                body.end(None);
                None
            }
            Some(Message::Failed(error)) => {
                body.end(Some(&error));
                Some(Err(io::Error::other(error)))
            }
            Some(Message::Lost(error)) => {
                body.end_lost(&error);
                Some(Err(error))
            }
            None => {
                body.end_without_a_word();
                Some(Err(io::Error::other(
                    "the export's thread ended without a word",
                )))
            }
        })
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.over.is_cancelled() {
            self.receiver.close();
            self.app.export_ended(&self.known, State::Cancelled, None);
            self.over.cancel();
            cancel(self.cancellation.clone());
        }
    }
}
