//! How an export has ended, as logs, metrics and alerts report it.

use crate::manifest::{ErrorClass, State};

/// How an export has ended, and who has to act.
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The file is complete.
    Complete,
    /// Its client disconnected, or it was cancelled.
    Cancelled,
    /// The request asked for something impossible, or its client took nothing for too long.
    ClientError,
    /// Other exports held the memory or the space in the spool that it needed.
    Rejected,
    /// The service, its database or its disk failed.
    Failed,
}

impl Outcome {
    /// Returns the outcome of an export that has ended in this state, with this error.
    pub fn of(state: State, error: Option<ErrorClass>) -> Self {
        match (state, error) {
            (State::Complete, _) => Self::Complete,
            (State::Cancelled, _) => Self::Cancelled,
            (
                _,
                Some(
                    ErrorClass::TooManyRows
                    | ErrorClass::TooLargeToBuffer
                    | ErrorClass::UnexpectedNull
                    | ErrorClass::TextTooLong
                    | ErrorClass::ReaderTimeout,
                ),
            ) => Self::ClientError,
            (_, Some(ErrorClass::Busy | ErrorClass::SpoolFull)) => Self::Rejected,
            // Also any error that is not considered here: somebody should look.
            _ => Self::Failed,
        }
    }

    /// Returns its name in logs and metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_without_room_is_rejected_and_one_on_a_full_disk_has_failed() {
        let of = |error| Outcome::of(State::Failed, Some(error));
        assert_eq!(of(ErrorClass::Busy), Outcome::Rejected);
        assert_eq!(of(ErrorClass::SpoolFull), Outcome::Rejected);
        assert_eq!(of(ErrorClass::DiskFull), Outcome::Failed);
    }
}
