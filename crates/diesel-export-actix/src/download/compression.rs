//! Compression of a download, in the export's own thread: a middleware would hold the stream back.

use std::io::{self, Write};

use actix_web::HttpRequest;
use actix_web::http::header::{self, Encoding, Header};
use bytes::Bytes;
use strum::{Display, EnumMessage, EnumString, IntoStaticStr, VariantArray};

use crate::access::client_address::client_address;
use crate::access::is_loopback_name;
use diesel_export::Sink;

/// When downloads are compressed.
#[derive(Display, EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// unless the client is on this machine, where it costs more time than it saves; what a proxy on this machine passes on (it has
    /// Forwarded, X-Forwarded-For or Via, or the name of another host) is not from this machine
    #[default]
    Auto,
    /// never
    Off,
    /// whenever the client takes it
    On,
}

/// How a download is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Zstd,
    Gzip,
}

impl Coding {
    /// Returns its name in HTTP.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Chooses what the client accepts, if compression is on.
    pub(crate) fn choose(request: &HttpRequest, compression: Compression) -> Option<Self> {
        match compression {
            Compression::Off => return None,
            Compression::Auto if is_local(request) => return None,
            Compression::Auto | Compression::On => {}
        }
        let accepted = header::AcceptEncoding::parse(request).ok()?;
        let known = [Encoding::zstd(), Encoding::gzip(), Encoding::identity()];
        match accepted.negotiate(known.iter())? {
            encoding if encoding == Encoding::zstd() => Some(Self::Zstd),
            encoding if encoding == Encoding::gzip() => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// Whether the client is on this machine. A proxy that is here, too, does not count: what it passes on has a header of its own, or, as
/// nginx does it by default, only the name by which clients know the proxy.
fn is_local(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let is_forwarded = [header::FORWARDED, header::X_FORWARDED_FOR, header::VIA]
        .iter()
        .any(|name| headers.contains_key(name));
    let names_loopback = headers
        .get(header::HOST)
        .is_none_or(|host| host.to_str().is_ok_and(is_loopback_name));
    !is_forwarded && names_loopback && client_address(request).is_some_and(|ip| ip.is_loopback())
}

/// Hands bytes on to another sink, compressed or as they are.
pub(crate) struct CompressingSink<'a> {
    sink: &'a mut dyn Sink,
    encoder: Option<Encoder>,
}

enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
}

impl<'a> CompressingSink<'a> {
    /// A sink that hands on to `sink`.
    pub(crate) fn new(sink: &'a mut dyn Sink, coding: Option<Coding>) -> io::Result<Self> {
        // The fastest levels: they leave a fifth (zstd) or a third (gzip) of it, and an export should wait for its network.
        let encoder = match coding {
            None => None,
            Some(Coding::Zstd) => Some(Encoder::Zstd(zstd::stream::write::Encoder::new(
                Vec::new(),
                1,
            )?)),
            Some(Coding::Gzip) => Some(Encoder::Gzip(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::fast(),
            ))),
        };
        Ok(Self { sink, encoder })
    }

    /// Ends the compressed stream. Only a complete export may: without that end, a stream is visibly incomplete.
    pub(crate) fn finish(self) -> io::Result<()> {
        let rest = match self.encoder {
            None => return Ok(()),
            Some(Encoder::Zstd(encoder)) => encoder.finish()?,
            Some(Encoder::Gzip(encoder)) => encoder.finish()?,
        };
        self.sink.write(rest.into())
    }
}

impl Encoder {
    /// Compresses a chunk completely: the client need not wait for bytes that the encoder would hold back.
    fn encode(&mut self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => {
                encoder.write_all(chunk)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Gzip(encoder) => {
                encoder.write_all(chunk)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }
}

impl Sink for CompressingSink<'_> {
    fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        let chunk = match &mut self.encoder {
            None => chunk,
            Some(encoder) => encoder.encode(&chunk)?.into(),
        };
        self.sink.write(chunk)
    }
}
