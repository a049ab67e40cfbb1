//! Whether an export's file is whole, by its manifest.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::client;
use crate::export::csv::Delimiter;
use crate::export::format::FileType;
use crate::export::manifest::{Manifest, State};
use crate::units::hexadecimal;

/// Why a file is not known to be whole.
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
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The export itself did not end well.
    #[error("not whole: the export is {}", .0.name())]
    State(State),
    /// Something is missing, or too much.
    #[error("not whole: {found}, but the export made {expected}")]
    Different {
        /// What the file has.
        found: Contents,
        /// What it should have.
        expected: Contents,
    },
    /// The length is right, but the content differs.
    #[error(
        "not whole: as long as it should be, but its SHA-256 is {found}, and the export's {expected}"
    )]
    Changed {
        /// The file's.
        found: String,
        /// The export's.
        expected: String,
    },
}

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// `None` if they cannot be counted: a workbook that is cut has none.
    rows: Option<u64>,
    bytes: u64,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rows) = self.rows {
            write!(f, "{rows} rows, ")?;
        }
        write!(f, "{} bytes", self.bytes)
    }
}

/// Reads a manifest: from a file, from the standard input (`-`), or from a URL.
pub fn manifest(place: &str, auth_token: Option<&str>) -> Result<Manifest, Error> {
    let failed = |reason: String| Error::Manifest {
        place: place.to_owned(),
        reason,
    };
    let json = if place == "-" {
        io::read_to_string(io::stdin()).map_err(|error| failed(error.to_string()))?
    } else if place.starts_with("http://") || place.starts_with("https://") {
        let request = client::agent().get(place);
        let mut request = request.config().http_status_as_error(true).build();
        if let Some(token) = auth_token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response = request
            .call()
            .and_then(|mut response| response.body_mut().read_to_string());
        response.map_err(|error| failed(error.to_string()))?
    } else {
        File::open(place)
            .and_then(io::read_to_string)
            .map_err(|error| failed(error.to_string()))?
    };
    serde_json::from_str(&json).map_err(|error| failed(format!("not a manifest: {error}")))
}

/// Says what is in a file that is whole.
pub fn verify(file: impl Read, manifest: &Manifest) -> Result<Contents, Error> {
    if manifest.state != State::Complete {
        return Err(Error::State(manifest.state));
    }
    let mut hashing = Hashing {
        file,
        hasher: Sha256::new(),
        bytes: 0,
    };
    let rows = match manifest.format {
        FileType::Csv => Some(count_rows(
            &mut hashing,
            manifest.delimiter.unwrap_or_default(),
        )?),
        FileType::Xlsx => {
            io::copy(&mut hashing, &mut io::sink())?;
            None
        }
    };
    let found = Contents {
        rows,
        bytes: hashing.bytes,
    };
    let expected = Contents {
        rows: Some(manifest.rows),
        bytes: manifest.bytes,
    };
    if found.bytes != expected.bytes || rows.is_some_and(|rows| rows != manifest.rows) {
        return Err(Error::Different { found, expected });
    }
    let sha256 = hexadecimal(&hashing.hasher.finalize());
    match &manifest.sha256 {
        Some(known) if *known == sha256 => Ok(expected),
        known => Err(Error::Changed {
            found: sha256,
            expected: known.clone().unwrap_or_default(),
        }),
    }
}

/// Counts the lines of a CSV after its header.
fn count_rows(csv: impl Read, delimiter: Delimiter) -> io::Result<u64> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter.byte())
        .flexible(true)
        .from_reader(csv);
    let mut rows = 0;
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record)? {
        rows += 1;
    }
    Ok(rows)
}

/// Hashes what is read through it.
struct Hashing<R> {
    file: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.bytes += length as u64;
        Ok(length)
    }
}
