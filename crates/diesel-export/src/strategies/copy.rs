//! `copy`: `COPY (…) TO STDOUT` on a connection of our own, its bytes passed through if they are for programs.

use crate::db::libpq::{self, CopyOutDsl, Options};
use crate::encoder::Encoder;
use crate::{Error, Source};

pub(crate) fn run(source: &Source<'_>, encoder: &mut Encoder<'_>) -> Result<(), Error> {
    source.copy_snapshot(|connection| rows(source, connection, encoder))
}

/// Writes the rows, on a connection in the export's snapshot.
pub(crate) fn rows(
    source: &Source<'_>,
    connection: &mut libpq::CopyConnection,
    encoder: &mut Encoder<'_>,
) -> Result<(), Error> {
    // The header is the encoder's, as with every strategy; and COPY would print the columns' own names.
    let delimiter = source.export.format.copied().delimiter.byte();
    let options = Options::csv().with_delimiter(delimiter);
    let mut rows = source.export.query().copy_out(connection, &options)?;
    while let Some(line) = rows.next_row()? {
        encoder.copied_line(line)?;
    }
    Ok(())
}
