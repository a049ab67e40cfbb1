//! Turns rows of COPY's text format into lines of the export, or into parts of them.

use memchr::memchr;

use super::names::Names;
use crate::Error;
use crate::csv::{FieldWriter, Format};
use crate::dataset::ColumnKind;
use crate::db::{self, libpq::Options};

/// How COPY sends the rows. Its text format costs the server least: CSV takes a tenth more time, and the binary format has twice the
/// bytes to move.
pub(super) const COPY_OPTIONS: Options = Options::text();
const SEPARATOR: u8 = b'\t';
const NULL: &[u8] = b"\\N";

/// What is made of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A value of its own.
    Value(ColumnKind),
    /// The names for an id, from a table.
    Names {
        /// The table's index among the tables of names.
        table: usize,
        /// How many names each id has.
        count: usize,
    },
}

/// Makes lines of rows that have a field for each step.
pub(super) struct RowEncoder<'n> {
    steps: &'n [Step],
    names: &'n Names,
    fields: FieldWriter,
    /// For each step, if it makes a label: the fields for true, false and NULL, each with a delimiter before it.
    labels: Vec<[Vec<u8>; 3]>,
    delimiter: u8,
    line_end: &'static [u8],
}

impl<'n> RowEncoder<'n> {
    /// An encoder of lines with this many fields.
    pub(super) fn new(steps: &'n [Step], names: &'n Names, format: Format, fields: usize) -> Self {
        let fields = FieldWriter::new(format, fields);
        let delimiter = format.delimiter.byte();
        let labels = steps.iter().map(|step| {
            let kind = match step {
                Step::Value(kind @ ColumnKind::Label(_)) => kind,
                _ => return Default::default(),
            };
            [b"t", b"f", NULL].map(|value: &[u8]| {
                let mut field = vec![delimiter];
                let _written = fields.write_copied(kind, value, &mut field);
                field
            })
        });
        Self {
            steps,
            names,
            fields,
            labels: labels.collect(),
            delimiter,
            line_end: format.line_end(),
        }
    }

    /// Appends the line for a row to `lines`. After an error, `lines` may have a part of it.
    pub(super) fn encode(&self, row: &[u8], lines: &mut Vec<u8>) -> Result<(), Error> {
        let mut fields = Fields::of(row);
        #[cfg(feature = "fault-injection")]
        crate::fault::panic_at_id(Fields::of(row).next().unwrap_or_default());
        for (index, step) in self.steps.iter().enumerate() {
            let is_first = index == 0;
            match step {
                Step::Value(kind @ ColumnKind::Label(_)) => {
                    let field = fields.next_of(kind).ok_or_else(unreadable)?;
                    let label = match field {
                        b"t" => &self.labels[index][0],
                        b"f" => &self.labels[index][1],
                        NULL => &self.labels[index][2],
                        _ => return Err(unreadable()),
                    };
                    lines.extend_from_slice(&label[usize::from(is_first)..]);
                }
                Step::Value(kind) => {
                    if !is_first {
                        lines.push(self.delimiter);
                    }
                    let field = fields.next_of(kind).ok_or_else(unreadable)?;
                    self.fields
                        .write_copied(kind, field, lines)
                        .ok_or_else(unreadable)?;
                }
                Step::Names { table, count } => {
                    let id = fields.next_id().ok_or_else(unreadable)?;
                    match id.and_then(|id| self.names.get(*table, id)) {
                        // Each name has a delimiter before it.
                        Some(names) => lines.extend_from_slice(&names[usize::from(is_first)..]),
                        // NULL, or an id without a row: each field is empty.
                        None => {
                            let delimiters = count - usize::from(is_first);
                            lines.extend(std::iter::repeat_n(self.delimiter, delimiters));
                        }
                    }
                }
            }
        }
        if fields.next().is_some() {
            return Err(unreadable());
        }
        lines.extend_from_slice(self.line_end);
        Ok(())
    }
}

impl FieldWriter {
    /// Appends the field for a value that COPY has sent; returns `None` if the value is not of this kind.
    pub(super) fn write_copied(
        self,
        kind: &ColumnKind,
        field: &[u8],
        line: &mut Vec<u8>,
    ) -> Option<()> {
        match kind {
            _ if field == NULL => {}
            ColumnKind::Label([yes, no]) => match field {
                b"t" => self.write_text(yes.as_bytes(), line),
                b"f" => self.write_text(no.as_bytes(), line),
                _ => return None,
            },
            kind if field.contains(&b'\\') => {
                self.write_printed(kind, &unescaped(field), line);
            }
            kind => self.write_printed(kind, field, line),
        }
        Some(())
    }
}

/// The error that COPY has sent something other than a row of the query. It does not quote the row: that may be anybody's data.
pub(super) fn unreadable() -> Error {
    Error::Database(db::Error::Inconsistent(
        "COPY has sent something else than a row of its query".into(),
    ))
}

/// The fields of a row.
pub(super) struct Fields<'r> {
    rest: Option<&'r [u8]>,
}

