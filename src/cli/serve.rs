//! The flags of `serve`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use actix_web::http::header::HeaderName;
use ipnet::IpNet;

use super::flags::{ExportFlags, one_of};
use crate::process::secret;
use diesel_export::units::{bytes, duration, seconds};
use diesel_export_actix::{BasePath, Compression};

/// The web service.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Address to listen on, unless systemd passes a socket; port 0 chooses a free port and prints it
    #[arg(
        long,
        env = "CMMS_BIND",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080"
    )]
    pub bind: SocketAddr,
    /// Path that all addresses begin with, as `/exports` behind a proxy that passes it on
    #[arg(long, env = "CMMS_BASE_PATH", value_name = "PATH", default_value = "/")]
    pub base_path: BasePath,
    /// Maximum number of exports that run at once; further requests get 503
    #[arg(long, env = "CMMS_MAX_EXPORTS", value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_exports: u16,
    /// Maximum number of downloads at once, including those whose export has ended; further requests get 503
    #[arg(long, env = "CMMS_MAX_DOWNLOADS", value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub max_downloads: u16,
    /// Maximum length of the preparation queue; further requests get 503
    #[arg(long, env = "CMMS_MAX_QUEUED", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub max_queued: u16,
    /// How long prepared exports are kept: seconds, or a number with m, h or d
    #[arg(long, env = "CMMS_KEEP_EXPORTS", value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub keep_exports: Duration,
    /// Directory for prepared exports and for data that slow clients have not read yet [default: spool in the data directory]
    #[arg(long, env = "CMMS_SPOOL_DIR", value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    /// Maximum size of the spool; 0 disables prepared exports and workbooks over HTTP, and makes exports wait for slow clients
    #[arg(long, env = "CMMS_SPOOL_SIZE", value_name = "SIZE", default_value = "10GiB", value_parser = bytes)]
    pub spool_size: u64,
    /// Time after which a client that reads nothing is disconnected (on Linux, anything below about 6 KB a second may count as
    /// nothing)
    #[arg(long, env = "CMMS_READER_TIMEOUT", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub reader_timeout: Duration,
    /// Keep-alive timeout of idle connections: longer than that of a proxy or load balancer, which is often 60 s
    #[arg(long, env = "CMMS_KEEP_ALIVE", value_name = "SECONDS", default_value = "75", value_parser = seconds)]
    pub keep_alive: Duration,
    /// Time that running exports have to finish when the service is stopped
    #[arg(long, env = "CMMS_SHUTDOWN_TIMEOUT", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub shutdown_timeout: Duration,
    /// When to compress downloads, with zstd or gzip, as the client accepts
    #[arg(long, env = "CMMS_COMPRESSION", value_parser = one_of::<Compression>(), default_value_t)]
    pub compression: Compression,
    /// What `serve` and `export` have of every export
    #[command(flatten)]
    pub exports: ExportFlags,
    /// Host name or address (`10.1.2.3`, `[2001:db8::1]`) to accept in requests, without a port, besides loopback names [default: on
    /// a loopback address loopback names only, elsewhere any]
    #[arg(long, env = "CMMS_ALLOWED_HOST", value_name = "NAME", value_delimiter = ',', value_parser = host_name)]
    pub allowed_host: Vec<String>,
    /// Origin, such as `https://portal.example.org`, whose cross-site requests are allowed
    #[arg(long, env = "CMMS_ALLOWED_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = origin, help_heading = "Access")]
    pub allowed_origin: Vec<String>,
    /// Proxy, by its address or network (`10.1.2.0/24`), whose `Forwarded` or `X-Forwarded-For` is trusted: the client's address, in
    /// limits and logs, is then the last one there that is not a trusted proxy's
    #[arg(long, env = "CMMS_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',', value_parser = network, help_heading = "Access")]
    pub trusted_proxy: Vec<IpNet>,
    /// The token that requests need
    #[command(flatten)]
    pub auth_token: AuthToken,
    /// Who the users are
    #[command(flatten)]
    pub users: Users,
    /// Allow benchmarks even if other machines can reach the address
    #[arg(long, env = "CMMS_ALLOW_BENCHMARKS", help_heading = "Access")]
    pub allow_benchmarks: bool,
    /// Allow requests without a token even if other machines can reach the address
    #[arg(long, env = "CMMS_ALLOW_UNAUTHENTICATED", help_heading = "Access", value_parser = clap::builder::BoolishValueParser::new())]
    pub allow_unauthenticated: bool,
    /// Time to wait for the database at the start, logging failed attempts; with replicas, the service starts without it [default: 5
    /// s, not logged]
    #[arg(long, env = "CMMS_WAIT_FOR_DATABASE", value_name = "SECONDS", value_parser = seconds, help_heading = "Database")]
    pub wait_for_database: Option<Duration>,
    /// Fail if DATABASE_URL is unset [default: start a private cluster with made-up data]
    #[arg(long, env = "CMMS_REQUIRE_DATABASE", value_parser = clap::builder::BoolishValueParser::new(), help_heading = "Database")]
    pub require_database: bool,
}

