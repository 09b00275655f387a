//! A disk that keeps the log waiting: how long since the last progress, and what is to be done about it. Owned by the
//! replica. It only looks at what completed, never at a clock of its own, so a thread that was held up does not blame the
//! disk: completions of the same turn are taken in first.

use crate::wal;

/// What a leader whose disk is late has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    Nothing,
    /// Give leadership to a member that is alive.
    HandOver,
    /// Nobody took it in time: stop leading, so that the others elect somebody.
    StepDown,
}

pub(super) struct Stall {
    /// Longest time without progress while something waits to be durable.
    deadline_ns: u64,
    /// What was durable when the wait began, and when that was.
    waiting: Option<(wal::Seq, u64)>,
    late_ns: u64,
    handed_over: bool,
}

impl Stall {
    pub(super) fn new(deadline_ns: u64) -> Self {
        Self { deadline_ns, waiting: None, late_ns: 0, handed_over: false }
    }

    /// Looks at the log after every turn.
    pub(super) fn watch(&mut self, log: &wal::Writer, now_ns: u64) {
        let durable = log.durable();
        if durable >= log.appended() {
            self.waiting = None;
        } else if self.waiting.is_none_or(|(before, _)| before < durable) {
            self.waiting = Some((durable, now_ns));
        }
        self.late_ns = self.waiting.map_or(0, |(_, since_ns)| now_ns.saturating_sub(since_ns + self.deadline_ns));
        self.handed_over &= self.is_late();
    }

    /// The log waits for the disk longer than it may.
    pub(super) fn is_late(&self) -> bool {
        self.late_ns > 0
    }

    /// What a leader that is not alone should do now.
    pub(super) fn duty(&self) -> Duty {
        match (self.is_late(), self.handed_over) {
            (false, _) => Duty::Nothing,
            (true, _) if self.late_ns > self.deadline_ns => Duty::StepDown,
            (true, true) => Duty::Nothing,
            (true, false) => Duty::HandOver,
        }
    }

    /// A member was asked to take over: it has one deadline's time.
    pub(super) fn handed_over(&mut self) {
        self.handed_over = true;
    }
}
