//! What the private cluster's server is set to.

use crate::Durability;

/// On the command line, so that they win over whatever is in `postgresql.conf`.
pub(crate) fn of(durability: Durability) -> impl Iterator<Item = &'static str> {
    let common = [
        "listen_addresses=",
        "unix_socket_permissions=0700",
        "max_connections=100",
        "logging_collector=off",
        "log_destination=stderr",
        // Nothing replicates or archives this cluster. Then a bulk load into a table that its
        // own transaction created or truncated need not write every row to the log too, nor be
        // checkpointed every few seconds.
        "wal_level=minimal",
        "archive_mode=off",
        "max_wal_senders=0",
        "max_wal_size=4GB",
        "checkpoint_timeout=15min",
    ];
    let by_durability: &[&str] = match durability {
        Durability::Durable => &[
            "fsync=on",
            "synchronous_commit=on",
            "full_page_writes=on",
            "shared_buffers=256MB",
        ],
        Durability::ThrowAway => &[
            "fsync=off",
            // Without fsync, it costs little. If it were off, VACUUM could not mark a page until its transactions, and those with ids
            // near theirs, even another test's, are written out.
            "synchronous_commit=on",
            "full_page_writes=off",
            // If it worked while a test fills a table, it would keep the test's own VACUUM from the visibility map.
            "autovacuum=off",
            // To load the compiler costs each connection more than any query of a test, and what plans are forced on it look dear.
            "jit=off",
            "shared_buffers=64MB",
        ],
    };
    common.into_iter().chain(by_durability.iter().copied())
}
