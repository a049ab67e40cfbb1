//! From the tasks' own columns to lines of the export.

use super::Names;
use crate::db;
use crate::export::Error;
use crate::export::csv::{DONE, Format, NOT_DONE};

/// How COPY is to send the columns. Its text format costs the server least: CSV takes a tenth more of its time, and the binary
/// format has twice the bytes to move.
pub(super) const COPY_OPTIONS: &str = "format text, null ''";
const DELIMITER: u8 = b'\t';

/// Makes lines of the export of what COPY sends of a task: id, title, done, asset, creator and editor.
pub(super) struct RowEncoder<'n> {
    names: &'n Names,
    format: Format,
    done: Vec<u8>,
    not_done: Vec<u8>,
}

impl<'n> RowEncoder<'n> {
    pub(super) fn new(names: &'n Names, format: Format) -> Self {
        let label = |text: &str| [&[format.delimiter.byte()], text.as_bytes()].concat();
        Self {
            names,
            format,
            done: label(DONE),
            not_done: label(NOT_DONE),
        }
    }

    /// Appends the line for a task to `lines`.
    pub(super) fn encode(&self, row: &[u8], lines: &mut Vec<u8>) -> Result<(), Error> {
        let Some(task) = Task::read(row) else {
            return Err(inconsistent(format!(
                "COPY has sent {:?} for a task",
                String::from_utf8_lossy(row)
            )));
        };
        #[cfg(feature = "fault-injection")]
        crate::export::fault::panic_at_task(task.id);
        let names = self.names;
        let asset = names
            .asset(task.asset)
            .ok_or_else(|| missing(&task, "asset", task.asset))?;
        let user = |id| names.user(id).ok_or_else(|| missing(&task, "user", id));
        let delimiter = self.format.delimiter.byte();
        let creator = user(task.created_by)?;
        let editor = match task.updated_by {
            Some(id) => user(id)?,
            None => std::slice::from_ref(&delimiter),
        };
        let done = if task.done {
            &self.done
        } else {
            &self.not_done
        };
        lines.extend_from_slice(task.id);
        lines.push(delimiter);
        if task.title.contains(&b'\\') {
            self.format.write_text(&unescaped(task.title), lines);
        } else {
            self.format.write_text(task.title, lines);
        }
        for part in [asset, done, creator, editor, self.format.line_end()] {
            lines.extend_from_slice(part);
        }
        Ok(())
    }
}

/// Within one snapshot, the foreign keys rule it out: so there is one that was not checked.
fn missing(task: &Task<'_>, what: &str, id: i64) -> Error {
    let task = String::from_utf8_lossy(task.id);
    inconsistent(format!(
        "the task {task} refers to {what} {id}, which is not there"
    ))
}

fn inconsistent(what: String) -> Error {
    Error::Database(db::Error::Inconsistent(what))
}

/// A task as COPY has it.
struct Task<'r> {
    id: &'r [u8],
    /// With the text format's escapes.
    title: &'r [u8],
    done: bool,
    asset: i64,
    created_by: i64,
    updated_by: Option<i64>,
}

impl<'r> Task<'r> {
    fn read(row: &'r [u8]) -> Option<Self> {
        let mut rest = row.strip_suffix(b"\n")?;
        let updated_by = last_integer(&mut rest)?;
        let created_by = last_integer(&mut rest)??;
        let asset = last_integer(&mut rest)??;
        let (id_and_title, done) = match rest {
            [id_and_title @ .., DELIMITER, b't'] => (id_and_title, true),
            [id_and_title @ .., DELIMITER, b'f'] => (id_and_title, false),
            _ => return None,
        };
        let (id, title) =
            id_and_title.split_at(id_and_title.iter().position(|byte| *byte == DELIMITER)?);
        Some(Self {
            id,
            title: &title[1..],
            done,
            asset,
            created_by,
            updated_by,
        })
    }
}

/// A text without the escapes of COPY's text format.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'b') => b'\x08',
                Some(b'f') => b'\x0c',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => b'\x0b',
                // Any other stands for itself: the backslash.
                other => *other.unwrap_or(byte),
            },
            byte => *byte,
        });
    }
    plain
}

/// Takes the last field, with the delimiter before it, off `line`: an integer, `None` within if it is empty. `None` if it is
/// something else.
fn last_integer(line: &mut &[u8]) -> Option<Option<i64>> {
    let mut value = 0_u64;
    let mut scale = 1_u64;
    for (start, byte) in line.iter().enumerate().rev() {
        match byte {
            b'0'..=b'9' => {
                value = value.wrapping_add(scale.wrapping_mul(u64::from(byte - b'0')));
                scale = scale.wrapping_mul(10);
            }
            b'-' => value = value.wrapping_neg(),
            &DELIMITER => {
                let empty = start + 1 == line.len();
                *line = &line[..start];
                return Some((!empty).then_some(value.cast_signed()));
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields with `|` between them.
    fn read(row: &str) -> Option<String> {
        let task = Task::read(row.as_bytes())?;
        let id = String::from_utf8_lossy(task.id);
        let title = unescaped(task.title);
        let title = String::from_utf8_lossy(&title);
        Some(format!(
            "{id}|{title}|{}|{}|{}|{:?}",
            task.done, task.asset, task.created_by, task.updated_by
        ))
    }

    fn check(row: &str, fields: &str) {
        assert_eq!(read(row).as_deref(), Some(fields), "{row:?}");
    }

    #[test]
    fn a_row_is_read() {
        check("1\tTask 1\tt\t2\t3\t4\n", "1|Task 1|true|2|3|Some(4)");
        check(
            "-5\ta\\\\b\\tc\\nd\\re\\bf\\fg\\vh\\\\n\tf\t0\t-7\t\n",
            "-5|a\\b\tc\nd\re\x08f\x0cg\x0bh\\n|false|0|-7|None",
        );
        check(
            "1\t\tf\t-9223372036854775808\t9223372036854775807\t0\n",
            "1||false|-9223372036854775808|9223372036854775807|Some(0)",
        );
    }

    #[test]
    fn what_is_no_row_is_refused() {
        for row in [
            "",
            "\n",
            "1\tx\tt\t2\t3\t4",
            "1\tx\tt\t2\t\t4\n",
            "1\tx\t\t2\t3\t4\n",
            "1\tx\tt\t2\t3\tx\n",
            "x\tt\t2\t3\t4\n",
            "2\t3\t4\n",
            "\t\t\t\n",
        ] {
            assert_eq!(read(row), None, "{row:?}");
        }
    }
}
