//! Fetches the file of a prepared export from a service, and goes on where an earlier attempt broke off.

mod answer;
mod part;

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ureq::Agent;
use ureq::http::Response;

use self::answer::{Answer, NotPrepared};
use self::part::Part;
use crate::client;

/// Time to wait before the first further attempt. Each wait is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// No wait is longer, whatever the service asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Time between two looks at an export that is not finished.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;

/// What to fetch, and where to.
#[derive(Debug)]
pub struct Fetch<'a> {
    /// The file's URL.
    pub url: &'a str,
    /// The token that the service wants.
    pub auth_token: Option<&'a str>,
    /// What the file will be.
    pub output: &'a Path,
    /// Attempts that may bring nothing, one after the other, before it gives up.
    pub retries: u32,
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Event<'a> {
    /// So much of the file is there.
    Progress {
        /// Bytes that are there.
        bytes: u64,
        /// Bytes of the whole file.
        total: u64,
    },
    /// Something that whoever waits should know.
    Notice(fmt::Arguments<'a>),
}

/// A file that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, SHA-256 {}", self.bytes, self.sha256)
    }
}

/// Why the file is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL cannot be asked at all.
    #[error("the URL cannot be asked: {0}")]
    Url(String),
    /// The output cannot be written.
    #[error("{path}: {source}", path = .path.display())]
    Output {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// What is there is not the file of a prepared export.
    #[error(
        "{0}: this is not the file of a prepared export, and cannot be fetched piece by piece; a direct download is curl's or \
         `cmms-export export`'s"
    )]
    NotPrepared(#[from] NotPrepared),
    /// There is no such file.
    #[error(
        "there is no such file (any more): the export was deleted, its time is over, or it came to nothing{0}"
    )]
    Gone(Kept),
    /// The service refuses.
    #[error("the service refuses: {status}{kept}", status = .0, kept = .1)]
    Refused(String, Kept),
    /// It has broken off too often.
    #[error("not whole: {0}{1}")]
    Broken(String, Kept),
    /// The file is as long as it should be, but another one.
    #[error(
        "not whole: its SHA-256 is {found}, and the export's {expected}; nothing is kept of it"
    )]
    Changed {
        /// The file's.
        found: String,
        /// The export's.
        expected: String,
    },
}

/// What is kept of a file that is not whole.
#[derive(Debug, Default)]
pub struct Kept(Option<(PathBuf, u64)>);

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((path, bytes)) => write!(
                f,
                "; the same command goes on after the {bytes} bytes in {}",
                path.display()
            ),
            None => Ok(()),
        }
    }
}

