//! The program as its users run it, an export without it, and other programs.

pub mod in_process;
pub mod program;
pub mod python;
pub mod terminal;
