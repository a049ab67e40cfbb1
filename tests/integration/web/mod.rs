//! The service: addresses, pages, limits, who gets in.

mod access;
mod browser;
mod changing_tables;
mod compression;
mod hostile_input;
mod http;
mod life_cycle;
mod limits;
mod openapi;
mod page;
mod prepared;
mod prepared_faults;
mod prepared_file;
mod prepared_page;
mod spool;
mod words;
mod xlsx;
