//! The database: the private cluster and its backups, replicas, tables of others.

mod backup;
mod django;
mod embedded;
mod replicas;
mod schema;
mod upgrade;
