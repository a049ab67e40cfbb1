//! `GET /tasks.csv`: an export as a response that is streamed while it is made.
//!
//! A thread of its own makes the CSV; a bounded channel takes it to the response's body, so that a slow client slows the
//! export down, to the query on the server, and fills no memory. The body ends cleanly only if the export says that it is
//! whole; in every other case it ends with an error, at which the server breaks the connection off.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::problem::{Kind, Problem};
use crate::db::Database;
use crate::export::cancellation::Cancellation;
use crate::export::parameters::{Pair, Parameters};
use crate::export::{self, Export, Sink};

/// Chunks that wait for the client: what an export holds in memory beyond the chunk that it is making.
const QUEUE: usize = 4;
/// Time that the response waits for the export's first bytes, so that an early failure gets a status of its own. Not longer:
/// actix notices that a client has gone only once the response is on its way.
const FIRST_BYTES_WAIT: Duration = Duration::from_millis(500);

/// What the export's thread tells the response.
enum Message {
    Chunk(Bytes),
    /// All is sent, and the CSV is whole.
    Whole,
    Failed(export::Error),
}

/// Answers with the CSV.
pub(super) async fn tasks_csv(
    request: HttpRequest,
    database: web::Data<Database>,
) -> Result<HttpResponse, Problem> {
    let started = Instant::now();
    let (id, parameters) = read_query(request.query_string())?;
    let export = Export::from(parameters);
    let strategy = export.strategy;

    let mut body = start(export, database.get_ref().clone(), id.clone());
    match rt::time::timeout(FIRST_BYTES_WAIT, body.receiver.recv()).await {
        Ok(Some(Message::Failed(error))) => return Err(error.into()),
        Ok(None) => {
            tracing::error!(export_id = id, "the export's thread ended without a word");
            return Err(Problem::new(Kind::Internal));
        }
        Ok(message) => body.first = message,
        Err(_elapsed) => {}
    }
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/csv; charset=utf-8; header=present"))
        .insert_header((
            CONTENT_DISPOSITION,
            "attachment; filename=\"tasks.csv\"; filename*=UTF-8''tasks.csv",
        ))
        // No cache keeps it, and nothing on the way packs it, holds it back or changes it.
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header(("X-Export-Id", id))
        .insert_header(("X-Export-Strategy", strategy.name()))
        .insert_header((
            "Server-Timing",
            format!(
                "first-bytes;dur={:.1}",
                started.elapsed().as_secs_f64() * 1e3
            ),
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
        [(_, id)] if is_export_id(id) => id.clone().into_owned(),
        [_] => {
            return Err(invalid(
                "`export_id`: 1 to 64 characters of A-Z, a-z, 0-9, `-` and `_`",
            ));
        }
        _ => return Err(invalid("`export_id`: given more than once")),
    };
    Ok((id, Parameters::from_pairs(pairs)?))
}

fn is_export_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Starts an export in a thread of its own.
fn start(export: Export, database: Database, id: String) -> Body {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let cancellation = Cancellation::default();
    let body = Body {
        receiver,
        first: None,
        over: false,
        cancellation: cancellation.clone(),
    };
    rt::task::spawn_blocking(move || {
        let outcome = export::run(&export, &database, &cancellation, &mut ChannelSink(&sender));
        let message = match outcome {
            Ok(summary) => {
                tracing::info!(
                    export_id = id,
                    rows = summary.rows,
                    bytes = summary.bytes,
                    "the export is whole"
                );
                Message::Whole
            }
            Err(error) => {
                tracing::warn!(export_id = id, %error, "the export failed");
                Message::Failed(error)
            }
        };
        // Nobody listens where the client has gone.
        let _ = sender.blocking_send(message);
    });
    body
}

/// Sends the chunks to the response, and waits while it has enough of them.
struct ChannelSink<'a>(&'a mpsc::Sender<Message>);

impl Sink for ChannelSink<'_> {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        self.0
            .blocking_send(Message::Chunk(chunk))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone"))
    }
}

/// The response's body. Dropped before its end, because the client has gone, it cancels the export.
struct Body {
    receiver: mpsc::Receiver<Message>,
    first: Option<Message>,
    over: bool,
    cancellation: Cancellation,
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
        let message = match body.first.take() {
            Some(first) => Some(first),
            None => std::task::ready!(body.receiver.poll_recv(context)),
        };
        body.over = !matches!(message, Some(Message::Chunk(_)));
        Poll::Ready(match message {
            Some(Message::Chunk(chunk)) => Some(Ok(chunk)),
            Some(Message::Whole) => None,
            Some(Message::Failed(error)) => Some(Err(io::Error::other(error))),
            // The thread panicked: what was sent looks whole, but is not.
            None => Some(Err(io::Error::other(
                "the export's thread ended without a word",
            ))),
        })
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.over {
            self.receiver.close();
            let cancellation = self.cancellation.clone();
            // A plain thread: when the server shuts down, bodies are dropped where no runtime is left.
            let thread = std::thread::Builder::new().name("cancel-export".into());
            if let Err(error) = thread.spawn(move || cancellation.cancel()) {
                tracing::error!(%error, "no thread to cancel an export: it ends with its next bytes");
            }
        }
    }
}
