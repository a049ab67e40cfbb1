//! The values of several runs: their median, and how far apart they are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A figure of all runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Spread<T> {
    /// In the middle of all.
    pub median: T,
    /// The least.
    pub min: T,
    /// The most.
    pub max: T,
    /// Every single one, as they came.
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

    /// The run whose figure is nearest above the middle, or in it.
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
