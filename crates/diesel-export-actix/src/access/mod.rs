//! Access control: hosts and tokens, beside [sites](crate::access::sites); and the security headers of responses.

pub(crate) mod client_address;
pub(crate) mod failures;
pub(crate) mod forwarded_user;
pub(crate) mod rules;
pub(crate) mod sites;
pub(crate) mod visible;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::middleware::{DefaultHeaders, Next};
use actix_web::{Error, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::access::client_address::client_address;
use crate::access::sites::Sites;
use crate::monitoring::metrics::Rejection;
use crate::problem::{Kind, Problem};
use crate::service::app::App;
use crate::service::app::Settings;
use crate::service::base_path::BasePath;

/// The paths that need no token: they reveal nothing more than a state.
pub(crate) const OPEN: [&str; 2] = ["/livez", "/readyz"];
/// Failed attempts that an address may make in `TRIES_PERIOD`.
const MAX_TRIES: u32 = 10;
const TRIES_PERIOD: Duration = Duration::from_secs(60);
/// Addresses whose failed attempts are remembered.
const MAX_ADDRESSES: usize = 10_000;

/// The rules for requests.
pub(crate) struct Access {
    base_path: BasePath,
    /// Bound to loopback: then only requests to loopback names are accepted, against DNS rebinding.
    pub(crate) loopback: bool,
    /// Other accepted host names. If there are any, only these and loopback names are accepted, wherever the service is bound.
    allowed_hosts: Vec<String>,
    pub(crate) sites: Sites,
    /// The SHA-256 of the token, if one is needed.
    token: Option<[u8; 32]>,
    tries: Mutex<HashMap<IpAddr, Tries>>,
}

struct Tries {
    count: u32,
    since: Instant,
}

impl Access {
    pub(crate) fn new(loopback: bool, settings: &Settings) -> Self {
        let token = settings.auth_token.as_ref();
        Self {
            base_path: settings.base_path.clone(),
            loopback,
            allowed_hosts: settings.allowed_hosts.clone(),
            sites: Sites::new(
                &settings.allowed_origins,
                &settings.catalog,
                settings.application.sections,
            ),
            token: token.map(|token| Sha256::digest(token).into()),
            tries: Mutex::default(),
        }
    }

    fn check(&self, request: &ServiceRequest) -> Result<(), Problem> {
        let headers = request.headers();
        let is_open = OPEN.contains(&self.base_path.strip(request.path()));
        // Probes use an address that nobody can configure beforehand.
        let is_named = self.loopback || !(self.allowed_hosts.is_empty() || is_open);
        if is_named && !self.names_us(headers) {
            return Err(Problem::new(Kind::WrongHost));
        }
        self.sites
            .check(request.request(), self.base_path.strip(request.path()))?;
        match &self.token {
            Some(token) if !is_open => {
                let address = client_address(request.request()).map(network);
                self.authenticate(token, headers, address)
            }
            _ => Ok(()),
        }
    }

    /// Whether the request names this machine by a loopback name or by one that was allowed, if it names any.
    fn names_us(&self, headers: &HeaderMap) -> bool {
        headers.get_all(header::HOST).all(|host| {
            host.to_str().is_ok_and(|host| {
                is_loopback_name(host)
                    || host.parse::<Authority>().is_ok_and(|authority| {
                        self.allowed_hosts
                            .iter()
                            .any(|allowed| is_same_host(authority.host(), allowed))
                    })
            })
        })
    }

    fn authenticate(
        &self,
        token: &[u8; 32],
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<(), Problem> {
        // A browser first sends no credentials, and asks for a password only after this response.
        let Some(given) = headers.get(header::AUTHORIZATION) else {
            return Err(Problem::new(Kind::Unauthorized));
        };
        // Hashes of equal length: the time reveals neither how much is equal nor how long the token is.
        let matches =
            |candidate: &[u8]| bool::from(Sha256::digest(candidate).as_slice().ct_eq(token));
        // The right token is accepted however many attempts from its address have failed: otherwise, clients behind one proxy could lock
        // each other out.
        if candidate(given).is_some_and(|candidate| matches(&candidate)) {
            return Ok(());
        }
        let mut all_tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = address.and_then(|address| all_tries.get(&address));
        if let Some(tries) = tries.filter(|tries| tries.count >= MAX_TRIES) {
            let left = TRIES_PERIOD.saturating_sub(tries.since.elapsed());
            if !left.is_zero() {
                return Err(Problem::new(Kind::TooManyTries {
                    retry_seconds: left.as_secs() + 1,
                }));
            }
        }
        if let Some(address) = address {
            all_tries.retain(|_, tries| tries.since.elapsed() < TRIES_PERIOD);
            if all_tries.len() >= MAX_ADDRESSES && !all_tries.contains_key(&address) {
                return Err(Problem::new(Kind::TooManyTries {
                    retry_seconds: TRIES_PERIOD.as_secs(),
                }));
            }
            let tries = all_tries.entry(address).or_insert(Tries {
                count: 0,
                since: Instant::now(),
            });
            tries.count += 1;
        }
        Err(Problem::new(Kind::Unauthorized))
    }
}

/// Whether the value of a `Host` header names this machine by a loopback name or address.
pub(crate) fn is_loopback_name(host: &str) -> bool {
    host.parse::<Authority>().is_ok_and(|authority| {
        let host = authority.host();
        host.eq_ignore_ascii_case("localhost")
            || address_in(host).is_some_and(|address| address.is_loopback())
    })
}

/// Whether two hosts, by name or by address, are the same one.
fn is_same_host(one: &str, other: &str) -> bool {
    // An IPv6 address can be written in several ways.
    let addresses = address_in(one).zip(address_in(other));
    addresses.map_or_else(
        || one.eq_ignore_ascii_case(other),
        |(one, other)| one == other,
    )
}

/// Returns the address that a host is, in brackets for IPv6; `None` if it is a name.
fn address_in(host: &str) -> Option<IpAddr> {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse().ok()
}

/// The key by which attempts are counted: an IPv4 address, or the /64 network of an IPv6 address, which one client may have all of.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// The token in an `Authorization` header: a bearer token, or the password of HTTP Basic with any user name.
fn candidate(header: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, value) = header.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().as_bytes().to_vec());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = STANDARD.decode(value.trim()).ok()?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        return Some(pair[colon + 1..].to_vec());
    }
    None
}

