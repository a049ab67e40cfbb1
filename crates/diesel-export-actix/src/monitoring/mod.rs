//! What operators look at: health, metrics, the log of requests.

pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod request_log;
