//! `copy`: `COPY (…) TO STDOUT` on a connection of our own, its bytes passed through.

use super::encoder::Encoder;
use super::{Error, Source};

pub(super) fn run(source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
    // The header is the encoder's, as with every strategy; and COPY would print the columns' own names.
    let sql = format!(
        "copy ({}) to stdout with (format csv, delimiter '{}')",
        source.export.sql()?,
        char::from(source.export.format.lines().delimiter.byte())
    );
    source.copy_snapshot(|connection| {
        let mut rows = connection.copy_out(&sql)?;
        while let Some(line) = rows.next_row()? {
            encoder.copied_line(line)?;
        }
        Ok(())
    })
}