/// Rejects requests without access.
pub(crate) async fn guard<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let app = request.app_data::<web::Data<App>>().cloned();
    let checked = app
        .as_ref()
        .map_or(Err(Problem::new(Kind::Internal)), |app| {
            app.access.check(&request)
        });
    match checked {
        Ok(()) => match visible::authorize(request.request()).await {
            Ok(()) => Ok(next.call(request).await?.map_into_left_body()),
            Err(error) => Ok(request.error_response(error).map_into_right_body()),
        },
        Err(problem) => {
            if let (Some(app), Some(rejection)) = (app, problem.rejection()) {
                app.metrics.rejected(rejection);
            }
            Ok(request.error_response(problem).map_into_right_body())
        }
    }
}

impl Problem {
    fn rejection(&self) -> Option<Rejection> {
        match self.kind() {
            Kind::Unauthorized => Some(Rejection::Unauthorized),
            Kind::TooManyTries { .. } => Some(Rejection::TooManyTries),
            _ => None,
        }
    }
}

/// The security headers of every response.
pub(crate) fn security_headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ))
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::X_FRAME_OPTIONS, "DENY"))
        // With `no-referrer`, forms would say that they come from nowhere (`Origin: null`).
        .add((header::REFERRER_POLICY, "same-origin"))
        .add((header::CACHE_CONTROL, "no-store"))
        .add(("Cross-Origin-Resource-Policy", "same-origin"))
        .add(("Cross-Origin-Opener-Policy", "same-origin"))
}

#[cfg(test)]
mod tests;
