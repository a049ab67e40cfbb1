//! The queue of a range's pieces, bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The two ends of a queue for pieces of `most` bytes together, and one more.
pub(super) fn queue<Piece>(most: usize) -> (Sender<Piece>, Receiver<Piece>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            pieces: VecDeque::new(),
            bytes: 0,
            is_its_turn: false,
            sender_gone: false,
            receiver_gone: false,
        }),
        changed: Condvar::new(),
        most,
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// The receiver is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReceiverGone;

/// The sender, for the connection that reads the range.
pub(super) struct Sender<Piece>(Arc<Shared<Piece>>);

/// The receiver, for the thread that hands the ranges on.
pub(super) struct Receiver<Piece>(Arc<Shared<Piece>>);

struct Shared<Piece> {
    state: Mutex<State<Piece>>,
    changed: Condvar,
    most: usize,
}

struct State<Piece> {
    pieces: VecDeque<(Piece, usize)>,
    bytes: usize,
    is_its_turn: bool,
    sender_gone: bool,
    receiver_gone: bool,
}

impl<Piece> Shared<Piece> {
    fn lock(&self) -> MutexGuard<'_, State<Piece>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(
        &self,
        condition: impl FnMut(&mut State<Piece>) -> bool,
    ) -> MutexGuard<'_, State<Piece>> {
        let state = self.changed.wait_while(self.lock(), condition);
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Piece> Sender<Piece> {
    /// Appends a piece of this many bytes. It never waits: the reader has called [`wait_for_room`](Self::wait_for_room) before.
    pub(super) fn send(&self, piece: Piece, bytes: usize) -> Result<(), ReceiverGone> {
        let mut state = self.0.lock();
        if state.receiver_gone {
            return Err(ReceiverGone);
        }
        state.pieces.push_back((piece, bytes));
        state.bytes += bytes;
        self.0.changed.notify_all();
        Ok(())
    }

    /// Waits until `bytes` more fit. A range whose turn it is has room whenever less waits than may: its next piece goes on however
    /// large it is, or no range would.
    pub(super) fn wait_for_room(&self, bytes: usize) -> Result<(), ReceiverGone> {
        let most = self.0.most;
        let is_full = |state: &mut State<Piece>| {
            let next = if state.is_its_turn { 1 } else { bytes };
            !state.receiver_gone && state.bytes + next > most
        };
        let state = self.0.wait_while(is_full);
        if state.receiver_gone {
            Err(ReceiverGone)
        } else {
            Ok(())
        }
    }
}

impl<Piece> Receiver<Piece> {
    /// Makes this range's pieces the next ones to be handed on.
    pub(super) fn begin(&self) {
        self.0.lock().is_its_turn = true;
        self.0.changed.notify_all();
    }

    /// Waits for the next piece, and takes it; `None` if the sender is gone without a last one.
    pub(super) fn receive(&self) -> Option<Piece> {
        let mut state = self
            .0
            .wait_while(|state| state.pieces.is_empty() && !state.sender_gone);
        let (piece, bytes) = state.pieces.pop_front()?;
        state.bytes -= bytes;
        self.0.changed.notify_all();
        Some(piece)
    }
}

impl<Piece> Drop for Sender<Piece> {
    fn drop(&mut self) {
        self.0.lock().sender_gone = true;
        self.0.changed.notify_all();
    }
}

impl<Piece> Drop for Receiver<Piece> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receiver_gone = true;
        state.pieces.clear();
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Returns what tells whether this many bytes have room by now.
    fn waiting(sender: &Arc<Sender<u8>>, bytes: usize) -> mpsc::Receiver<Result<(), ReceiverGone>> {
        let sender = Arc::clone(sender);
        let (done, outcome) = mpsc::channel();
        thread::spawn(move || done.send(sender.wait_for_room(bytes)));
        outcome
    }

    const SOON: Duration = Duration::from_secs(10);
    const NOT_YET: Duration = Duration::from_millis(50);

    #[test]
    fn a_range_waits_for_its_turn_before_it_reads_more_than_fits() {
        let (sender, receiver) = queue(10);
        let sender = Arc::new(sender);
        assert_eq!(sender.wait_for_room(10), Ok(()));
        assert_eq!(sender.send(1, 8), Ok(()));
        assert_eq!(sender.wait_for_room(2), Ok(()));
        let too_large = waiting(&sender, 3);
        assert!(too_large.recv_timeout(NOT_YET).is_err());
        receiver.begin();
        assert_eq!(too_large.recv_timeout(SOON), Ok(Ok(())));
        assert_eq!(sender.send(2, 1_000), Ok(()));
        let full = waiting(&sender, 1);
        assert!(full.recv_timeout(NOT_YET).is_err());
        assert_eq!((receiver.receive(), receiver.receive()), (Some(1), Some(2)));
        assert_eq!(full.recv_timeout(SOON), Ok(Ok(())));
    }

    #[test]
    fn a_row_longer_than_the_queue_waits_for_the_turn_alone() {
        let (sender, receiver) = queue(10);
        let sender = Arc::new(sender);
        let waiting = waiting(&sender, 11);
        assert!(waiting.recv_timeout(NOT_YET).is_err());
        receiver.begin();
        assert_eq!(waiting.recv_timeout(SOON), Ok(Ok(())));
    }

    #[test]
    fn each_end_hears_that_the_other_one_has_gone() {
        let (sender, receiver) = queue(10);
        assert_eq!(sender.send(1, 100), Ok(()));
        drop(sender);
        assert_eq!((receiver.receive(), receiver.receive()), (Some(1), None));

        let (sender, receiver) = queue(10);
        let sender = Arc::new(sender);
        assert_eq!(sender.send(1, 100), Ok(()));
        let waiting = waiting(&sender, 1);
        drop(receiver);
        assert_eq!(waiting.recv_timeout(SOON), Ok(Err(ReceiverGone)));
        assert_eq!(sender.send(2, 1), Err(ReceiverGone));
    }
}
