//! `GET /tasks.csv`: an export as a response that is streamed while it is made.
//!
//! Three parties: a thread of its own makes the CSV; a bounded channel takes it to the response's [body](Body), so that a slow
//! client slows the export down, to the query on the server, and fills no memory; and a [watch](watch()) stops it all when the
//! client goes away or takes nothing, or when somebody says so. The body ends cleanly only if the export says that it is whole;
//! in every other case it ends with an error, at which the server breaks the connection off.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::App;
use super::metrics::Rejection;
use super::peer::Peer;
use super::problem::{Kind, Problem, ProblemBody};
use super::registry::Known;
use crate::export::cancellation::Cancellation;
use crate::export::manifest::{ErrorClass, RecordingSink, State};
use crate::export::parameters::{Pair, Parameters};
use crate::export::{self, Export, Sink};

/// Chunks that wait for the client: what an export holds in memory beyond the chunk that it is making.
const QUEUE: usize = 4;
/// Bytes that the body hands on at a time: whether a client takes anything shows no finer.
const PIECE: usize = 16 * 1024;
/// Time that the response waits for the export's first bytes, so that a failure before them gets a status of its own. Not for
/// ever: some proxy on the way may want to see a response's head.
const FIRST_BYTES_WAIT: Duration = Duration::from_secs(20);
/// Time between two looks at the client.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// What the export's thread tells the response.
enum Message {
    Chunk(Bytes),
    /// All is sent, and the CSV is whole.
    Whole,
    Failed(export::Error),
}

/// The tasks as CSV, streamed.
#[utoipa::path(
    get,
    path = "/tasks.csv",
    params(Parameters, ("export_id" = Option<String>, Query, description = "An id for the export: 1 to 64 of A-Z a-z 0-9 - _")),
    responses(
        (status = 200, description = "The CSV. It is whole only if the response ends with its final chunk", content_type = "text/csv",
         body = String, headers(("X-Export-Id", description = "The export's id"), ("X-Export-Strategy", description = "The strategy that ran"))),
        (status = 409, description = "There is another export of this id, or it was stopped before its first byte",
         content_type = "application/problem+json", body = ProblemBody<'static>),
        (status = 422, description = "Too many rows for this strategy", content_type = "application/problem+json", body = ProblemBody<'static>),
    )
)]
pub(super) async fn tasks_csv(
    request: HttpRequest,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let (id, parameters) = read_query(request.query_string())?;
    let export = parameters.into_export(app.settings.limits);
    let permit = Arc::clone(&app.permits).try_acquire_owned().map_err(|_| {
        app.metrics.rejected(Rejection::Busy);
        Problem::new(Kind::Busy)
    })?;
    let known = app
        .exports
        .begin(id, &export)
        .ok_or_else(|| Problem::new(Kind::ExportIdTaken))?;
    let (record, strategy) = (Arc::clone(&known.record), export.strategy);

    let peer = request.conn_data::<Peer>().cloned();
    let mut body = start(export, known, Arc::new(permit), peer, app.into_inner());
    match rt::time::timeout(FIRST_BYTES_WAIT, body.receiver.recv()).await {
        Ok(Some(Message::Failed(error))) => {
            body.end(Some(&error));
            return Err(error.into());
        }
        Ok(None) => {
            body.end_without_a_word();
            return Err(Problem::new(Kind::Internal));
        }
        Ok(message) => body.next = message,
        Err(_elapsed) => {}
    }
    let milliseconds = record.started().elapsed().as_secs_f64() * 1e3;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/csv; charset=utf-8; header=present"))
        .insert_header((
            CONTENT_DISPOSITION,
            "attachment; filename=\"tasks.csv\"; filename*=UTF-8''tasks.csv",
        ))
        // No cache keeps it, and nothing on the way packs it, holds it back or changes it.
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header(("X-Export-Id", record.id()))
        .insert_header(("X-Export-Strategy", strategy.name()))
        .insert_header((
            "Server-Timing",
            format!("first-bytes;dur={milliseconds:.1}"),
        ))
        .body(body))
}

