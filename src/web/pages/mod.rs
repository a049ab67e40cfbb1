//! Pages for people, and what they are made of.

pub(crate) mod export_page;
pub(crate) mod html;
pub(crate) mod static_files;
