//! The names and values of a request's query.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::problem::{Kind, Problem};
use diesel_export::dataset::parse_boolean;
use diesel_export::parameters::{InvalidParameter, Pair};

/// The names and values that are left of a query, in their order.
pub(crate) struct QueryString<'a>(Vec<Pair<'a>>);

impl<'a> QueryString<'a> {
    /// Reads a query. One that is not UTF-8 is refused: what replaces such bytes would be another filter than was asked for.
    pub(crate) fn parse(query: &'a str) -> Result<Self, Problem> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// Takes names and values as they are.
    pub(crate) fn of(pairs: Vec<Pair<'a>>) -> Self {
        Self(pairs)
    }

    /// Takes a line break for LF, as a page shows it: its form sends CR LF.
    pub(crate) fn of_form(mut self) -> Self {
        for (_, value) in &mut self.0 {
            if value.contains('\r') {
                *value = value.replace("\r\n", "\n").into();
            }
        }
        self
    }

    /// Takes the one value of a parameter, if it is there.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, Problem> {
        let mut taken = self.0.extract_if(.., |(given, _)| given == name);
        let value = taken.next().map(|(_, value)| value);
        match taken.next() {
            Some(_) => Err(invalid(name, "given more than once")),
            None => Ok(value),
        }
    }

    /// Takes a parameter that is `true` or `false`, if it is there.
    pub(crate) fn take_bool(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.take(name)?.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => match parse_boolean(text) {
                Some(value) => Ok(Some(value)),
                None => Err(invalid(name, "expected `true` or `false`")),
            },
        }
    }

    /// Whether a parameter is there, and has a value.
    pub(crate) fn says(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|(given, value)| given == name && !value.is_empty())
    }

    /// All that was not taken.
    pub(crate) fn rest(self) -> Vec<Pair<'a>> {
        self.0
    }
}

fn decoded(text: &str) -> Result<Cow<'_, str>, Problem> {
    let text = if text.contains('+') {
        Cow::Owned(text.replace('+', " "))
    } else {
        Cow::Borrowed(text)
    };
    let decoded = match &text {
        Cow::Borrowed(text) => percent_decode_str(text).decode_utf8(),
        Cow::Owned(text) => percent_decode_str(text)
            .decode_utf8()
            .map(|text| Cow::Owned(text.into_owned())),
    };
    decoded.map_err(|_| Problem::with_detail(Kind::InvalidParameter, "the query is not UTF-8"))
}

/// The problem of a parameter that is not understood.
pub(crate) fn invalid(name: &str, reason: &str) -> Problem {
    InvalidParameter::of(name, reason).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &str) -> Vec<(String, String)> {
        let query = QueryString::parse(query).unwrap_or_else(|_| QueryString(Vec::new()));
        let pairs = query.rest().into_iter();
        pairs
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }

    #[test]
    fn names_and_values_are_decoded() {
        let expected = [
            ("a", "1 2"),
            ("b c", "ä&="),
            ("d", ""),
            ("", "e"),
            ("f", "="),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs("a=1+2&b%20c=%C3%A4%26%3D&&d&=e&f=="), expected);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn a_query_that_is_not_utf_8_is_refused() {
        assert!(QueryString::parse("title=%ff").is_err());
        assert!(QueryString::parse("%C3=1").is_err());
    }

    #[test]
    fn a_parameter_that_is_given_twice_is_refused_if_it_is_taken() {
        let mut query = QueryString::parse("a=1&b=2&b=3").unwrap_or_else(|_| QueryString(vec![]));
        assert_eq!(query.take("a").ok().flatten().as_deref(), Some("1"));
        assert_eq!(query.take("c").ok(), Some(None));
        assert!(query.take("b").is_err());
    }
}
