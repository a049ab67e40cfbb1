//! From the tasks' own columns to lines of the export.

use super::Names;
use crate::db;
use crate::export::Error;
use crate::export::csv::{DONE, Format, NOT_DONE};

/// Makes lines of the export of what COPY sends of a task: id, title, done, asset, creator and editor.
///
/// COPY sends CSV, too: it takes half the bytes of its binary format and less of the server's time, and the id and the title are
/// right as they come. The other columns, numbers and a letter that need no quotes, are read from the line's end, so that the
/// title need not be understood.
pub(super) struct RowEncoder<'n> {
    names: &'n Names,
    format: Format,
    delimiter: u8,
    done: Vec<u8>,
    not_done: Vec<u8>,
}

impl<'n> RowEncoder<'n> {
    pub(super) fn new(names: &'n Names, format: Format) -> Self {
        let delimiter = format.delimiter.byte();
        let label = |text: &str| [&[delimiter], text.as_bytes()].concat();
        Self {
            names,
            format,
            delimiter,
            done: label(DONE),
            not_done: label(NOT_DONE),
        }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Appends the line for a task to `lines`.
    pub(super) fn encode(&self, row: &[u8], lines: &mut Vec<u8>) -> Result<(), Error> {
        let Some(task) = Task::read(row, self.delimiter) else {
            return Err(inconsistent(format!(
                "COPY has sent {:?} for a task",
                String::from_utf8_lossy(row)
            )));
        };
        let names = self.names;
        let asset = names
            .asset(task.asset)
            .ok_or_else(|| missing(&task, "asset", task.asset))?;
        let user = |id| names.user(id).ok_or_else(|| missing(&task, "user", id));
        let creator = user(task.created_by)?;
        let editor = match task.updated_by {
            Some(id) => user(id)?,
            None => std::slice::from_ref(&self.delimiter),
        };
        let done = if task.done {
            &self.done
        } else {
            &self.not_done
        };
        for part in [task.id_and_title, asset, done, creator, editor] {
            lines.extend_from_slice(part);
        }
        lines.extend_from_slice(self.format.line_end());
        Ok(())
    }
}

/// Within one snapshot, the foreign keys rule it out: so there is one that was not checked.
fn missing(task: &Task<'_>, what: &str, id: i64) -> Error {
    let line = String::from_utf8_lossy(task.id_and_title);
    inconsistent(format!(
        "the task {line:?} refers to {what} {id}, which is not there"
    ))
}

fn inconsistent(what: String) -> Error {
    Error::Database(db::Error::Inconsistent(what))
}

struct Task<'r> {
    id_and_title: &'r [u8],
    done: bool,
    asset: i64,
    created_by: i64,
    updated_by: Option<i64>,
}

impl<'r> Task<'r> {
    fn read(row: &'r [u8], delimiter: u8) -> Option<Self> {
        let mut rest = row.strip_suffix(b"\n")?;
        let updated_by = last_integer(&mut rest, delimiter)?;
        let created_by = last_integer(&mut rest, delimiter)??;
        let asset = last_integer(&mut rest, delimiter)??;
        let (id_and_title, done) = match rest {
            [id_and_title @ .., before, b't'] if *before == delimiter => (id_and_title, true),
            [id_and_title @ .., before, b'f'] if *before == delimiter => (id_and_title, false),
            _ => return None,
        };
        Some(Self {
            id_and_title,
            done,
            asset,
            created_by,
            updated_by,
        })
    }
}

/// Takes the last field, with the delimiter before it, off `line`: an integer, `None` within if it is empty. `None` if it is
/// something else.
fn last_integer(line: &mut &[u8], delimiter: u8) -> Option<Option<i64>> {
    let mut value = 0_u64;
    let mut scale = 1_u64;
    for (start, byte) in line.iter().enumerate().rev() {
        match byte {
            b'0'..=b'9' => {
                value = value.wrapping_add(scale.wrapping_mul(u64::from(byte - b'0')));
                scale = scale.wrapping_mul(10);
            }
            b'-' => value = value.wrapping_neg(),
            byte if *byte == delimiter => {
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

    fn read(row: &str) -> Option<(&str, bool, i64, i64, Option<i64>)> {
        let task = Task::read(row.as_bytes(), b',')?;
        let id_and_title = std::str::from_utf8(task.id_and_title).ok()?;
        Some((
            id_and_title,
            task.done,
            task.asset,
            task.created_by,
            task.updated_by,
        ))
    }

    #[test]
    fn a_row_is_read_from_its_end() {
        assert_eq!(
            read("1,Task 1,t,2,3,4\n"),
            Some(("1,Task 1", true, 2, 3, Some(4)))
        );
        assert_eq!(
            read("-5,\"a\"\",1,2,t,\n\",f,0,-7,\n"),
            Some(("-5,\"a\"\",1,2,t,\n\"", false, 0, -7, None))
        );
        assert_eq!(
            read("1,\"\",f,-9223372036854775808,9223372036854775807,0\n"),
            Some(("1,\"\"", false, i64::MIN, i64::MAX, Some(0)))
        );
    }

    #[test]
    fn what_is_no_row_is_refused() {
        for row in [
            "",
            "\n",
            "1,x,t,2,3,4",
            "1,x,t,2,,4\n",
            "1,x,,2,3,4\n",
            "1,x,t,2,3,x\n",
            "2,3,4\n",
            ",,,\n",
        ] {
            assert_eq!(read(row), None, "{row:?}");
        }
    }
}
