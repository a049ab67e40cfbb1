//! The names and values of a request's query.

use std::borrow::Cow;

use super::problem::{Kind, Problem};
use crate::export::parameters::Pair;

/// The names and values, in their order.
pub(super) fn pairs(query: &str) -> Result<Vec<Pair<'_>>, Problem> {
    // The parser below would replace what is not UTF-8, and the filter would be another one than was asked for.
    if percent_encoding::percent_decode_str(query)
        .decode_utf8()
        .is_err()
    {
        return Err(invalid("the query is not UTF-8"));
    }
    Ok(form_urlencoded::parse(query.as_bytes()).collect())
}

/// Takes the one value of a parameter, if it is there, out of the others.
pub(super) fn take<'a>(
    pairs: &mut Vec<Pair<'a>>,
    name: &str,
) -> Result<Option<Cow<'a, str>>, Problem> {
    let mut taken = pairs.extract_if(.., |(given, _)| given == name);
    let value = taken.next().map(|(_, value)| value);
    match taken.next() {
        Some(_) => Err(invalid(format!("`{name}`: given more than once"))),
        None => Ok(value),
    }
}

/// Takes a parameter that is `true` or `false`, if it is there, out of the others.
pub(super) fn take_bool(pairs: &mut Vec<Pair<'_>>, name: &str) -> Result<Option<bool>, Problem> {
    match take(pairs, name)?.as_deref() {
        None | Some("") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(invalid(format!("`{name}`: expected `true` or `false`"))),
    }
}

/// The problem of a parameter that is not understood.
pub(super) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::with_detail(Kind::InvalidParameter, detail)
}
