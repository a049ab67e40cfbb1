//! What an export may take, what it does take, and how quantities are written.

pub(crate) mod budget;
pub(crate) mod limits;
pub mod memory;
pub mod units;
