//! A file, or a part of it, as a response's body: read in pieces while it is sent.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use actix_web::rt::task::spawn_blocking;
use bytes::Bytes;

use crate::connections::client_socket::{ClientSocket, Unfinished};
use diesel_export::spool::SpoolFile;
use diesel_export::stall_detector::StallDetector;

/// Bytes that are read, and handed on, at a time: the client's progress shows no finer.
pub(crate) const PIECE: u64 = 64 * 1024;

/// A piece that is being read.
pub(crate) type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>>>>;

/// Begins to read the first piece of a range.
pub(crate) fn read(file: &Arc<SpoolFile>, range: &Range<u64>) -> Reading {
    let (file, offset) = (Arc::clone(file), range.start);
    let length = (range.end - offset).min(PIECE) as usize;
    // If the system no longer has it in memory, this waits for the disk, and must not block other requests.
    let piece = spawn_blocking(move || file.read_at(length, offset));
    Box::pin(async { Ok(piece.await.map_err(io::Error::other)??.into()) })
}

/// The body. `ended` is told how it has ended, and only dropped if the client has disconnected.
pub(crate) struct FileStream<F> {
    file: Arc<SpoolFile>,
    /// What is left to send.
    range: Range<u64>,
    reading: Option<Reading>,
    flow: Arc<StallDetector>,
    unfinished: Option<Unfinished>,
    ended: F,
}

impl<F: FnMut(Result<(), &io::Error>) + Unpin> FileStream<F> {
    /// Begins to send a part of a file.
    pub(crate) fn begin(
        file: Arc<SpoolFile>,
        range: Range<u64>,
        flow: Arc<StallDetector>,
        client: Option<ClientSocket>,
        ended: F,
    ) -> Self {
        flow.offered(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
        let mut stream = Self {
            file,
            range,
            reading: None,
            flow,
            unfinished: Some(Unfinished::begin(client)),
            ended,
        };
        // Nobody asks for a piece of an empty file.
        if stream.range.is_empty() {
            stream.finish();
        }
        stream
    }

    /// The client knows now that it has everything, and may go away.
    fn finish(&mut self) {
        if let Some(unfinished) = self.unfinished.take() {
            unfinished.finish();
            (self.ended)(Ok(()));
        }
    }
}

impl<F: FnMut(Result<(), &io::Error>) + Unpin> MessageBody for FileStream<F> {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.range.end - self.range.start)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        let body = self.get_mut();
        body.flow.asked();
        if body.range.is_empty() {
            return Poll::Ready(None);
        }
        // The connection may close in good order as soon as the last piece is handed on: so all before it must be written.
        if body.range.end - body.range.start <= PIECE
            && body.reading.is_none()
            && let Some(unfinished) = &mut body.unfinished
        {
            ready!(unfinished.poll_written(context));
        }
        let reading = body
            .reading
            .get_or_insert_with(|| read(&body.file, &body.range));
        let piece = ready!(reading.as_mut().poll(context));
        body.reading = None;
        match &piece {
            Ok(piece) => {
                body.flow.handed(piece.len());
                body.range.start += piece.len() as u64;
                if body.range.is_empty() {
                    body.finish();
                }
            }
            Err(error) => {
                body.unfinished = None;
                (body.ended)(Err(error));
            }
        }
        Poll::Ready(Some(piece))
    }
}
