//! `paged`: the seven values, in keyset pages of one snapshot, as `.values().iterator(chunk_size=2000)` in Django.

use diesel::prelude::*;

use super::csv::{Encoder, Row};
use super::filter::Filter;
use super::query::{self, TaskRow};
use super::{Error, Source};
use crate::schema::tasks;

/// Rows of a page, as many as Django's iterator fetches at a time.
const PAGE: i64 = 2_000;

pub(super) fn run(
    filter: &Filter,
    source: &Source<'_>,
    encoder: &mut Encoder<'_>,
) -> Result<(), Error> {
    source.snapshot(|connection, _| {
        let mut last: Option<i64> = None;
        loop {
            let mut query = query::rows(filter).limit(PAGE);
            // Never OFFSET, for which the server would read and throw away all the pages before.
            if let Some(id) = last {
                query = query.filter(tasks::id.gt(id));
            }
            let rows: Vec<TaskRow> = query.load(connection)?;
            rows.iter()
                .try_for_each(|row| encoder.row(&Row::from(row)))?;
            match rows.last() {
                Some(row) if rows.len() as i64 == PAGE => last = Some(row.0),
                _ => return Ok(()),
            }
        }
    })
}
