//! The command line, and the program itself.

mod build;
mod command_line;
mod connections;
mod fetch;
mod fetch_refused;
mod output;
mod seed;
mod start;
