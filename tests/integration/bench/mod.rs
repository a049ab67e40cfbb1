//! The benchmark, and its page.

pub(crate) mod benchmark;
mod benchmark_page;
