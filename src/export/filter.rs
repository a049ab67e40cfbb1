//! Which tasks to export.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The tasks to export: those for which everything that is set here holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Filter {
    /// Whether the task is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<bool>,
    /// The location of the task's asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location_id: Option<i64>,
    /// The task's asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset_id: Option<i64>,
    /// Who created the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by_id: Option<i64>,
    /// Who last changed the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub updated_by_id: Option<UpdatedBy>,
    /// A part of the task's title, in upper or lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<Title>,
    /// The last task's id. The benchmark's, to compare sizes; no parameter of an export.
    #[serde(skip)]
    pub up_to_id: Option<i64>,
}

/// Who last changed a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum UpdatedBy {
    /// The user of this id.
    User(i64),
    /// Nobody, since the task was created: `none`.
    Nobody,
}

/// Neither an id nor `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a user's id nor `none`")]
pub struct InvalidUpdatedBy;

impl FromStr for UpdatedBy {
    type Err = InvalidUpdatedBy;

    fn from_str(text: &str) -> Result<Self, InvalidUpdatedBy> {
        match text {
            "none" => Ok(Self::Nobody),
            _ => text.parse().map(Self::User).map_err(|_| InvalidUpdatedBy),
        }
    }
}

impl TryFrom<String> for UpdatedBy {
    type Error = InvalidUpdatedBy;

    fn try_from(text: String) -> Result<Self, InvalidUpdatedBy> {
        text.parse()
    }
}

impl From<UpdatedBy> for String {
    fn from(updated_by: UpdatedBy) -> Self {
        updated_by.to_string()
    }
}

impl fmt::Display for UpdatedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::Nobody => f.write_str("none"),
        }
    }
}

/// PostgreSQL stores no NUL character, in no text, and reads none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text has a NUL character, which PostgreSQL cannot hold")]
pub struct NulCharacter;

/// A text to find in titles; it has no NUL character.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
pub struct Title(String);

impl FromStr for Title {
    type Err = NulCharacter;

    fn from_str(text: &str) -> Result<Self, NulCharacter> {
        if text.contains('\0') {
            Err(NulCharacter)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Title {
    type Error = NulCharacter;

    fn try_from(text: String) -> Result<Self, NulCharacter> {
        text.parse()
    }
}

impl Title {
    /// The text to find.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pattern for `ILIKE` that finds the text, in which LIKE's own special characters stand for themselves.
    pub fn like_pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.0.len() + 2);
        pattern.push('%');
        for character in self.0.chars() {
            if matches!(character, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push('%');
        pattern
    }
}
