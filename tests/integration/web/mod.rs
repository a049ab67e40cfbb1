//! The service: addresses, pages, limits, who gets in.

mod access;
mod broken_off;
mod browser;
mod changing_tables;
mod compression;
mod connections;
mod counts;
mod hostile_input;
mod http;
mod life_cycle;
mod limits;
mod made_first;
mod openapi;
mod page;
mod prepared;
mod prepared_faults;
mod prepared_file;
mod prepared_page;
mod prepared_store;
mod request_log;
mod sites;
mod spool;
mod users;
mod wget;
mod xlsx;
