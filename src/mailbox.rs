//! The only cross-core primitive: a bounded queue with many senders and one receiver, and a wake. Pushing never blocks and
//! never allocates; a full mailbox is an error of the sender. Many pushes of one turn cost one wake (`Sender::flush`).
//!
//! Who sends requests reserves the slots of their answers by counting: a shard lets no more calls wait than its answers'
//! mailbox has slots, and the raft role's mailbox has as many for each shard. So neither is ever full for an admitted call.

use crate::reactor::{Reactor, Waker};
use crossbeam::queue::ArrayQueue;
use std::cell::Cell;
use std::sync::Arc;

struct Shared<T> {
    queue: ArrayQueue<T>,
    waker: Waker,
}

/// A mailbox of `capacity` messages. `waker` wakes the thread that will own the receiver.
pub fn mailbox<T>(capacity: usize, waker: Waker) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { queue: ArrayQueue::new(capacity), waker });
    (Sender { shared: Arc::clone(&shared), unflushed: Cell::new(false) }, Receiver { shared })
}

/// One thread's end to push into; clone it for another thread. The receiver hears of pushes at `flush`, at the latest when
/// the sender is dropped.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    unflushed: Cell<bool>,
}

impl<T> Sender<T> {
    /// Puts `message` into the mailbox, or gives it back if the mailbox is full.
    pub fn push(&self, message: T) -> Result<(), T> {
        self.shared.queue.push(message)?;
        self.unflushed.set(true);
        Ok(())
    }

    /// Wakes the receiver if anything was pushed since the last flush. On a reactor's thread, once in every turn, before it
    /// waits.
    pub fn flush<R: Reactor>(&self, reactor: &mut R) {
        if self.unflushed.replace(false) {
            reactor.wake(&self.shared.waker);
        }
    }

    /// The same from a thread without a reactor.
    pub fn flush_from_thread(&self) {
        if self.unflushed.replace(false) {
            self.shared.waker.wake();
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), unflushed: Cell::new(false) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.flush_from_thread();
    }
}

/// The owner's end. Drain it in every turn: one wake stands for any number of messages.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    pub fn pop(&self) -> Option<T> {
        self.shared.queue.pop()
    }
}
