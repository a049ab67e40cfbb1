//! What only tests need.

#[cfg(any(test, feature = "example"))]
pub mod example;
#[cfg(feature = "fault-injection")]
pub(crate) mod fault;
