//! Space for the log: what to let in while the next segment cannot be allocated. Owned by the replica.
//! Must never happen here: somebody else's record in the tail that raft needs for its own.

use crate::limits::LOG_SPACE_RETRY_NS;
use crate::wal;

/// What has changed since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The next segment cannot be allocated, with this errno. What is left of the current one is still used.
    Short(i32),
    /// There is a next segment again.
    Restored,
}

#[derive(Default)]
pub(super) struct Space {
    /// The next segment could not be allocated, and has not been since.
    short: bool,
    /// Somebody was refused for it: everybody is, until there is a next segment.
    full: bool,
    retry_ns: u64,
}

/// Whether an entry may go into the log now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fits,
    /// The next segment is being prepared: it will be known soon.
    Later,
    Full,
}

impl Space {
    /// Looks at the log after every turn, and tries again for a next segment at a bounded rate.
    pub(super) fn watch(&mut self, log: &mut wal::Writer, now_ns: u64) -> Option<Change> {
        let error = log.next_segment_error();
        if let Some(errno) = error.filter(|_| !self.short) {
            self.short = true;
            self.retry_ns = now_ns + LOG_SPACE_RETRY_NS;
            return Some(Change::Short(errno));
        }
        if !self.short {
            return None;
        }
        if log.has_next_segment() {
            (self.short, self.full) = (false, false);
            return Some(Change::Restored);
        }
        if error.is_some() && now_ns >= self.retry_ns {
            self.retry_ns = now_ns + LOG_SPACE_RETRY_NS;
            log.retry_prepare();
        }
        None
    }

    /// Judges entries of this many bytes in all, where `room_bytes` are left. A refusal is remembered: what comes later
    /// must not slip in behind because it is smaller.
    pub(super) fn judge(&mut self, bytes: u64, room_bytes: u64) -> Verdict {
        if self.full {
            return Verdict::Full;
        }
        if bytes <= room_bytes {
            return Verdict::Fits;
        }
        self.full = self.short;
        if self.full { Verdict::Full } else { Verdict::Later }
    }

    /// Requests are refused for lack of space.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }
}
