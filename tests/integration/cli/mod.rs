//! The command line, and the program itself.

mod build;
mod command_line;
mod connections;
mod end;
mod output;
mod seed;
mod start;