/// The export's id, given by the client or new, and its parameters.
fn read_query(query: &str) -> Result<(String, Parameters), Problem> {
    let invalid = |detail| Problem::with_detail(Kind::InvalidParameter, detail);
    // The parser below would replace what is not UTF-8, and the filter would be another one than was asked for.
    if percent_encoding::percent_decode_str(query)
        .decode_utf8()
        .is_err()
    {
        return Err(invalid("the query is not UTF-8"));
    }
    let (ids, pairs): (Vec<Pair<'_>>, Vec<_>) =
        form_urlencoded::parse(query.as_bytes()).partition(|(name, _)| name == "export_id");
    let id = match ids.as_slice() {
        [] => format!("{:032x}", rand::random::<u128>()),
        [(_, id)] if is_id(id) => id.clone().into_owned(),
        [_] => {
            return Err(invalid(
                "`export_id`: 1 to 64 characters of A-Z, a-z, 0-9, `-` and `_`",
            ));
        }
        _ => return Err(invalid("`export_id`: given more than once")),
    };
    Ok((id, Parameters::from_pairs(pairs)?))
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
    known: Known,
    permit: Arc<OwnedSemaphorePermit>,
    peer: Option<Peer>,
    app: Arc<App>,
) -> Body {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let flow = Arc::new(Flow::default());
    let cancellation = Cancellation::default();
    let body = Body {
        receiver,
        next: None,
        known: known.clone(),
        over: CancellationToken::new(),
        flow: Arc::clone(&flow),
        cancellation: cancellation.clone(),
        app: Arc::clone(&app),
        _permit: Arc::clone(&permit),
    };
    app.metrics.started();
    rt::spawn(watch(
        body.over.clone(),
        known.clone(),
        Arc::clone(&flow),
        peer,
        cancellation.clone(),
        Arc::clone(&app),
    ));
    rt::task::spawn_blocking(move || {
        // Held until the thread is through with the database, also where the client has long gone.
        let _permit = permit;
        let mut channel = ChannelSink {
            sender: &sender,
            flow: &flow,
        };
        let mut sink = RecordingSink::new(&mut channel, &known.record);
        let message = match export::run(&export, &app.database, &cancellation, &mut sink) {
            Ok(_summary) => {
                sink.finish();
                Message::Whole
            }
            Err(error) => {
                tracing::warn!(export_id = known.record.id(), %error, "the export broke off");
                Message::Failed(error)
            }
        };
        // Nobody listens where the client has gone.
        let _ = sender.blocking_send(message);
    });
    body
}

/// Stops an export when its client goes away or takes nothing, or when somebody says so.
async fn watch(
    over: CancellationToken,
    known: Known,
    flow: Arc<Flow>,
    peer: Option<Peer>,
    cancellation: Cancellation,
    app: Arc<App>,
) {
    let (state, error) = loop {
        tokio::select! {
            () = over.cancelled() => return,
            () = known.stop.cancelled() => break (State::Cancelled, None),
            () = rt::time::sleep(WATCH_INTERVAL) => {}
        }
        if peer.as_ref().is_some_and(Peer::is_gone) {
            break (State::Cancelled, None);
        }
        if flow.stalled_for() > app.settings.reader_timeout {
            break (State::Failed, Some(ErrorClass::ReaderTimeout));
        }
    };
    app.export_ended(&known, state, error);
    cancel(cancellation);
    if let Some(peer) = peer {
        peer.abort();
    }
}

/// Stops an export without waiting until it has stopped.
fn cancel(cancellation: Cancellation) {
    // A plain thread: when the server shuts down, this happens where no runtime is left.
    let thread = std::thread::Builder::new().name("cancel-export".into());
    if let Err(error) = thread.spawn(move || cancellation.cancel()) {
        tracing::error!(%error, "no thread to cancel an export: it ends with its next bytes");
    }
}

/// How the chunks go from the export to the client.
#[derive(Default)]
struct Flow(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Chunks that wait for the client.
    chunks: usize,
    /// Since when they have been waiting, or when it last took something.
    since: Option<Instant>,
}

impl Flow {
    fn with<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn offered(&self) {
        self.with(|waiting| {
            if waiting.chunks == 0 {
                waiting.since = Some(Instant::now());
            }
            waiting.chunks += 1;
        });
    }

    fn took_piece(&self, last_of_chunk: bool) {
        self.with(|waiting| {
            waiting.since = Some(Instant::now());
            waiting.chunks -= usize::from(last_of_chunk && waiting.chunks > 0);
        });
    }

    /// How long the client has taken nothing of what waits for it.
    fn stalled_for(&self) -> Duration {
        self.with(|waiting| match waiting.since {
            Some(since) if waiting.chunks > 0 => since.elapsed(),
            _ => Duration::ZERO,
        })
    }
}

/// Sends the chunks to the response, and waits while it has enough of them.
struct ChannelSink<'a> {
    sender: &'a mpsc::Sender<Message>,
    flow: &'a Flow,
}

impl Sink for ChannelSink<'_> {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        self.flow.offered();
        self.sender
            .blocking_send(Message::Chunk(chunk))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone"))
    }
}

/// The response's body. Dropped before its end, because the client has gone, it cancels the export.
struct Body {
    receiver: mpsc::Receiver<Message>,
    /// What was received, but not yet handed on.
    next: Option<Message>,
    known: Known,
    /// Cancelled at the end, however it comes.
    over: CancellationToken,
    flow: Arc<Flow>,
    cancellation: Cancellation,
    app: Arc<App>,
    /// Held until the client has all: what waits for it is memory.
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Body {
    /// Notes how the export has ended: whole, or with an error.
    fn end(&self, error: Option<&export::Error>) {
        let (state, class) = match error {
            None => (State::Complete, None),
            Some(error) => match error.class() {
                None => (State::Cancelled, None),
                // The output is the client.
                Some(ErrorClass::Output) => (State::Cancelled, None),
                class => (State::Failed, class),
            },
        };
        self.app.export_ended(&self.known, state, class);
        self.over.cancel();
    }

    /// Notes that the export's thread has panicked: what was sent may look whole, but is not.
    fn end_without_a_word(&self) {
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
            None => ready!(body.receiver.poll_recv(context)),
        };
        Poll::Ready(match message {
            Some(Message::Chunk(mut chunk)) => {
                let piece = chunk.split_to(chunk.len().min(PIECE));
                body.flow.took_piece(chunk.is_empty());
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
