//! Exports: the same bytes by every strategy, every dataset, every fault.

mod any_data;
mod datasets;
mod declared_dataset;
mod fault_matrix;
mod faults;
mod locks;
mod lookup;
mod manifest;
mod moments;
mod one_moment;
mod order;
mod prepared_matrix;
mod properties;
mod same_bytes;
mod secrets;
mod settings;
mod types;
pub(crate) mod xlsx;
