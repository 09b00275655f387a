//! The only cross-core primitive: a bounded queue with many senders and one receiver, and a wake. Pushing never blocks and
//! never allocates; a full mailbox is an error of the sender. Many pushes of one turn cost one wake (`Sender::flush`).
//!
//! Every message has a claim on a slot from before it is pushed until after it was popped, counted in one number. A
//! `Reservation` is such a claim held in advance: a request carries one for its answer, so an admitted request's answer
//! always finds room. What must never happen: the queue refusing a message that has a claim (asserted).

use crate::reactor::{Reactor, Waker};
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Shared<T> {
    queue: ArrayQueue<T>,
    /// Slots that hold a message or are promised to one, count; at most the queue's capacity.
    claimed: CachePadded<AtomicUsize>,
    waker: Waker,
}

impl<T> Shared<T> {
    /// Acquire pairs with the release in `release`: who gets a claim that was given back also sees the slot freed before,
    /// so the queue cannot look full to it. The messages themselves are published by the queue's own stamps.
    fn claim(&self) -> bool {
        let capacity = self.queue.capacity();
        self.claimed
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |claimed| (claimed < capacity).then_some(claimed + 1))
            .is_ok()
    }

    fn release(&self) {
        let before = self.claimed.fetch_sub(1, Ordering::Release);
        assert!(before > 0, "a claim is given back once");
    }

    fn push_claimed(&self, message: T) {
        assert!(self.queue.push(message).is_ok(), "a claimed slot is free");
    }
}

/// A mailbox of `capacity` messages. `waker` wakes the thread that will own the receiver.
pub fn mailbox<T>(capacity: usize, waker: Waker) -> (Sender<T>, Receiver<T>) {
    let claimed = CachePadded::new(AtomicUsize::new(0));
    let shared = Arc::new(Shared { queue: ArrayQueue::new(capacity), claimed, waker });
    (Sender { shared: Arc::clone(&shared), unflushed: Cell::new(false) }, Receiver { shared })
}

/// One thread's end to push into; clone it for another thread. The receiver hears of pushes at `flush`, at the latest when
/// the sender is dropped.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    unflushed: Cell<bool>,
}

impl<T> Sender<T> {
    /// Puts `message` into the mailbox, or gives it back if all slots are taken or promised.
    pub fn push(&self, message: T) -> Result<(), T> {
        if !self.shared.claim() {
            return Err(message);
        }
        self.shared.push_claimed(message);
        self.unflushed.set(true);
        Ok(())
    }

    /// Puts `message` into the slot that was reserved for it: always succeeds. The reservation must be of this mailbox.
    pub fn push_reserved(&self, slot: Reservation<T>, message: T) {
        let slot = slot.redeem();
        assert!(Arc::ptr_eq(&slot, &self.shared), "a reservation is redeemed where it was made");
        self.shared.push_claimed(message);
        self.unflushed.set(true);
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
        let message = self.shared.queue.pop()?;
        self.shared.release();
        Some(message)
    }

    /// Promises one slot, to be sent along with a request; `None` if all are taken or promised: refuse the request.
    pub fn reserve(&self) -> Option<Reservation<T>> {
        self.shared.claim().then(|| Reservation { shared: Some(Arc::clone(&self.shared)) })
    }

    pub fn capacity(&self) -> usize {
        self.shared.queue.capacity()
    }
}

/// A slot promised to one message. Dropping it gives the slot back: the request ends without an answer.
#[must_use = "a reservation that is dropped at once reserves nothing"]
pub struct Reservation<T> {
    shared: Option<Arc<Shared<T>>>,
}

impl<T> Reservation<T> {
    fn redeem(mut self) -> Arc<Shared<T>> {
        self.shared.take().expect("redeemed once, by value")
    }
}

impl<T> Drop for Reservation<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.release();
        }
    }
}

impl<T> std::fmt::Debug for Reservation<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reservation")
    }
}
