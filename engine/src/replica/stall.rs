//! A disk that keeps the log waiting: how long since the last progress, and what is to be done about it. Owned by the
//! replica. Must never happen here: the disk blamed for a thread that was held up, whose completions were only not looked at.
//! A wait is therefore made of looks, each of which counts for a tick or two at most.

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
    /// Most that counts between two looks: somebody looks at every tick, unless the thread was held up.
    look_ns_max: u64,
    looked_ns: u64,
    /// What was durable when the wait began.
    waiting: Option<wal::Seq>,
    waited_ns: u64,
    handed_over: bool,
}

impl Stall {
    pub(super) fn new(deadline_ns: u64, tick_ns: u64) -> Self {
        Self { deadline_ns, look_ns_max: 2 * tick_ns, looked_ns: 0, waiting: None, waited_ns: 0, handed_over: false }
    }

    /// Looks at the log after every turn.
    pub(super) fn watch(&mut self, log: &wal::Writer, now_ns: u64) {
        let passed_ns = (now_ns - self.looked_ns).min(self.look_ns_max);
        self.looked_ns = now_ns;
        let durable = log.durable();
        let moved = self.waiting.is_none_or(|before| before < durable);
        self.waiting = (durable < log.appended()).then_some(durable);
        self.waited_ns = if moved || self.waiting.is_none() { 0 } else { self.waited_ns + passed_ns };
        self.handed_over &= self.is_late();
    }

    /// The log waits for the disk longer than it may.
    pub(super) fn is_late(&self) -> bool {
        self.waited_ns > self.deadline_ns
    }

    /// What a leader that is not alone should do now.
    pub(super) fn duty(&self) -> Duty {
        match (self.is_late(), self.handed_over) {
            (false, _) => Duty::Nothing,
            (true, _) if self.waited_ns > 2 * self.deadline_ns => Duty::StepDown,
            (true, true) => Duty::Nothing,
            (true, false) => Duty::HandOver,
        }
    }

    /// A member was asked to take over: it has one deadline's time.
    pub(super) fn handed_over(&mut self) {
        self.handed_over = true;
    }
}
