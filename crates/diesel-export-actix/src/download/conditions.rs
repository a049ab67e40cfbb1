//! What a request for a complete file asks for, and on which conditions ([RFC 9110, section
//! 13](https://www.rfc-editor.org/rfc/rfc9110#section-13) and [14](https://www.rfc-editor.org/rfc/rfc9110#section-14)).
//!
//! `actix-files` does the same, but makes its `ETag` from the file's inode and time, which are others after a restore or on another
//! disk; ours is the hash of the bytes.

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{
    self, EntityTag, Header, HeaderValue, HttpDate, IfMatch, IfModifiedSince, IfNoneMatch, IfRange,
    IfUnmodifiedSince, Range,
};

use crate::problem::{Kind, Problem};

/// The file that exists.
pub(crate) struct Validators {
    /// A strong entity tag: other bytes have another one.
    pub(crate) etag: EntityTag,
    pub(crate) modified: HttpDate,
    /// Its bytes.
    pub(crate) length: u64,
}

/// What is to be sent of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// From the first of these bytes to the last.
    Range(u64, u64),
    /// Nothing: the client has it.
    NotModified,
}

impl Validators {
    /// What the request asks for, or why it is refused.
    pub(crate) fn part(&self, request: &HttpRequest) -> Result<Part, Problem> {
        let matches = match given::<IfMatch>(request) {
            Some(IfMatch::Any) => true,
            Some(IfMatch::Items(tags)) => tags.iter().any(|tag| tag.strong_eq(&self.etag)),
            // A tag that is not understood is not ours either; other such conditions, the RFC has ignored, or answered with the complete
            // file.
            None if request.headers().contains_key(header::IF_MATCH) => false,
            None => {
                given::<IfUnmodifiedSince>(request).is_none_or(|since| self.modified <= since.0)
            }
        };
        if !matches {
            return Err(Problem::new(Kind::PreconditionFailed));
        }
        let is_known = match given::<IfNoneMatch>(request) {
            Some(IfNoneMatch::Any) => true,
            Some(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&self.etag)),
            None if request.headers().contains_key(header::IF_NONE_MATCH) => false,
            None => given::<IfModifiedSince>(request).is_some_and(|since| self.modified <= since.0),
        };
        if is_known {
            return Ok(Part::NotModified);
        }
        self.range(request)
    }

    fn range(&self, request: &HttpRequest) -> Result<Part, Problem> {
        // Only for GET is a range defined; and a server may send the complete file instead of several ranges.
        let Some(Range::Bytes(ranges)) = given(request) else {
            return Ok(Part::Whole);
        };
        let ([range], &Method::GET) = (ranges.as_slice(), request.method()) else {
            return Ok(Part::Whole);
        };
        let is_of_this = match given::<IfRange>(request) {
            Some(IfRange::EntityTag(tag)) => tag.strong_eq(&self.etag),
            // Within its second, a date is ambiguous.
            Some(IfRange::Date(_)) => false,
            // A tag that is not understood is not ours either.
            None => !request.headers().contains_key(header::IF_RANGE),
        };
        if !is_of_this {
            return Ok(Part::Whole);
        }
        let (first, last) = range.to_satisfiable_range(self.length).ok_or_else(|| {
            Problem::new(Kind::RangeNotSatisfiable {
                length: self.length,
            })
        })?;
        Ok(Part::Range(first, last))
    }
}

/// Refuses a request for a part of a file that is made for each request: the part would be of another file than the rest that the
/// client has. Not with a 416, which tells wget that it has all.
pub(crate) fn refuse_range(request: &HttpRequest) -> Result<(), Problem> {
    // It names the file that the client has, which cannot be this one.
    if request.headers().contains_key(header::IF_RANGE) {
        return Ok(());
    }
    let is_part = |range: &HeaderValue| {
        let range = range.as_bytes();
        let unit = range.split(|byte| *byte == b'=').next().unwrap_or(range);
        let of_bytes = unit.trim_ascii().eq_ignore_ascii_case(b"bytes");
        let all = range.get(unit.len() + 1..).unwrap_or_default();
        of_bytes && all.trim_ascii() != b"0-"
    };
    if !request.headers().get_all(header::RANGE).any(is_part) {
        return Ok(());
    }
    let detail = "the file is made for each request: ask for all of it again, or have the export \
                  prepared (POST /api/exports), whose file has ranges";
    Err(Problem::with_detail(Kind::RangeNotPossible, detail))
}