impl<'r> Fields<'r> {
    /// The fields of a row as COPY sends it; none if the row lacks its end.
    pub(super) fn of(row: &'r [u8]) -> Self {
        Self {
            rest: row.strip_suffix(b"\n"),
        }
    }

    /// Takes the next field, of any kind.
    pub(super) fn next(&mut self) -> Option<&'r [u8]> {
        let rest = self.rest.take()?;
        Some(self.split(rest, memchr(SEPARATOR, rest)))
    }

    /// Takes the next field, which is of this kind. In a short one, a search by many bytes at once does not pay.
    pub(super) fn next_of(&mut self, kind: &ColumnKind) -> Option<&'r [u8]> {
        if kind.is_text() {
            return self.next();
        }
        let rest = self.rest.take()?;
        Some(self.split(rest, rest.iter().position(|byte| *byte == SEPARATOR)))
    }

    /// Takes the next field, an id or NULL (`Some(None)`), in one pass.
    pub(super) fn next_id(&mut self) -> Option<Option<i64>> {
        let rest = self.rest.take()?;
        let is_negative = rest.first() == Some(&b'-');
        let mut value = 0_u64;
        let mut end = usize::from(is_negative);
        while let Some(digit) = rest.get(end).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            end += 1;
        }
        match rest.get(end) {
            _ if end == usize::from(is_negative) => {
                let end = rest.iter().position(|byte| *byte == SEPARATOR);
                return (self.split(rest, end) == NULL).then_some(None);
            }
            Some(&SEPARATOR) => self.rest = Some(&rest[end + 1..]),
            None => {}
            Some(_) => return None,
        }
        let value = value.cast_signed();
        Some(Some(if is_negative {
            value.wrapping_neg()
        } else {
            value
        }))
    }

    /// Returns the field before the separator at `end`, and keeps what follows; without a separator, it is the last one.
    fn split(&mut self, rest: &'r [u8], end: Option<usize>) -> &'r [u8] {
        let Some(end) = end else {
            return rest;
        };
        self.rest = Some(&rest[end + 1..]);
        &rest[..end]
    }
}

/// Returns a text without the escapes of COPY's text format.
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
                // The only other one, the backslash, stands for itself.
                other => *other.unwrap_or(byte),
            },
            byte => *byte,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> [Step; 4] {
        [
            Step::Value(ColumnKind::Integer),
            Step::Value(ColumnKind::Text),
            Step::Names { table: 0, count: 2 },
            Step::Value(ColumnKind::Label(["Done", "Not Done"].map(str::to_owned))),
        ]
    }

    fn encoded(steps: &[Step], row: &str) -> Option<String> {
        let names = Names::of_one([(-7, ",Pump,Hall"), (i64::MAX, ",\"\",")]);
        let encoder = RowEncoder::new(steps, &names, Format::default(), 5);
        let mut lines = Vec::new();
        encoder.encode(row.as_bytes(), &mut lines).ok()?;
        String::from_utf8(lines).ok()
    }

    fn check(row: &str, line: &str) {
        assert_eq!(encoded(&steps(), row).as_deref(), Some(line), "{row:?}");
    }

    #[test]
    fn a_row_becomes_a_line() {
        check("1\tBook 1\t-7\tt\n", "1,Book 1,Pump,Hall,Done\n");
        check(
            "-5\ta,b\t9223372036854775807\tf\n",
            "-5,\"a,b\",\"\",,Not Done\n",
        );
        check("-5\t\t\\N\t\\N\n", "-5,\"\",,,\n");
        check("\\N\t\\N\t-7\tt\n", ",,Pump,Hall,Done\n");
        // An id without a row.
        check("1\tx\t8\tt\n", "1,x,,,Done\n");
        check(
            "1\t\\\\N\\b\\f\\v\t-7\tt\n",
            "1,\\N\x08\x0c\x0b,Pump,Hall,Done\n",
        );
        check(
            "1\ta\\\\b\\tc\\nd\\re\t-7\tt\n",
            "1,\"a\\b\tc\nd\re\",Pump,Hall,Done\n",
        );
    }

    #[test]
    fn names_that_come_first_have_no_delimiter_before_them() {
        let steps = [steps()[2].clone(), steps()[0].clone()];
        assert_eq!(encoded(&steps, "-7\t1\n").as_deref(), Some("Pump,Hall,1\n"));
        assert_eq!(encoded(&steps, "\\N\t1\n").as_deref(), Some(",,1\n"));
    }

    #[test]
    fn what_is_no_row_is_refused() {
        for row in [
            "",
            "\n",
            "1\tx\t-7\tt",
            "1\tx\t-7\n",
            "1\tx\t-7\tt\t\n",
            "1\tx\t-7\tx\n",
            "1\tx\t\tt\n",
            "1\tx\t7x\tt\n",
            "1\tx\t7:\tt\n",
            "1\tx\t-\tt\n",
        ] {
            assert_eq!(encoded(&steps(), row), None, "{row:?}");
        }
    }
}
