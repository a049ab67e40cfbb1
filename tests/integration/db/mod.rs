//! The database: the private cluster, replicas, tables of others.

mod django;
mod embedded;
mod replicas;
mod schema;
