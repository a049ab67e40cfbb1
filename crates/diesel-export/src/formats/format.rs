//! The format of an export's file.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumMessage, EnumString, IntoStaticStr, VariantArray};

use crate::csv;

/// A format of files.
#[derive(Display, EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// comma-separated values
    #[default]
    Csv,
    /// an Excel workbook
    Xlsx,
    /// JSON lines: an object for each row
    Ndjson,
}

impl FileType {
    /// Returns the extension of its files.
    pub fn extension(self) -> &'static str {
        self.into()
    }

    /// Whether its first bytes can be sent before the last row is known. A workbook is made first.
    pub fn is_streamed(self) -> bool {
        self != Self::Xlsx
    }
}

/// A file format with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// CSV, with its preset and separator.
    Csv(csv::Format),
    /// An Excel workbook, which has no settings.
    Xlsx,
    /// JSON lines, which have no settings.
    Ndjson,
}

impl Default for FileFormat {
    fn default() -> Self {
        Self::Csv(csv::Format::default())
    }
}

impl FileFormat {
    /// Returns the format without its settings.
    pub fn file_type(self) -> FileType {
        match self {
            Self::Csv(_) => FileType::Csv,
            Self::Xlsx => FileType::Xlsx,
            Self::Ndjson => FileType::Ndjson,
        }
    }

    /// The settings of the CSV, if the format is CSV.
    pub fn csv(self) -> Option<csv::Format> {
        match self {
            Self::Csv(format) => Some(format),
            Self::Xlsx | Self::Ndjson => None,
        }
    }

    /// The format of the lines that COPY encodes. Lines with other line ends or texts than COPY's own are made from the cells of lines for
    /// programs, as other formats are.
    pub(crate) fn copied(self) -> csv::Format {
        let own = self.csv().filter(|format| !format.escapes_formulas());
        own.unwrap_or_default()
    }

    /// The same for the lines that `lookup` encodes.
    pub(crate) fn lines(self) -> csv::Format {
        self.csv().unwrap_or_default()
    }
}
