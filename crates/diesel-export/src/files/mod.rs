//! Files that appear complete or not at all, that wait for their readers, and that are checked.

pub mod atomic_file;
pub mod spool;
pub mod store;
pub mod verify;
