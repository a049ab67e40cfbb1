//! The memory in which `joined` and `tuples` hold their rows: one budget for all that run at once in a process.
//!
//! The memory is counted as the rows arrive, by the bytes of their fields and what an allocator adds to them: their length is not known
//! before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Error, Export, Strategy};

/// Bytes that are reserved at a time.
const STEP: u64 = 1 << 20;

/// What all exports together have reserved. Clones share it.
#[derive(Clone, Default)]
pub struct Budget {
    reserved: Arc<Mutex<u64>>,
}

impl Budget {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One export's reservation. Dropping it returns all of it.
pub(crate) struct Reservation {
    budget: Budget,
    strategy: Strategy,
    /// The limit for all exports together.
    limit: u64,
    reserved: u64,
    used: u64,
}

impl Reservation {
    pub(crate) fn of(export: &Export, budget: &Budget) -> Self {
        Self {
            budget: budget.clone(),
            strategy: export.strategy,
            limit: export.limits.max_buffered_size,
            reserved: 0,
            used: 0,
        }
    }

    /// Reserves memory for this many more bytes. After an error, nothing is reserved.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<(), Error> {
        self.used += bytes;
        if self.used <= self.reserved {
            return Ok(());
        }
        let mut all = self.budget.lock();
        let others = *all - self.reserved;
        let wanted = self.used.next_multiple_of(STEP).min(self.limit);
        if self.used <= self.limit && others + wanted <= self.limit {
            *all = others + wanted;
            self.reserved = wanted;
            return Ok(());
        }
        // Given back under the same lock: of all exports that ask for the rest, the next one finds this. So the last one never fails
        // because of the others.
        *all = others;
        self.reserved = 0;
        let (strategy, limit) = (self.strategy, self.limit);
        Err(if self.used > limit {
            Error::TooLargeToBuffer { strategy, limit }
        } else {
            Error::BufferBusy { strategy, limit }
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        *self.budget.lock() -= self.reserved;
    }
}

/// Returns the memory that a text of this many bytes takes: allocators have size classes, four to each doubling.
pub(crate) fn allocated(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 8).max(8);
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    const MIB: u64 = 1 << 20;

    fn reservation(budget: &Budget, limit: u64) -> Reservation {
        let mut export = Export::of(&example::books());
        export.limits.max_buffered_size = limit;
        Reservation::of(&export, budget)
    }

    #[test]
    fn what_is_reserved_goes_up_in_steps_and_is_given_back() {
        let budget = Budget::default();
        let mut one = reservation(&budget, 10 * MIB);
        for (bytes, reserved) in [(0, 0), (1, MIB), (MIB - 1, MIB), (1, 2 * MIB)] {
            assert!(one.add(bytes).is_ok());
            assert_eq!(*budget.lock(), reserved, "{bytes}");
        }
        drop(one);
        assert_eq!(*budget.lock(), 0);
    }

    #[test]
    fn one_alone_may_have_all_of_it_and_not_a_byte_more() {
        for limit in [0, 1, 1_000, MIB, MIB + 1] {
            let budget = Budget::default();
            let mut one = reservation(&budget, limit);
            assert!(one.add(limit).is_ok(), "{limit}");
            assert!(matches!(
                one.add(1),
                Err(Error::TooLargeToBuffer { limit: named, .. }) if named == limit
            ));
            assert_eq!(*budget.lock(), 0, "{limit}");
        }
    }

    #[test]
    fn of_many_the_one_that_asks_last_fails_and_leaves_the_others_its_part() {
        let budget = Budget::default();
        let mut all: Vec<Reservation> = (0..8).map(|_| reservation(&budget, 8 * MIB)).collect();
        assert!(all.iter_mut().all(|one| one.add(MIB).is_ok()));
        let mut failed = 0;
        while let Some(mut one) = all.pop() {
            match one.add(MIB) {
                Ok(()) => all.insert(0, one),
                Err(Error::BufferBusy { .. }) => failed += 1,
                Err(error) => panic!("{error}"),
            }
            if all.len() == 1 {
                break;
            }
        }
        assert_eq!((failed, all.len()), (7, 1));
        let left = 8 * MIB - all[0].used;
        assert!(all[0].add(left).is_ok(), "all of it is the last one's");
    }

    #[test]
    fn it_is_given_back_by_an_export_that_panics() {
        let budget = Budget::default();
        let shared = budget.clone();
        let panicked = std::thread::spawn(move || {
            let mut one = reservation(&shared, 8 * MIB);
            assert!(one.add(MIB).is_err(), "a panic that is meant");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*budget.lock(), 0);
    }

    #[test]
    fn a_text_takes_up_to_a_quarter_more_than_its_bytes() {
        let sizes = [0, 1, 8, 9, 100, 128, 129, 600, 5 << 20].map(allocated);
        assert_eq!(sizes, [0, 8, 8, 16, 112, 128, 160, 640, 5 << 20]);
    }
}