/// How an attempt ended without the whole file.
enum Ended {
    /// Another one may do better, after this time if the service has named one.
    Broken(String, Option<Duration>),
    /// The export is not finished.
    Unfinished,
    /// What there is of the file is of no use: it has to begin anew.
    Useless(String),
    /// No attempt will do better.
    Final(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Fetch<'_> {
    /// Fetches the file. It gets its name when it is whole.
    pub fn run(&self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Whole, Error> {
        self.check_url()?;
        let mut part = Part::open(self.output).map_err(|error| self.output_error(error))?;
        if part.length() > 0 {
            on_event(Event::Notice(format_args!(
                "goes on after the {} bytes that are there",
                part.length()
            )));
        }
        let agent = client::agent();
        let mut failures = 0;
        // No progress makes up for these: each begins anew.
        let mut discarded = 0;
        let mut is_waiting = false;
        loop {
            let before = part.length();
            let ended = match self.attempt(&agent, &mut part, on_event) {
                Ok(()) => match part.finish().map_err(|error| self.output_error(error))? {
                    Ok(whole) => return Ok(whole),
                    Err((found, expected)) if !part.has_earlier() => {
                        return Err(Error::Changed { found, expected });
                    }
                    // It may have been damaged while nobody fetched: a crash of the system loses what is not on the disk.
                    Err(_) => Ended::Useless("what was kept is damaged".to_owned()),
                },
                Err(ended) => ended,
            };
            let (reason, wait) = match ended {
                Ended::Final(error) => return Err(error),
                Ended::Unfinished => {
                    failures = 0;
                    if !std::mem::replace(&mut is_waiting, true) {
                        on_event(Event::Notice(format_args!(
                            "waits: the export is not finished yet"
                        )));
                    }
                    thread::sleep(LOOK_INTERVAL);
                    continue;
                }
                Ended::Useless(reason) => {
                    part.discard();
                    discarded += 1;
                    (reason, None)
                }
                Ended::Broken(reason, wait) => (reason, wait),
            };
            failures = if part.length() > before {
                1
            } else {
                failures + 1
            };
            if failures.max(discarded) > self.retries {
                return Err(Error::Broken(reason, part.kept()));
            }
            let wait = wait.unwrap_or(FIRST_WAIT * 2_u32.saturating_pow(failures - 1));
            let wait = wait.min(LONGEST_WAIT);
            on_event(Event::Notice(format_args!(
                "{reason}: goes on after {} bytes in {:.1} s",
                part.length(),
                wait.as_secs_f64()
            )));
            thread::sleep(wait);
        }
    }

    fn check_url(&self) -> Result<(), Error> {
        let is_known = ["http://", "https://"]
            .iter()
            .any(|scheme| self.url.starts_with(scheme));
        if is_known {
            Ok(())
        } else {
            Err(Error::Url("expected an http:// or https:// URL".to_owned()))
        }
    }

    fn output_error(&self, source: io::Error) -> Error {
        Error::Output {
            path: self.output.to_owned(),
            source,
        }
    }

    /// Asks for what is missing, and writes it. Returns once the file is as long as it should be.
    fn attempt(
        &self,
        agent: &Agent,
        part: &mut Part,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Ended> {
        let mut request = agent
            .get(self.url)
            // Packed bytes are no part of the file.
            .header("Accept-Encoding", "identity");
        if let Some(token) = self.auth_token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(sha256) = part.sha256().filter(|_| part.length() > 0) {
            // If the file is another one by now, it comes from its beginning.
            request = request
                .header("Range", format!("bytes={}-", part.length()))
                .header("If-Range", format!("\"{sha256}\""));
        }
        let mut response = request.call().map_err(broken)?;
        let answer = Answer::read(&response).map_err(Error::from)?;
        let total = match answer {
            Answer::Whole { sha256, length } => {
                if part.sha256().is_some_and(|known| known != sha256) && part.length() > 0 {
                    on_event(Event::Notice(format_args!(
                        "there is another file by now: it is fetched from its beginning"
                    )));
                }
                part.begin(&sha256)
                    .map_err(|error| self.output_error(error))?;
                length
            }
            Answer::Rest {
                sha256,
                start,
                total,
            } => {
                if part.sha256() != Some(&sha256) || start != part.length() {
                    return Err(Ended::Useless(
                        "the service sent another part than was asked for".to_owned(),
                    ));
                }
                total
            }
            Answer::NothingMore { total } if total == Some(part.length()) => return Ok(()),
            Answer::NothingMore { .. } => {
                return Err(Ended::Useless(
                    "there is more than the file should have".to_owned(),
                ));
            }
            Answer::Unfinished => return Err(Ended::Unfinished),
            Answer::Gone => return Err(Error::Gone(part.abandon()).into()),
            Answer::Refused(reason) => return Err(Error::Refused(reason, part.kept()).into()),
            Answer::Busy(reason, wait) => return Err(Ended::Broken(reason, wait)),
        };
        self.write(&mut response, part, total, on_event)
    }

    fn write(
        &self,
        response: &mut Response<ureq::Body>,
        part: &mut Part,
        total: u64,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Ended> {
        let mut body = response.body_mut().as_reader();
        let mut piece = vec![0; PIECE];
        loop {
            on_event(Event::Progress {
                bytes: part.length(),
                total,
            });
            let read = body
                .read(&mut piece)
                .map_err(|error| Ended::Broken(error.to_string(), None))?;
            if read == 0 {
                break;
            }
            if part.length() + read as u64 > total {
                return Err(Ended::Useless(
                    "more came than the file should have".to_owned(),
                ));
            }
            part.write(&piece[..read])
                .map_err(|error| self.output_error(error))?;
        }
        if part.length() == total {
            Ok(())
        } else {
            Err(Ended::Broken(
                "the connection has ended too early".to_owned(),
                None,
            ))
        }
    }
}

/// Why there was no answer.
fn broken(error: ureq::Error) -> Ended {
    if client::is_final(&error) {
        Ended::Final(Error::Url(error.to_string()))
    } else {
        Ended::Broken(error.to_string(), None)
    }
}
