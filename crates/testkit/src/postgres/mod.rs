//! PostgreSQL: a cluster for a test process with a database for each test, replicas, TLS.

pub mod cluster;
pub mod replica_servers;
pub mod replicated;
pub mod tls;