/// A field of the header, if it is there and understood.
fn given<T: Header>(request: &HttpRequest) -> Option<T> {
    request
        .headers()
        .contains_key(T::name())
        .then(|| T::parse(request).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use actix_web::ResponseError;
    use actix_web::test::TestRequest;

    use super::*;

    const DATE: &str = "Tue, 24 Nov 2026 10:00:00 GMT";
    const LATER: &str = "Tue, 24 Nov 2026 10:00:01 GMT";
    const EARLIER: &str = "Tue, 24 Nov 2026 09:59:59 GMT";

    fn asked(method: Method, headers: &[(&'static str, &'static str)]) -> Result<Part, u16> {
        let validators = Validators {
            etag: EntityTag::new_strong("abc".to_owned()),
            modified: (SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_514_400)).into(),
            length: 100,
        };
        assert_eq!(validators.modified.to_string(), DATE);
        let mut request = TestRequest::default().method(method);
        for header in headers {
            request = request.append_header(*header);
        }
        let part = validators.part(&request.to_http_request());
        part.map_err(|problem| problem.status_code().as_u16())
    }

    fn get(headers: &[(&'static str, &'static str)]) -> Result<Part, u16> {
        asked(Method::GET, headers)
    }

    #[test]
    fn a_range_is_understood_as_the_rfc_has_it() {
        let range = |range| get(&[("Range", range)]);
        assert_eq!(range("bytes=0-9"), Ok(Part::Range(0, 9)));
        assert_eq!(range("bytes=90-"), Ok(Part::Range(90, 99)));
        assert_eq!(range("bytes=99-500"), Ok(Part::Range(99, 99)));
        assert_eq!(range("bytes=-10"), Ok(Part::Range(90, 99)));
        assert_eq!(range("bytes=-500"), Ok(Part::Range(0, 99)));
        assert_eq!(range("bytes=100-"), Err(416));
        assert_eq!(range("bytes=-0"), Err(416));
        for ignored in [
            "bytes=9-0",
            "bytes=a-b",
            "rows=0-9",
            "bytes",
            "bytes=0-1,5-6",
        ] {
            assert_eq!(range(ignored), Ok(Part::Whole), "{ignored}");
        }
        assert_eq!(
            asked(Method::HEAD, &[("Range", "bytes=0-9")]),
            Ok(Part::Whole)
        );
    }

    #[test]
    fn a_range_is_only_of_the_file_that_the_client_has_a_part_of() {
        let range = |of| get(&[("Range", "bytes=10-"), ("If-Range", of)]);
        assert_eq!(range("\"abc\""), Ok(Part::Range(10, 99)));
        for other in ["\"abd\"", "W/\"abc\"", DATE, LATER, "abc"] {
            assert_eq!(range(other), Ok(Part::Whole), "{other}");
        }
        let beyond = get(&[("Range", "bytes=100-"), ("If-Range", "\"abd\"")]);
        assert_eq!(beyond, Ok(Part::Whole));
    }

    #[test]
    fn of_a_file_that_is_made_for_each_request_there_is_no_part() {
        let status = |headers: &[(&'static str, &'static str)]| {
            let mut request = TestRequest::default();
            for header in headers {
                request = request.append_header(*header);
            }
            let refused = refuse_range(&request.to_http_request());
            refused.map_err(|problem| problem.status_code().as_u16())
        };
        for part in [
            "bytes=1-",
            "bytes=0-9",
            "bytes=-1",
            "bytes=0-,5-",
            "BYTES=7-",
            "bytes =7-",
            "bytes=x",
            "bytes",
        ] {
            assert_eq!(status(&[("Range", part)]), Err(400), "{part}");
            let known = [("Range", part), ("If-Range", "\"abc\"")];
            assert_eq!(status(&known), Ok(()), "{part}");
        }
        assert_eq!(
            status(&[("Range", "bytes=0-"), ("Range", "bytes=5-")]),
            Err(400)
        );
        for all in ["bytes=0-", "bytes= 0- ", "rows=5-9", "bytesize=5-", ""] {
            assert_eq!(status(&[("Range", all)]), Ok(()), "{all}");
        }
        assert_eq!(status(&[]), Ok(()));
    }

    #[test]
    fn who_has_it_gets_nothing() {
        for known in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert_eq!(
                get(&[("If-None-Match", known)]),
                Ok(Part::NotModified),
                "{known}"
            );
        }
        for unknown in ["\"x\"", "\"é\"", "abc"] {
            assert_eq!(get(&[("If-None-Match", unknown)]), Ok(Part::Whole));
            // The tag counts, and not the date.
            let both = [("If-None-Match", unknown), ("If-Modified-Since", LATER)];
            assert_eq!(get(&both), Ok(Part::Whole));
        }
        assert_eq!(get(&[("If-Modified-Since", "yesterday")]), Ok(Part::Whole));
        assert_eq!(get(&[("If-Modified-Since", DATE)]), Ok(Part::NotModified));
        assert_eq!(get(&[("If-Modified-Since", EARLIER)]), Ok(Part::Whole));
    }

    #[test]
    fn who_wants_another_one_is_refused() {
        for own in ["\"abc\"", "\"x\", \"abc\"", "*"] {
            assert_eq!(get(&[("If-Match", own)]), Ok(Part::Whole), "{own}");
        }
        for other in ["\"x\"", "W/\"abc\""] {
            assert_eq!(get(&[("If-Match", other)]), Err(412), "{other}");
        }
        for not_understood in ["\"é\"", "abc", ""] {
            assert_eq!(get(&[("If-Match", not_understood)]), Err(412));
            let too = [("If-Match", not_understood), ("If-Unmodified-Since", DATE)];
            assert_eq!(get(&too), Err(412));
        }
        assert_eq!(
            get(&[("If-Unmodified-Since", "yesterday")]),
            Ok(Part::Whole)
        );
        assert_eq!(get(&[("If-Unmodified-Since", DATE)]), Ok(Part::Whole));
        assert_eq!(get(&[("If-Unmodified-Since", EARLIER)]), Err(412));
        let refused = get(&[("If-Match", "\"x\""), ("If-None-Match", "\"abc\"")]);
        assert_eq!(refused, Err(412));
    }
}
