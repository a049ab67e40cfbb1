//! The values of several runs: their median and their range.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A figure of all runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Spread<T> {
    /// The median.
    pub median: T,
    /// The minimum.
    pub min: T,
    /// The maximum.
    pub max: T,
    /// Every single value, in the order of the runs.
    pub runs: Vec<T>,
}

impl<T: Copy + PartialOrd> Spread<T> {
    /// The spread of `runs`, of which there is one at least; `midpoint` lies between the two in the middle.
    pub(in crate::benchmark) fn of(runs: Vec<T>, midpoint: fn(T, T) -> T) -> Option<Self> {
        let mut sorted = runs.clone();
        sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        let middle = |index: usize| sorted.get(index).copied();
        Some(Self {
            median: midpoint(
                middle((runs.len().max(1) - 1) / 2)?,
                middle(runs.len() / 2)?,
            ),
            min: *sorted.first()?,
            max: *sorted.last()?,
            runs,
        })
    }

    /// The run whose value is the median, or next above it.
    pub(in crate::benchmark) fn median_run(&self) -> usize {
        let least_above = |best: usize, index: usize| {
            let (figure, known) = (self.runs[index], self.runs[best]);
            if figure >= self.median && (known < self.median || figure < known) {
                index
            } else {
                best
            }
        };
        (0..self.runs.len()).fold(0, least_above)
    }
}
