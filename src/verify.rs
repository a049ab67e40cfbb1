//! Whether a CSV is whole, by its manifest.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::export::manifest::{Manifest, State};
use crate::units::hexadecimal;

/// Why a CSV is not known to be whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manifest cannot be read.
    #[error("the manifest {place}: {reason}")]
    Manifest {
        /// Where it should be.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The CSV cannot be read.
    #[error("the CSV cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The export itself did not end well.
    #[error("not whole: the export is {}", .0.name())]
    State(State),
    /// Something is missing, or too much.
    #[error("not whole: {found}, but the export made {expected}")]
    Different {
        /// What the CSV has.
        found: Contents,
        /// What it should have.
        expected: Contents,
    },
    /// The length is right, but the content differs.
    #[error(
        "not whole: as long as it should be, but its SHA-256 is {found}, and the export's {expected}"
    )]
    Changed {
        /// The CSV's.
        found: String,
        /// The export's.
        expected: String,
    },
}

/// What is in a CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    rows: u64,
    bytes: u64,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {} bytes", self.rows, self.bytes)
    }
}

/// Reads a manifest: from a file, from the standard input (`-`), or from an `http://` URL.
pub fn manifest(place: &str, auth_token: Option<&str>) -> Result<Manifest, Error> {
    let failed = |reason: String| Error::Manifest {
        place: place.to_owned(),
        reason,
    };
    let json = if place == "-" {
        io::read_to_string(io::stdin()).map_err(|error| failed(error.to_string()))?
    } else if place.starts_with("http://") {
        let mut request = ureq::get(place);
        if let Some(token) = auth_token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response = request
            .call()
            .and_then(|mut response| response.body_mut().read_to_string());
        response.map_err(|error| failed(error.to_string()))?
    } else if place.starts_with("https://") {
        return Err(failed(format!(
            "no TLS here: run `curl {place} | cmms-export verify … --manifest -`"
        )));
    } else {
        File::open(place)
            .and_then(io::read_to_string)
            .map_err(|error| failed(error.to_string()))?
    };
    serde_json::from_str(&json).map_err(|error| failed(format!("not a manifest: {error}")))
}

/// Says what is in a CSV that is whole.
pub fn verify(csv: impl Read, manifest: &Manifest) -> Result<Contents, Error> {
    if manifest.state != State::Complete {
        return Err(Error::State(manifest.state));
    }
    let mut hashing = Hashing {
        csv,
        hasher: Sha256::new(),
        bytes: 0,
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(manifest.delimiter.byte())
        .flexible(true)
        .from_reader(&mut hashing);
    let mut rows = 0;
    let mut record = csv::ByteRecord::new();
    while reader
        .read_byte_record(&mut record)
        .map_err(io::Error::from)?
    {
        rows += 1;
    }
    let found = Contents {
        rows,
        bytes: hashing.bytes,
    };
    let expected = Contents {
        rows: manifest.rows,
        bytes: manifest.bytes,
    };
    if found != expected {
        return Err(Error::Different { found, expected });
    }
    let sha256 = hexadecimal(&hashing.hasher.finalize());
    match &manifest.sha256 {
        Some(expected) if *expected == sha256 => Ok(found),
        expected => Err(Error::Changed {
            found: sha256,
            expected: expected.clone().unwrap_or_default(),
        }),
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    csv: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.csv.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.bytes += length as u64;
        Ok(length)
    }
}
