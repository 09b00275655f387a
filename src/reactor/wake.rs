//! Wakes between threads. A `WakeState` is shared by one reactor (the sleeper) and all wakers of it. A wake must never be
//! lost: what the waker wrote before `wake` is seen by the sleeper before it next blocks.
//!
//! The state is one of three values and both sides only change it by read-modify-write operations, which see each other
//! in one total order per variable:
//!  - the waker swaps in NOTIFIED *after* publishing its work. Only if it took out ASLEEP it must also poke the kernel;
//!  - the sleeper blocks only after it exchanged AWAKE for ASLEEP, and swaps AWAKE back in *before* it looks for work.
//!
//! If the waker's swap comes before the sleeper's, the sleeper takes out NOTIFIED, and the release of the waker's swap
//! paired with the acquire of its own makes the work visible. If it comes after, it either takes out ASLEEP and pokes, or
//! leaves NOTIFIED behind, which makes the next exchange of AWAKE for ASLEEP fail. A plain load on the waker's side
//! ("already notified, nothing to do") would not do: it could be ordered before the publication of the work.

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const NOTIFIED: u32 = 2;

/// The ring of a reactor that has none, or is gone.
const NO_RING: i32 = -1;

#[derive(Debug)]
pub(super) struct WakeState {
    state: AtomicU32,
    /// Lives as long as any waker, so a late wake writes to an eventfd nobody reads and never to a stranger's descriptor.
    event: EventFd,
    /// Number of the target's ring for ring messages. Only a number: once the target is gone it may name another file;
    /// the kernel then refuses the message (not a ring) or another ring sees one wake too many, both harmless.
    ring: AtomicI32,
}

impl WakeState {
    /// `blocking` as the reader needs it: io_uring answers EAGAIN at once for a nonblocking descriptor.
    pub(super) fn new(blocking: bool) -> io::Result<Arc<Self>> {
        let flags = if blocking { EfdFlags::EFD_CLOEXEC } else { EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK };
        let event = EventFd::from_flags(flags)?;
        Ok(Arc::new(Self { state: AtomicU32::new(AWAKE), event, ring: AtomicI32::new(NO_RING) }))
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker { state: Arc::clone(self) }
    }

    pub(super) fn set_ring(&self, ring: Option<RawFd>) {
        self.ring.store(ring.unwrap_or(NO_RING), Ordering::Relaxed);
    }

    pub(super) fn ring(&self) -> Option<RawFd> {
        Some(self.ring.load(Ordering::Relaxed)).filter(|fd| *fd != NO_RING)
    }

    /// Marks the sleeper as notified. True if it was asleep: the caller must poke it through the kernel.
    pub(super) fn notify(&self) -> bool {
        self.state.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP
    }

    /// Pokes the sleeper through its eventfd.
    pub(super) fn poke(&self) {
        loop {
            match self.event.write(1) {
                // EAGAIN: the counter is at its limit, so the descriptor is readable already.
                Ok(_) | Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => continue,
                Err(errno) => panic!("an eventfd takes a wake: {errno}"),
            }
        }
    }

    /// Sleeper: may I block? False if a wake has come since the last `rise`.
    pub(super) fn try_sleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Sleeper: I am awake. True if somebody woke me since the last call.
    pub(super) fn rise(&self) -> bool {
        self.state.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }

    /// Sleeper: has a wake come? A cheap look; `try_sleep` is what decides.
    pub(super) fn is_notified(&self) -> bool {
        self.state.load(Ordering::Acquire) == NOTIFIED
    }

    pub(super) fn event_fd(&self) -> RawFd {
        self.event.as_fd().as_raw_fd()
    }

    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Empties a nonblocking eventfd.
    pub(super) fn drain(&self) {
        match self.event.read() {
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => panic!("an eventfd can be read: {errno}"),
        }
    }
}

/// Wakes a reactor from another thread. Cloning is cheap. A wake that finds the thread awake costs one atomic operation.
#[derive(Clone, Debug)]
pub struct Waker {
    state: Arc<WakeState>,
}

impl Waker {
    /// Wakes from any thread. On a reactor's thread prefer `Reactor::wake`.
    pub fn wake(&self) {
        if self.state.notify() {
            self.state.poke();
        }
    }

    pub(super) fn state(&self) -> &Arc<WakeState> {
        &self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sleeper_is_poked() {
        let state = WakeState::new(false).unwrap();
        assert!(!state.notify() && !state.notify(), "awake: one atomic and no system call");
        assert!(!state.try_sleep(), "a notified thread must not block");
        assert!(state.is_notified() && state.rise() && !state.rise());
        assert!(state.try_sleep());
        assert!(state.notify(), "asleep: the waker has to poke");
        assert!(!state.notify(), "the second one has not");
        assert!(state.rise());
    }
}
