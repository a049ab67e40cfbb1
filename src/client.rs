//! The HTTP client of the command line: for the files and the manifests of a service.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// Time to wait for a connection, for an answer, and for each further piece of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that trusts whom the system trusts. What the service says comes as an answer, whatever its status.
pub(crate) fn agent() -> Agent {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(provider)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        // A connection on which something went wrong is of no use for the next request.
        .max_idle_connections(0)
        .build()
        .into()
}

/// Whether no other attempt can do better: the URL is at fault, or the service is not who it should be.
pub(crate) fn is_final(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::TooManyRedirects
        | ureq::Error::Rustls(_) => true,
        ureq::Error::Io(error) => error
            .get_ref()
            .is_some_and(|error| error.is::<rustls::Error>()),
        _ => false,
    }
}
