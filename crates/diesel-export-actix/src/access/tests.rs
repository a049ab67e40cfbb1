use std::sync::Arc;

use super::*;
use crate::service::application::tests::APPLICATION;

const TOKEN: &str = "secret";

fn access() -> Access {
    Access {
        base_path: BasePath::default(),
        loopback: false,
        allowed_hosts: Vec::new(),
        sites: Sites::new(
            &[],
            &Arc::new(diesel_export::example::catalog()),
            APPLICATION.sections,
        ),
        token: None,
        tries: Mutex::default(),
    }
}

/// What a token from this address leads to.
fn enter(access: &Access, token: &str, address: [u8; 4]) -> Option<Kind> {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) {
        headers.insert(header::AUTHORIZATION, value);
    }
    let hash = Sha256::digest(TOKEN).into();
    let entered = access.authenticate(&hash, &headers, Some(address.into()));
    entered.err().map(|problem| problem.kind())
}

fn remember(access: &Access, address: [u8; 4], count: u32, since: Instant) {
    let mut tries = access.tries.lock().unwrap_or_else(PoisonError::into_inner);
    tries.insert(address.into(), Tries { count, since });
}

#[test]
fn a_client_that_guesses_waits_for_the_rest_of_a_minute_and_others_do_not() {
    let access = access();
    let (guesser, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    for _ in 0..MAX_TRIES {
        assert_eq!(enter(&access, "guess", guesser), Some(Kind::Unauthorized));
    }
    let refused = enter(&access, "guess", guesser);
    let Some(Kind::TooManyTries { retry_seconds }) = refused else {
        panic!("{refused:?}");
    };
    assert!((31..=60).contains(&retry_seconds), "{retry_seconds}");
    assert_eq!(enter(&access, "guess", other), Some(Kind::Unauthorized));
    assert_eq!(enter(&access, TOKEN, guesser), None);
    let half = Instant::now().checked_sub(TRIES_PERIOD / 2);
    remember(
        &access,
        guesser,
        MAX_TRIES,
        half.unwrap_or_else(Instant::now),
    );
    let refused = enter(&access, "guess", guesser);
    assert_eq!(refused, Some(Kind::TooManyTries { retry_seconds: 30 }));
    let before = Instant::now().checked_sub(TRIES_PERIOD);
    remember(
        &access,
        guesser,
        MAX_TRIES,
        before.unwrap_or_else(Instant::now),
    );
    assert_eq!(enter(&access, "guess", guesser), Some(Kind::Unauthorized));
}

#[test]
fn no_more_addresses_are_remembered_than_fit_and_they_go_on_being_counted() {
    let access = access();
    let address = |n: usize| [10, 0, (n / 256) as u8, (n % 256) as u8];
    for n in 1..MAX_ADDRESSES {
        remember(&access, address(n), 1, Instant::now());
    }
    assert_eq!(
        enter(&access, "guess", address(0)),
        Some(Kind::Unauthorized)
    );
    let full = Some(Kind::TooManyTries { retry_seconds: 60 });
    assert_eq!(enter(&access, "guess", [192, 0, 2, 1]), full);
    assert_eq!(
        enter(&access, "guess", address(1)),
        Some(Kind::Unauthorized)
    );
    assert_eq!(enter(&access, TOKEN, [192, 0, 2, 1]), None);
}

#[test]
fn tries_are_counted_by_an_ipv4_address_or_a_64_bit_network() {
    let counted = |text: &str| {
        let address: Option<IpAddr> = text.parse().ok();
        address.map(network).map(|network| network.to_string())
    };
    for (address, expected) in [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:3::", "2001:db8:1:3::"),
    ] {
        assert_eq!(counted(address).as_deref(), Some(expected));
    }
}

#[test]
fn a_token_is_the_bearers_or_the_password_of_any_user() {
    let given = |value: &'static str| candidate(&HeaderValue::from_static(value));
    let basic = |pair: &str| {
        let value = HeaderValue::from_str(&format!("basic {}", STANDARD.encode(pair)));
        candidate(&value.ok()?)
    };
    let token = Some(b"a:b c".to_vec());
    assert_eq!(given("Bearer a:b c"), token);
    assert_eq!(given("bearer  a:b c "), token);
    assert_eq!(basic("user:a:b c"), token);
    assert_eq!(basic(":a:b c"), token);
    assert_eq!(basic("secret"), None);
    for other in ["", "secret", "Digest secret", "Basic :secret"] {
        assert_eq!(given(other), None, "{other}");
    }
}

#[test]
fn a_host_is_the_same_however_it_is_written() {
    assert!(is_same_host("Exports.example", "exports.EXAMPLE"));
    assert!(is_same_host("[2001:db8::1]", "2001:db8:0::1"));
    assert!(!is_same_host("[2001:db8::1]", "[2001:db8::2]"));
    assert!(!is_same_host("exports.example", "192.0.2.1"));
    for loopback in ["localhost", "LOCALHOST:80", "127.9.9.9:8080", "[::1]:80"] {
        assert!(is_loopback_name(loopback), "{loopback}");
    }
    for other in ["localhost.example", "128.0.0.1", "[::2]", "a b", ""] {
        assert!(!is_loopback_name(other), "{other}");
    }
}

#[test]
fn wrong_tokens_are_counted_and_other_sites_are_not() {
    let counted = |kind| Problem::new(kind).rejection();
    let unauthorized = counted(Kind::Unauthorized);
    assert!(matches!(unauthorized, Some(Rejection::Unauthorized)));
    let too_many = counted(Kind::TooManyTries { retry_seconds: 1 });
    assert!(matches!(too_many, Some(Rejection::TooManyTries)));
    assert!(counted(Kind::CrossSite).is_none());
}
