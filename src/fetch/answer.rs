//! What a service says to a request for a file.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::{Response, StatusCode, header};

use crate::units::hexadecimal;

/// What a service says to a request for a file.
pub(super) enum Answer {
    /// The whole file follows.
    Whole {
        /// Its SHA-256, in hexadecimal.
        sha256: String,
        length: u64,
    },
    /// A part of it follows, to its end.
    Rest {
        sha256: String,
        start: u64,
        total: u64,
    },
    /// The file has no such part; how long it is.
    NothingMore { total: Option<u64> },
    /// The export is not finished.
    Unfinished,
    /// There is no such file.
    Gone,
    /// There is no sense in asking again.
    Refused(String),
    /// There is, after this time if the service has named one.
    Busy(String, Option<Duration>),
}

/// What a prepared export's file has, and this one has not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotPrepared(&'static str);

impl Answer {
    /// Reads the head of a response. Its file has to have what is needed to fetch it in parts, and to know that it is whole.
    pub(super) fn read<B>(response: &Response<B>) -> Result<Self, NotPrepared> {
        let status = response.status();
        let field = |name| {
            let value = response.headers().get(name)?;
            value.to_str().ok()
        };
        let length = |text: &str| text.parse().ok();
        let is_problem = field(header::CONTENT_TYPE.as_str())
            .is_some_and(|media_type| media_type.starts_with("application/problem+json"));
        Ok(match status {
            StatusCode::OK => Self::Whole {
                sha256: sha256(field)?,
                length: field(header::CONTENT_LENGTH.as_str())
                    .and_then(length)
                    .ok_or(NotPrepared("its length is not known"))?,
            },
            StatusCode::PARTIAL_CONTENT => {
                let range = field(header::CONTENT_RANGE.as_str()).and_then(rest);
                let (start, total) =
                    range.ok_or(NotPrepared("the range is not the one asked for"))?;
                Self::Rest {
                    sha256: sha256(field)?,
                    start,
                    total,
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Self::NothingMore {
                total: field(header::CONTENT_RANGE.as_str())
                    .and_then(|range| length(range.strip_prefix("bytes */")?)),
            },
            // Another service may mean something else by it.
            StatusCode::CONFLICT if is_problem => Self::Unfinished,
            StatusCode::NOT_FOUND | StatusCode::GONE => Self::Gone,
            StatusCode::UNAUTHORIZED => {
                Self::Refused(format!("{status}: --auth-token-file names its token"))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Self::Busy(status.to_string(), wait(field))
            }
            _ if status.is_server_error() => Self::Busy(status.to_string(), wait(field)),
            _ => Self::Refused(status.to_string()),
        })
    }
}

/// The SHA-256 that the file is known by: it has to be its `ETag` and its `Repr-Digest`.
fn sha256<'r>(field: impl Fn(&'static str) -> Option<&'r str>) -> Result<String, NotPrepared> {
    let etag = field(header::ETAG.as_str())
        .and_then(|etag| etag.strip_prefix('"')?.strip_suffix('"'))
        .filter(|tag| tag.len() == 64 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .ok_or(NotPrepared("its ETag is no SHA-256"))?;
    let digest = field("repr-digest").and_then(|digests| {
        let mut digests = digests.split(',').map(str::trim);
        let digest = digests.find_map(|digest| digest.strip_prefix("sha-256=:"))?;
        STANDARD.decode(digest.strip_suffix(':')?).ok()
    });
    let digest = digest.ok_or(NotPrepared("it has no Repr-Digest by SHA-256"))?;
    if hexadecimal(&digest) == etag {
        Ok(etag.to_owned())
    } else {
        Err(NotPrepared("its ETag and its Repr-Digest differ"))
    }
}

/// The first byte and the length of the whole, of a `Content-Range` to the end.
fn rest(range: &str) -> Option<(u64, u64)> {
    let (part, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = part.split_once('-')?;
    let (start, last, total): (u64, u64, u64) =
        (start.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (start <= last && last.checked_add(1) == Some(total)).then_some((start, total))
}

fn wait<'r>(field: impl Fn(&'static str) -> Option<&'r str>) -> Option<Duration> {
    let seconds = field(header::RETRY_AFTER.as_str())?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    const BASE64: &str = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";

    fn of(etag: &str, digest: &str) -> Result<String, String> {
        let field = |name| match name {
            "etag" => Some(etag),
            "repr-digest" => Some(digest).filter(|digest| !digest.is_empty()),
            _ => None,
        };
        sha256(field).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_is_known_by_its_etag_and_its_digest_together() {
        let strong = format!("\"{HEX}\"");
        let digest = format!("sha-256=:{BASE64}:");
        assert_eq!(of(&strong, &digest), Ok(HEX.to_owned()));
        let several = format!("sha-512=:AAAA:, {digest}");
        assert_eq!(of(&strong, &several), Ok(HEX.to_owned()));
        for (etag, digest) in [
            (format!("W/{strong}"), digest.as_str()),
            ("\"5f-62\"".to_owned(), digest.as_str()),
            (strong.clone(), ""),
            (strong.clone(), "sha-512=:AAAA:"),
            (strong.replace('2', "3"), digest.as_str()),
        ] {
            assert!(of(&etag, digest).is_err(), "{etag} {digest}");
        }
    }

    #[test]
    fn a_rest_goes_to_the_end() {
        assert_eq!(rest("bytes 10-99/100"), Some((10, 100)));
        for other in [
            "bytes 10-98/100",
            "bytes 10-99/*",
            "bytes */100",
            "10-99/100",
        ] {
            assert_eq!(rest(other), None, "{other}");
        }
    }
}
