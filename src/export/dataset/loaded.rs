//! Rows that are all in memory.

use std::mem;

use diesel::prelude::*;

/// How many rows a piece has.
const PIECE: usize = 4_096;

/// Rows that are all in memory, in pieces: each time that a single vector grew, it would be copied, and be there twice.
pub struct Rows<Row>(Vec<Vec<Row>>);

impl<Row> Rows<Row> {
    /// Takes all rows; fails at the first that could not be loaded.
    pub(super) fn collect(rows: impl Iterator<Item = QueryResult<Row>>) -> QueryResult<Self> {
        let mut pieces = Vec::new();
        let mut piece = Vec::new();
        for row in rows {
            piece.push(row?);
            if piece.len() == PIECE {
                pieces.push(mem::replace(&mut piece, Vec::with_capacity(PIECE)));
            }
        }
        pieces.push(piece);
        Ok(Self(pieces))
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Returns the row of this number; the first is 0.
    pub(super) fn get(&self, row: usize) -> Option<&Row> {
        self.0.get(row / PIECE)?.get(row % PIECE)
    }

    /// Returns all of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.0.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order_and_their_numbers() {
        for count in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let Ok(rows) = Rows::collect((0..count).map(Ok)) else {
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
        assert!(Rows::collect(rows.into_iter()).is_err());
    }
}
