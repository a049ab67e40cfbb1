//! The path that the service is under.

use std::fmt;
use std::str::FromStr;

/// The path that the service is under, as `/exports`; empty at the root of its host. All addresses of the service begin with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(String);

impl BasePath {
    /// Returns what a path has after this one, as the list of routes has it.
    pub(crate) fn strip<'p>(&self, path: &'p str) -> &'p str {
        match path.strip_prefix(&self.0) {
            Some("") => "/",
            Some(rest) => rest,
            None => path,
        }
    }

    /// Returns whether it is empty.
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The path is not one that addresses can begin with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a path such as `/exports`, of letters, digits, `.`, `_`, `~` and `-`")]
pub struct InvalidBasePath;

impl FromStr for BasePath {
    type Err = InvalidBasePath;

    fn from_str(path: &str) -> Result<Self, InvalidBasePath> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        let is_segment =
            |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
        match path.strip_prefix('/') {
            Some(segments) if segments.split('/').all(is_segment) => Ok(Self(path.to_owned())),
            None if path.is_empty() => Ok(Self::default()),
            _ => Err(InvalidBasePath),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_empty_or_begins_with_a_slash_and_ends_with_none() {
        for (given, read) in [
            ("", Some("")),
            ("/", Some("")),
            ("/exports", Some("/exports")),
            ("/a/b-c/", Some("/a/b-c")),
            ("exports", None),
            ("//", None),
            ("/a//b", None),
            ("/a/../b", None),
            ("/a{id}", None),
            ("/a b", None),
            ("/ü", None),
        ] {
            let path = given.parse::<BasePath>().ok();
            assert_eq!(path.map(|path| path.0).as_deref(), read, "{given}");
        }
    }

    #[test]
    fn a_path_below_it_is_as_the_list_of_routes_has_it() -> Result<(), InvalidBasePath> {
        let base: BasePath = "/exports".parse()?;
        for (path, below) in [
            ("/exports", "/"),
            ("/exports/", "/"),
            ("/exports/livez", "/livez"),
            ("/exports/exports/1/a.csv", "/exports/1/a.csv"),
        ] {
            assert_eq!(base.strip(path), below);
        }
        assert_eq!(BasePath::default().strip("/livez"), "/livez");
        Ok(())
    }
}
