//! A client that sees how a response ends on the wire, which ordinary clients hide.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A response that is being read.
pub struct Download {
    reader: BufReader<TcpStream>,
    /// The status code.
    pub status: u16,
    /// The header's lines, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// How a body ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With the final chunk, or after the announced length: the server says that the body is complete.
    Clean,
    /// Without it.
    Broken,
}

impl Download {
    /// Sends `GET path` and reads the response's head.
    pub fn start(address: &str, path: &str) -> Self {
        Self::request(address, "GET", path, &[("Host", address)])
    }

    /// Sends a request without a body and reads the response's head.
    pub fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::read(send(address, method, path, headers))
    }

    /// Reads the head of the response to a request that was sent.
    pub fn read(stream: TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            line.trim_end().to_owned()
        };
        let status = line()
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status");
        let headers = std::iter::from_fn(|| {
            let line = line();
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        });
        let headers = headers.collect();
        Self {
            reader,
            status,
            headers,
        }
    }

    /// A field of the header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// Reads one chunk of the body; `None` at its clean end.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, End> {
        let mut size = String::new();
        self.reader.read_line(&mut size).map_err(|_| End::Broken)?;
        let size = usize::from_str_radix(size.trim_end(), 16).map_err(|_| End::Broken)?;
        let mut chunk = vec![0; size + 2];
        self.reader
            .read_exact(&mut chunk)
            .map_err(|_| End::Broken)?;
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }

    /// Reads a JSON body, of the length that the header says.
    pub fn json(self) -> serde_json::Value {
        serde_json::from_slice(&self.whole()).expect("JSON")
    }

    /// Reads a body that must have the length that the header says.
    pub fn whole(self) -> Vec<u8> {
        let (body, end) = self.rest();
        assert_eq!(end, End::Clean, "it is as long as was said");
        body
    }

    /// Reads as much as comes of a body with a Content-Length.
    pub fn rest(mut self) -> (Vec<u8>, End) {
        let length = self.header("content-length").expect("not streamed");
        let length: u64 = length.parse().expect("a number");
        let mut body = Vec::new();
        let read = self.reader.by_ref().take(length).read_to_end(&mut body);
        let is_whole = read.is_ok() && body.len() as u64 == length;
        (body, if is_whole { End::Clean } else { End::Broken })
    }

    /// Returns the connection, to read the body as it is.
    pub fn into_stream(self) -> BufReader<TcpStream> {
        self.reader
    }

    /// Reads the rest of the body.
    pub fn finish(mut self) -> (Vec<u8>, End) {
        let mut body = Vec::new();
        loop {
            match self.chunk() {
                Ok(Some(chunk)) => body.extend(chunk),
                Ok(None) => return (body, End::Clean),
                Err(end) => return (body, end),
            }
        }
    }
}

/// Sends a request without a body.
pub fn send(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("not zero");
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"
    )
    .expect("sent");
    stream
}

/// Closes a connection so that the other side sees a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("ours");
}

/// Downloads an export that must be complete.
pub fn download(address: &str, query: &str) -> Vec<u8> {
    download_of(address, "tasks", query)
}

/// Does the same as soon as there is a free place.
pub fn download_when_free(address: &str, query: &str) -> Vec<u8> {
    let (body, end) = start_when_free(address, query).finish();
    assert_eq!(end, End::Clean, "{query}");
    body
}

/// Starts a download as soon as there is a free place.
pub fn start_when_free(address: &str, query: &str) -> Download {
    let mut started = None;
    crate::eventually("there is a place", || {
        let download = Download::start(address, &format!("/tasks.csv?{query}"));
        let has_place = download.status == 200;
        started = Some(download);
        has_place
    });
    started.expect("just seen")
}

/// Downloads an export of another dataset that must be complete.
pub fn download_of(address: &str, dataset: &str, query: &str) -> Vec<u8> {
    let download = Download::start(address, &format!("/{dataset}.csv?{query}"));
    assert_eq!(download.status, 200, "{query}");
    let (body, end) = download.finish();
    assert_eq!(end, End::Clean, "{query}");
    body
}
