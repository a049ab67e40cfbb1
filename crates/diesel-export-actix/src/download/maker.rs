//! Who makes a download, in a thread of its own: streamed, or whole in the spool.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::download::compression::{Coding, CompressingSink};
use crate::download::handover::Sender;
use crate::download::stall_detector::StallDetector;
use crate::download::supervisor::Place;
use diesel_export::cancellation::Cancellation;
use diesel_export::db::servers::Servers;
use diesel_export::record::Record;
use diesel_export::spool::{Spool, SpoolFile, SpoolSink, or_full};
use diesel_export::{self as export, Export, Sink, routing};

/// Makes one export.
pub(crate) struct Maker<'a> {
    pub(crate) export: &'a Export,
    pub(crate) fresh: bool,
    pub(crate) servers: &'a Servers,
    pub(crate) cancellation: &'a Cancellation,
    pub(crate) record: &'a Record,
    pub(crate) flow: &'a StallDetector,
}

impl Maker<'_> {
    /// Hands it over as it is made; compressed after it was recorded: the manifest tells of the file itself.
    pub(crate) fn stream(
        &self,
        sender: &mut Sender,
        coding: Option<Coding>,
    ) -> Result<(), export::Error> {
        let flow = self.flow;
        let mut channel = HandoverSink { sender, flow };
        let mut compressing =
            CompressingSink::new(&mut channel, coding).map_err(export::Error::Sink)?;
        self.run(&mut compressing)?;
        compressing.finish().map_err(export::Error::Sink)
    }

    /// Makes all of it in the spool; returns the file and its length.
    pub(crate) fn spool(
        &self,
        spool: &Arc<Spool>,
        place: &Place,
    ) -> Result<(Arc<SpoolFile>, u64), export::Error> {
        let file = spool.unnamed().map_err(or_full);
        let mut sink = SpoolSink::new(file.map_err(export::Error::Sink)?);
        place.fills(sink.file());
        self.run(&mut sink)?;
        Ok(sink.into_file())
    }

    fn run(&self, sink: &mut dyn Sink) -> Result<(), export::Error> {
        let observer = (self.record, self.flow);
        self.record.of(sink, |sink| {
            routing::run(
                self.export,
                self.servers,
                self.fresh,
                self.cancellation,
                &observer,
                sink,
            )
        })?;
        Ok(())
    }
}

/// Hands the chunks over to the response.
struct HandoverSink<'a> {
    sender: &'a mut Sender,
    flow: &'a StallDetector,
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
