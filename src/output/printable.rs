//! Text from outside (file names, manifests, a server's messages), made safe to print.

use std::borrow::Cow;

/// Returns the text with `\u001b` and the like for each character that is not shown but has an effect: controls, which a terminal executes,
/// line ends, which forge a line of a log, and marks that change the direction of writing. In JSON's strings, these escapes mean the same
/// characters.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_active(character) {
            // All are in the basic plane.
            shown += &format!("\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown.into()
}

fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        for text in ["", "plain, ü, 漢字, e\u{301}, 👩\u{200d}🔧"] {
            assert_eq!(printable(text), text);
        }
        assert_eq!(
            printable("\u{1b}[2J\u{9b}31m\u{7f}\n\u{2028}\u{202e}\u{2066}\u{200f}x"),
            r"\u001b[2J\u009b31m\u007f\u000a\u2028\u202e\u2066\u200fx"
        );
    }
}
