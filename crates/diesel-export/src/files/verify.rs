//! Whether an export's file is complete, by its manifest.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::format::FileType;
use crate::manifest::{Manifest, State};
use crate::units::hexadecimal;

/// Why a file does not count as complete.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manifest cannot be read.
    #[error("the manifest {path}: {reason}", path = .path.display())]
    Manifest {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The export itself did not end well.
    #[error("not complete: the export is {}", .0.name())]
    State(State),
    /// It is a CSV that ends within a quoted text.
    #[error(
        "not complete: {bytes} bytes, which end within a quoted text, but the export made {expected}"
    )]
    OpenQuote {
        /// Bytes of the file.
        bytes: u64,
        /// What it should have.
        expected: Contents,
    },
    /// The content is too short or too long.
    #[error("not complete: {found}, but the export made {expected}")]
    Different {
        /// What the file has.
        found: Contents,
        /// What it should have.
        expected: Contents,
    },
    /// The length is right, but the content differs.
    #[error(
        "not complete: as long as it should be, but its SHA-256 is {found}, and the export's {expected}"
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
    /// `None` if they cannot be counted: a truncated workbook has none.
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

/// Reads a manifest from a file, or from the standard input (`-`).
pub fn manifest(path: &Path) -> Result<Manifest, Error> {
    let failed = |reason: String| Error::Manifest {
        path: path.to_owned(),
        reason,
    };
    let json = if path == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        File::open(path).and_then(io::read_to_string)
    };
    let json = json.map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&json).map_err(|error| failed(format!("not a manifest: {error}")))
}

/// Describes a file that is complete.
pub fn verify(mut file: impl Read, manifest: &Manifest) -> Result<Contents, Error> {
    if manifest.state != State::Complete {
        return Err(Error::State(manifest.state));
    }
    let is_csv = manifest.format == FileType::Csv;
    let mut read = Counter {
        is_csv,
        ..Counter::default()
    };
    io::copy(&mut file, &mut read)?;
    let expected = Contents {
        rows: Some(manifest.rows),
        bytes: manifest.bytes,
    };
    if read.is_quoted {
        let bytes = read.bytes;
        return Err(Error::OpenQuote { bytes, expected });
    }
    let found = Contents {
        rows: match manifest.format {
            // Without the header.
            FileType::Csv => Some(read.lines.saturating_sub(1)),
            FileType::Ndjson => Some(read.lines),
            FileType::Xlsx => None,
        },
        bytes: read.bytes,
    };
    if found.bytes != expected.bytes || found.rows.is_some_and(|rows| rows != manifest.rows) {
        return Err(Error::Different { found, expected });
    }
    let sha256 = hexadecimal(&read.hasher.finalize());
    match &manifest.sha256 {
        Some(known) if *known == sha256 => Ok(expected),
        known => Err(Error::Changed {
            found: sha256,
            expected: known.clone().unwrap_or_default(),
        }),
    }
}

/// Hashes what is written to it, and counts the lines, however long they are. Our CSV has a quotation mark only in quoted texts, where it
/// is doubled; texts in JSON have no line ends.
#[derive(Default)]
struct Counter {
    hasher: Sha256,
    bytes: u64,
    lines: u64,
    is_csv: bool,
    is_quoted: bool,
}

impl Write for Counter {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
        for byte in piece {
            match byte {
                b'"' if self.is_csv => self.is_quoted = !self.is_quoted,
                b'\n' if !self.is_quoted => self.lines += 1,
                _ => {}
            }
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Export;
    use crate::example;
    use crate::manifest::Facts;
    use crate::record::Record;

    /// What `verify` says of a file whose manifest has this many rows, and its own length and hash.
    fn verdict(file: &[u8], rows: u64) -> Result<String, String> {
        let export = Export::of(&example::books());
        let manifest = Manifest {
            state: State::Complete,
            rows,
            bytes: file.len() as u64,
            sha256: Some(hexadecimal(&Sha256::digest(file))),
            ..Record::queue(String::new(), &export, Facts::new()).manifest()
        };
        let contents = verify(file, &manifest).map_err(|error| error.to_string())?;
        Ok(contents.to_string())
    }

    #[test]
    fn rows_are_lines_outside_of_quotes_empty_ones_too() {
        let csv = b"ID,\"a\nheader\"\r\n1,\"two\nlines, \"\"quoted\"\"\"\r\n\r\n\"\"\r\n";
        let whole = format!("3 rows, {} bytes", csv.len());
        assert_eq!(verdict(csv, 3), Ok(whole));
        assert!(verdict(csv, 2).is_err());
    }

    #[test]
    fn a_file_of_the_same_length_with_other_bytes_is_not_whole() {
        let export = Export::of(&example::books());
        let manifest = Manifest {
            state: State::Complete,
            rows: 1,
            bytes: 5,
            sha256: Some(hexadecimal(&Sha256::digest(b"ID\n1\n"))),
            ..Record::queue(String::new(), &export, Facts::new()).manifest()
        };
        assert!(verify(&b"ID\n1\n"[..], &manifest).is_ok());
        assert!(matches!(
            verify(&b"ID\n2\n"[..], &manifest),
            Err(Error::Changed { .. })
        ));
        let interrupted = Manifest {
            state: State::Failed,
            ..manifest
        };
        assert!(matches!(
            verify(&b"ID\n1\n"[..], &interrupted),
            Err(Error::State(_))
        ));
    }

    #[test]
    fn a_csv_that_ends_within_quotes_is_not_whole() {
        let said = "not complete: 6 bytes, which end within a quoted text, but the export made 1 rows, 6 bytes";
        assert_eq!(verdict(b"ID\n1,\"", 1), Err(said.to_owned()));
    }
}
