//! Exports: the same bytes by every strategy, every dataset, every fault.

mod datasets;
mod declared_dataset;
mod fault_matrix;
mod faults;
mod lookup;
mod manifest;
mod moments;
mod prepared_matrix;
mod properties;
mod same_bytes;
mod secrets;
mod settings;
pub(crate) mod xlsx;
