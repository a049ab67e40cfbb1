//! `tuples`: only the seven values, as tuples, all in memory, as `.values()` in Django.

use diesel::prelude::*;

use super::csv::{Encoder, Row};
use super::filter::Filter;
use super::query::{self, TaskRow};
use super::{Error, Source};

pub(super) fn run(
    filter: &Filter,
    source: &Source<'_>,
    encoder: &mut Encoder<'_>,
) -> Result<(), Error> {
    let rows: Vec<TaskRow> =
        source.snapshot(|connection, _| Ok(query::rows(filter).load(connection)?))?;
    rows.iter().try_for_each(|row| encoder.row(&Row::from(row)))
}
