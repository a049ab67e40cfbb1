//! Connection strings.

use crate::raw;

/// The text is no connection string. The error does not say what is wrong: that could be a part of the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the database's URL is not valid: expected postgresql://user:password@host:port/database, special characters percent-encoded"
)]
pub struct InvalidUrl;

/// Returns the options that a connection string sets, a URL or keywords and values, without connecting.
///
/// ```
/// let options = diesel_copy_out::connection_options("postgresql://ann@db/people")?;
/// assert!(options.contains(&("dbname".to_owned(), "people".to_owned())));
/// # Ok::<_, diesel_copy_out::InvalidUrl>(())
/// ```
pub fn connection_options(url: &str) -> Result<Vec<(String, String)>, InvalidUrl> {
    let options = raw::connection_options(url).ok_or(InvalidUrl)?;
    // libpq checks the port and the host only later, and its errors quote them: after a stray `/`, `:` or `@`, they may be a part of the
    // password. A host can begin with `@`: an abstract socket does.
    let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    let is_host = |host: &str| host.rfind('@').is_none_or(|at| at == 0);
    let valid = options
        .iter()
        .all(|(keyword, value)| match keyword.as_str() {
            "port" => value.split(',').all(is_port),
            "host" => value.split(',').all(is_host),
            _ => true,
        });
    if valid { Ok(options) } else { Err(InvalidUrl) }
}
