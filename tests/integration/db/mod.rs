//! The database: the private cluster, replicas, tables of others.

mod django;
mod other_tables;
mod private_cluster;
mod replicas;
mod schema;