/// The token that the service wants from its clients.
#[derive(Debug, clap::Args)]
pub struct AuthToken {
    /// Token that requests need, as a bearer token or as the password of HTTP basic authentication; required if other machines can
    /// reach the address
    // Hidden: `--help` prints values.
    #[arg(long, env = "CMMS_AUTH_TOKEN", help_heading = "Access", value_name = "TOKEN", hide_env_values = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    auth_token: Option<String>,
    /// File with the token [default: systemd's credential auth-token, if there is one]
    #[arg(long, env = "CMMS_AUTH_TOKEN_FILE", help_heading = "Access", value_name = "FILE", conflicts_with = "auth_token", value_parser = secret::in_file)]
    auth_token_file: Option<String>,
}

impl AuthToken {
    /// The token, if there is one.
    pub fn get(&self) -> Option<&str> {
        let either = self.auth_token.as_ref().or(self.auth_token_file.as_ref());
        either.map(String::as_str)
    }

    /// Whether there is one that can be guessed.
    pub fn is_short(&self) -> bool {
        self.get()
            .is_some_and(|token| token.len() < MIN_TOKEN_LENGTH)
    }
}

/// The fewest bytes of a token that nobody guesses.
const MIN_TOKEN_LENGTH: usize = 16;

/// Reads a host's name or address, without a port.
fn host_name(name: &str) -> Result<String, String> {
    let is_name = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let in_brackets = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let is_host = match in_brackets {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.split('.').all(is_name),
    };
    if is_host {
        Ok(name.to_owned())
    } else {
        Err("expected a name such as exports.example.org, or an address such as 10.1.2.3 or [2001:db8::1], without a port".to_owned())
    }
}

/// Reads an origin, and returns it as browsers write it.
fn origin(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let port = match text.split_once("://") {
        Some(("https", _)) => ":443",
        Some(("http", _)) => ":80",
        _ => "/",
    };
    let origin = text.strip_suffix(port).unwrap_or(&text);
    let authority = origin
        .split_once("://")
        .map_or("", |(_, authority)| authority);
    let is_origin = port != "/"
        && !authority.is_empty()
        && authority.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
        });
    if is_origin {
        Ok(origin.to_owned())
    } else {
        Err("expected an origin such as https://portal.example.org, without a path".to_owned())
    }
}

/// Reads a network, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse();
    let network = network.or_else(|_| text.parse().map(|address: IpAddr| address.into()));
    network.map_err(|_| "expected an address or a network, such as 10.1.2.0/24".to_owned())
}

/// Who the users are, as a proxy says it, and what each may see.
#[derive(Debug, Clone, clap::Args)]
pub struct Users {
    /// Header field in which the proxy names the user, such as `X-Forwarded-User`. It is believed beside the token, by which the proxy
    /// proves who it is: nobody else may know it. Each user then has prepared exports alone [default: all requests are of one user]
    #[arg(
        long,
        env = "CMMS_USER_HEADER",
        value_name = "NAME",
        help_heading = "Access"
    )]
    pub user_header: Option<HeaderName>,
    /// Header field in which the proxy names the user's groups, separated by commas
    #[arg(
        long,
        env = "CMMS_GROUPS_HEADER",
        value_name = "NAME",
        requires = "user_header",
        help_heading = "Access"
    )]
    pub groups_header: Option<HeaderName>,
    /// TOML file that says what which user or group may see [default: every user may see all]
    #[arg(
        long,
        env = "CMMS_ACCESS_FILE",
        value_name = "FILE",
        requires = "user_header",
        help_heading = "Access"
    )]
    pub access_file: Option<PathBuf>,
}

impl Serve {
    /// Checks that the address lets nobody in by mistake.
    pub fn check(&self, address: SocketAddr) -> Result<(), OpenToAll> {
        let has_users = self.users.user_header.is_some();
        if has_users && self.auth_token.get().is_none() {
            return Err(OpenToAll::NoProof);
        }
        // A proxy lets others in, too.
        let has_proxy =
            has_users || !(self.allowed_host.is_empty() && self.trusted_proxy.is_empty());
        let is_loopback = address.ip().is_loopback();
        if self.auth_token.is_short() && (has_proxy || !is_loopback) {
            Err(OpenToAll::ShortToken)
        } else if is_loopback {
            Ok(())
        } else if self.auth_token.get().is_none() && !self.allow_unauthenticated {
            Err(OpenToAll::NoToken(address))
        } else {
            Ok(())
        }
    }
}

/// The service would be open to everybody who reaches the address.
#[derive(Debug, thiserror::Error)]
pub enum OpenToAll {
    /// There is no token.
    #[error(
        "{0} can be reached from other machines: set CMMS_AUTH_TOKEN, or say --allow-unauthenticated if everybody may export"
    )]
    NoToken(SocketAddr),
    /// Nothing proves that a request comes from the proxy.
    #[error(
        "--user-header (CMMS_USER_HEADER) is believed only beside the token, by which the proxy proves who it is: set CMMS_AUTH_TOKEN"
    )]
    NoProof,
    /// The token can be guessed.
    #[error(
        "other machines can reach the service, themselves or by a proxy (--allowed-host, --trusted-proxy, --user-header), and the token has fewer than \
         {MIN_TOKEN_LENGTH} bytes: `openssl rand -hex 32` makes one"
    )]
    ShortToken,
}
