//! The address of a request's client, also behind proxies that are trusted to name it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{HttpRequest, web};
use ipnet::IpNet;

use crate::service::app::App;

/// Returns the address of the client: that of the connection, or, if this is a trusted proxy's, the one that it names.
pub(crate) fn client_address(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip().to_canonical();
    let app = request.app_data::<web::Data<App>>();
    let trusted = app.map_or(&[][..], |app| &app.settings.trusted_proxies);
    Some(named(peer, request.headers(), trusted))
}

/// Follows the proxies from `peer` to the first address that is not a trusted one's.
fn named(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let has = |name: &HeaderName| headers.contains_key(name);
    let by = |name: HeaderName, address_in: fn(&str) -> Option<IpAddr>| {
        let values = headers.get_all(&name);
        let texts: Vec<&str> = values.map(|value| value.to_str().unwrap_or("")).collect();
        // Each proxy adds the address of its own client at the end. What comes before may be forged.
        let mut hops = texts.iter().rev().flat_map(|text| text.rsplit(','));
        let mut address = peer;
        while trusted.iter().any(|network| network.contains(&address))
            && let Some(before) = hops.next().and_then(address_in)
        {
            address = before;
        }
        address
    };
    match (has(&header::FORWARDED), has(&header::X_FORWARDED_FOR)) {
        (false, _) => by(header::X_FORWARDED_FOR, address),
        (true, false) => by(header::FORWARDED, forwarded_for),
        (true, true) => {
            // A proxy that writes one of them passes on the client's own other one.
            let claimed = by(header::FORWARDED, forwarded_for);
            let is_same = claimed == by(header::X_FORWARDED_FOR, address);
            if is_same {
                return claimed;
            }
            static WARNED: Once = Once::new();
            WARNED.call_once(|| {
                tracing::warn!(
                    proxy = %peer,
                    "Forwarded and X-Forwarded-For contradict each other, so neither is believed: the proxy must write one of them and remove \
                     the other one"
                );
            });
            peer
        }
    }
}

/// Returns the address in an element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(node.trim().trim_matches('"'))
}

/// Reads an address, with or without a port or brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let alone = bare.unwrap_or(text).parse().ok();
    let address = alone.or_else(|| {
        text.parse()
            .ok()
            .map(|with_port: SocketAddr| with_port.ip())
    });
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    /// The client's address, as it is told by headers that come from 10.0.0.1.
    fn told(headers: &[(&str, &str)]) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        let trusted = trusted.map(|network| network.parse().expect("a network"));
        let mut request = TestRequest::default();
        for header in headers {
            request = request.append_header(*header);
        }
        let peer = IpAddr::from([10, 0, 0, 1]);
        named(peer, request.to_http_request().headers(), &trusted).to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_has() {
        let by_x = |value: &str| told(&[("X-Forwarded-For", value)]);
        assert_eq!(told(&[]), "10.0.0.1");
        assert_eq!(by_x("192.0.2.7"), "192.0.2.7");
        assert_eq!(by_x("6.6.6.6, 192.0.2.7"), "192.0.2.7", "a forged one");
        assert_eq!(
            by_x("6.6.6.6, 192.0.2.7 ,10.1.2.3, ::ffff:10.0.0.9"),
            "192.0.2.7"
        );
        assert_eq!(by_x("10.0.0.5, 10.0.0.6"), "10.0.0.5", "all are trusted");
        assert_eq!(by_x("192.0.2.7:4711"), "192.0.2.7");
        assert_eq!(by_x("[2001:db9::1]:4711, 2001:db8::5"), "2001:db9::1");
        for unknown in ["", "unknown", "6.6.6.6, unknown", "6.6.6.6,", "é"] {
            assert_eq!(by_x(unknown), "10.0.0.1", "{unknown}");
        }
        let lines = [
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-For", "192.0.2.7, 10.0.0.2"),
        ];
        assert_eq!(told(&lines), "192.0.2.7");
    }

    #[test]
    fn the_standard_header_says_the_same() {
        let by_standard = |value: &str| told(&[("Forwarded", value)]);
        assert_eq!(by_standard("for=192.0.2.7"), "192.0.2.7");
        assert_eq!(
            by_standard("for=6.6.6.6, by=x;FOR=\"[2001:db9::1]:4711\";proto=https, for=10.0.0.2"),
            "2001:db9::1"
        );
        assert_eq!(by_standard("for=\"6.6.6.6, for=192.0.2.7"), "192.0.2.7");
        assert_eq!(by_standard("for=_hidden"), "10.0.0.1");
        assert_eq!(by_standard("for=6.6.6.6, proto=https"), "10.0.0.1");
    }

    #[test]
    fn two_headers_that_contradict_each_other_name_nobody() {
        let both = |standard, other| told(&[("Forwarded", standard), ("X-Forwarded-For", other)]);
        assert_eq!(both("for=192.0.2.7", "192.0.2.7"), "192.0.2.7");
        assert_eq!(both("for=6.6.6.6", "192.0.2.7"), "10.0.0.1");
        assert_eq!(both("for=192.0.2.7", "6.6.6.6"), "10.0.0.1");
    }

    #[test]
    fn others_than_trusted_proxies_name_nobody() {
        let request = TestRequest::default().insert_header(("X-Forwarded-For", "192.0.2.7"));
        let peer = IpAddr::from([198, 51, 100, 1]);
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        let address = named(peer, request.to_http_request().headers(), &trusted);
        assert_eq!(address, peer);
    }
}
