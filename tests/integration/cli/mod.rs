//! The command line, and the program itself.

mod build;
mod command_line;
mod seed;
mod start;
