//! What every page shows around its content.

use crate::pages::static_files::{BASE_STYLE, FAVICON, StaticFile};
use crate::service::app::Settings;
use crate::service::application::{EXPORT, Section};

/// What every page shows around its content.
#[derive(Debug)]
pub struct Layout {
    /// The path that all addresses begin with.
    pub base: String,
    /// HTML above the page, if the data are made up.
    pub demonstration: Option<&'static str>,
    /// The section that the page is in.
    pub section: Section,
    /// All sections.
    pub sections: Vec<Section>,
}

impl Layout {
    /// The layout of a page in a section. Without settings it is that of a service that is starting.
    pub(crate) fn new(settings: Option<&Settings>, section: Section) -> Self {
        let application = settings.map(|settings| settings.application);
        let sections = application.map_or(&[][..], |application| application.sections);
        let is_demonstration = settings.is_some_and(|settings| settings.is_demonstration);
        Self {
            base: settings.map_or_else(String::new, |settings| settings.base_path.to_string()),
            demonstration: application
                .filter(|_| is_demonstration)
                .map(|application| application.demonstration),
            section,
            sections: [&[EXPORT], sections].concat(),
        }
    }

    /// The address of the icon.
    pub fn icon(&self) -> String {
        self.file(&FAVICON)
    }

    /// The address of the stylesheet of all pages.
    pub fn style(&self) -> String {
        self.file(&BASE_STYLE)
    }

    /// The address of a file that a page names.
    pub fn file(&self, file: &StaticFile) -> String {
        format!("{}{}", self.base, file.path())
    }
}
