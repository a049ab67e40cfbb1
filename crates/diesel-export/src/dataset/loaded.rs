//! Rows that are all in memory.

use std::mem;

use diesel::deserialize::{self, FromSqlRow};
use diesel::pg::{Pg, PgRowByRowLoadingMode};
use diesel::prelude::*;
use diesel::query_dsl::LoadQuery;
use diesel::row::Field as _;
use diesel::sql_types::Untyped;

use super::row::Row;
use crate::Error;
use crate::budget::{Reservation, allocated};
use crate::cancellation::Backend;

/// How many rows a piece has.
const PIECE: usize = 4_096;

/// Loads rows that are all held in memory, within the exports' budget.
pub struct Loader<'a> {
    connection: &'a mut PgConnection,
    backend: &'a Backend<'a>,
    reservation: Reservation,
}

impl<'a> Loader<'a> {
    /// Loads on this connection, for which `backend` works.
    pub(crate) fn new(
        connection: &'a mut PgConnection,
        backend: &'a Backend<'a>,
        reservation: Reservation,
    ) -> Self {
        Self {
            connection,
            backend,
            reservation,
        }
    }

    /// Loads all rows of a query, each as it arrives: the server works on the next one meanwhile, and libpq keeps none. The query
    /// selects a tuple of one value, which is the row: `(columns,)`.
    pub fn load<'q, Row, Q>(self, query: Q) -> Result<Rows<Row>, Error>
    where
        Q: for<'c> LoadQuery<'q, PgConnection, Measured<Row>, PgRowByRowLoadingMode>
            + RunQueryDsl<PgConnection>,
    {
        let mut cursor =
            query.load_iter::<Measured<Row>, PgRowByRowLoadingMode>(self.connection)?;
        let rows = Rows::collect(&mut cursor, self.reservation);
        // Dropped before its end, Diesel's cursor reads all that is left: better that nothing is.
        rows.inspect_err(|_| self.backend.cancel_query())
    }
}

/// A row, and how many bytes it takes.
pub struct Measured<Row> {
    row: Row,
    bytes: usize,
}

impl<Row> Measured<Row> {
    /// The row, which was made of these fields. Its numbers count like short texts: they are few bytes too many.
    fn of<'a>(row: Row, fields: &impl diesel::row::Row<'a, Pg>) -> Self {
        let texts = (0..fields.field_count())
            .filter_map(|index| Some(allocated(fields.get(index)?.value()?.as_bytes().len())));
        Self {
            bytes: size_of::<Row>() + texts.sum::<usize>(),
            row,
        }
    }
}

impl<SqlType, Row> FromSqlRow<(SqlType,), Pg> for Measured<Row>
where
    (Row,): FromSqlRow<(SqlType,), Pg>,
{
    fn build_from_row<'a>(fields: &impl diesel::row::Row<'a, Pg>) -> deserialize::Result<Self> {
        let (row,) = FromSqlRow::build_from_row(fields)?;
        Ok(Self::of(row, fields))
    }
}

impl FromSqlRow<Untyped, Pg> for Measured<Row> {
    fn build_from_row<'a>(fields: &impl diesel::row::Row<'a, Pg>) -> deserialize::Result<Self> {
        let row = Row::build_from_row(fields)?;
        let values = row.size();
        let mut measured = Self::of(row, fields);
        measured.bytes += allocated(values);
        Ok(measured)
    }
}

/// Rows that are all in memory, in pieces: each time that a single vector grew, it would be copied, and be there twice.
pub struct Rows<Row> {
    pieces: Vec<Vec<Row>>,
    /// Dropped after the rows.
    _reservation: Reservation,
}

impl<Row> Rows<Row> {
    /// Takes all rows; fails at the first that could not be loaded, or has no room.
    fn collect(
        rows: impl Iterator<Item = QueryResult<Measured<Row>>>,
        mut reservation: Reservation,
    ) -> Result<Self, Error> {
        let mut pieces = Vec::new();
        let mut piece = Vec::new();
        for row in rows {
            let Measured { row, bytes } = row?;
            reservation.add(bytes as u64)?;
            piece.push(row);
            if piece.len() == PIECE {
                pieces.push(mem::replace(&mut piece, Vec::with_capacity(PIECE)));
            }
        }
        pieces.push(piece);
        Ok(Self {
            pieces,
            _reservation: reservation,
        })
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    /// Returns the row of this number; the first is 0.
    pub(super) fn get(&self, row: usize) -> Option<&Row> {
        self.pieces.get(row / PIECE)?.get(row % PIECE)
    }

    /// Returns all of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.pieces.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Export;
    use crate::budget::Budget;
    use crate::example;

    fn collect(
        rows: impl Iterator<Item = QueryResult<usize>>,
        most: u64,
    ) -> Result<Rows<usize>, Error> {
        let mut export = Export::of(&example::books());
        export.limits.max_buffered_size = most;
        let reservation = Reservation::of(&export, &Budget::default());
        let measured = rows.map(|row| row.map(|row| Measured { row, bytes: 8 }));
        Rows::collect(measured, reservation)
    }

    #[test]
    fn rows_keep_their_order_and_their_numbers() {
        for count in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let Ok(rows) = collect((0..count).map(Ok), 8 * count as u64) else {
                panic!("no row fails");
            };
            assert_eq!(rows.count(), count);
            assert!(rows.iter().copied().eq(0..count), "{count}");
            assert!((0..count).all(|row| rows.get(row) == Some(&row)), "{count}");
            assert_eq!(rows.get(count), None);
        }
    }

    #[test]
    fn a_row_that_fails_is_the_end() {
        let rows = [Ok(1), Err(diesel::NotFound), Ok(2)];
        assert!(collect(rows.into_iter(), u64::MAX).is_err());
        let too_many = collect((0..9).map(Ok), 64);
        assert!(matches!(
            too_many,
            Err(Error::TooLargeToBuffer { limit: 64, .. })
        ));
    }
}
