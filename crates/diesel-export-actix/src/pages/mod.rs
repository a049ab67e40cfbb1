//! Pages for people, and what they are made of.

pub(crate) mod export_page;
pub mod html;
pub mod layout;
pub mod static_files;
