//! Texts to search for.

use std::str::FromStr;

/// The most characters of a search text: PostgreSQL puts it into lower case for every row.
pub const MAX_SEARCH_LENGTH: usize = 200;

/// Why a text cannot be searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// PostgreSQL neither stores nor reads a NUL character in a text.
    #[error("the text has a NUL character, which PostgreSQL cannot hold")]
    Nul,
    /// It is longer than [`MAX_SEARCH_LENGTH`].
    #[error("the text has more than {MAX_SEARCH_LENGTH} characters")]
    TooLong,
}

/// A text to search for. It has no NUL character, and is not too long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchText(String);

impl FromStr for SearchText {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.contains('\0') {
            Err(InvalidText::Nul)
        } else if text.chars().nth(MAX_SEARCH_LENGTH).is_some() {
            Err(InvalidText::TooLong)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl SearchText {
    /// The text to find.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its words.
    pub fn words(&self) -> impl Iterator<Item = Self> {
        self.0.split_whitespace().map(|word| Self(word.to_owned()))
    }
}

/// The pattern for `ILIKE` that finds a text. LIKE's special characters stand for themselves in it.
pub(in crate::dataset) fn like_pattern(text: &str) -> String {
    format!("%{}%", like_literal(text))
}

/// The pattern that a text itself fits, and no other.
pub(in crate::dataset) fn like_literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_special_characters_of_like_stand_for_themselves() {
        assert_eq!(like_pattern("plain"), "%plain%");
        assert_eq!(like_pattern(r"100%_\"), r"%100\%\_\\%");
        assert_eq!(like_pattern(""), "%%");
    }
}
