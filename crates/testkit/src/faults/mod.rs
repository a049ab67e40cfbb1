//! What happens to an export's connections, locks and queries.

pub mod contender;
pub mod gate;
pub mod proxy;
