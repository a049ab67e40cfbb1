//! Where PostgreSQL's programs are.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::account::Account;

/// Finds the directory of `initdb` and `postgres`, of the major version `needed` by a cluster that exists already in `pgdata`. If
/// `PG_BINDIR` is set, no other directory is searched.
pub(crate) fn find(
    account: &Account,
    needed: Option<&str>,
    pgdata: &Path,
) -> Result<PathBuf, Error> {
    let chosen = env::var_os("PG_BINDIR")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let mut others: Vec<String> = Vec::new();
    for dir in chosen.clone().map_or_else(places, |dir| vec![dir]) {
        let Some((dir, major)) = usable(account, &dir) else {
            continue;
        };
        if needed.is_none_or(|needed| needed == major) {
            return Ok(dir);
        }
        if !others.contains(&major) {
            others.push(major);
        }
    }
    match (needed, chosen) {
        (Some(needed), _) if !others.is_empty() => Err(Error::OtherVersion {
            needed: needed.to_owned(),
            found: others.join(", "),
            pgdata: pgdata.to_owned(),
        }),
        (_, Some(dir)) => Err(Error::BadBindir { dir }),
        _ => Err(Error::NoBinaries),
    }
}

fn places() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .collect();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        places.push(OsStr::from_bytes(output.stdout.trim_ascii()).into());
    }
    places.extend(versions("/usr/lib/postgresql", ""));
    places.extend(versions("/opt/homebrew/opt", "postgresql@"));
    places.extend(versions("/usr/local/opt", "postgresql@"));
    places
}

/// `<parent>/<prefix><number>/bin`, the highest number first.
fn versions(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number = entry
                .file_name()
                .to_str()?
                .strip_prefix(prefix)?
                .parse()
                .ok()?;
            Some((number, entry.path().join("bin")))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// The real directory of both programs and their major version, if the account can run them.
/// (Debian's client packages bring `pg_config` without a server, and a PATH may hold links to these
/// two programs and no others.)
fn usable(account: &Account, dir: &Path) -> Option<(PathBuf, String)> {
    let postgres = dir.join("postgres").canonicalize().ok()?;
    let has_initdb = |dir: &PathBuf| dir.join("initdb").is_file();
    let dir = [postgres.parent()?.to_owned(), dir.canonicalize().ok()?]
        .into_iter()
        .find(has_initdb)?;
    let output = account
        .command(&dir.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let major = major(str::from_utf8(&output.stdout).ok()?)?.to_owned();
    Some((dir, major))
}

/// `15` of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `19` of `postgres (PostgreSQL)
/// 19beta1`.
fn major(version: &str) -> Option<&str> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let end = number
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(number.len());
    number.get(..end).filter(|major| !major.is_empty())
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn the_major_version_is_read_off_every_kind_of_release() {
        assert_eq!(
            major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some("15")
        );
        assert_eq!(major("postgres (PostgreSQL) 19beta1\n"), Some("19"));
        assert_eq!(major("postgres (PostgreSQL) 17"), Some("17"));
        assert_eq!(major("GNU postgres"), None);
    }
}
