//! Known bugs that can be put back in, to prove that the simulator finds them. Without the cargo feature `canaries` none can
//! be chosen and `has` is constantly false, so that nothing of them is in a release. Each has its one place in the code.

/// A bug that somebody once had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Records count as durable as soon as they are put into the log.
    AckBeforeSync,
    /// Recovery leaves the rest of a torn write behind the log's end.
    NoZeroing,
    /// A new log segment's name is not made durable before records go into it.
    NoDirectorySync,
    /// The leader shows readers what it has not committed yet.
    EarlyPublication,
    /// A compaction drops the newest row of a key that was written at the compacted revision itself.
    CompactionDropsRow,
    /// A new leader confirms reads at a commit index that may be older than what was acknowledged before it.
    ReadIndexBeforeCommit,
}

impl Canary {
    pub const ALL: [Self; 6] = [
        Self::AckBeforeSync,
        Self::NoZeroing,
        Self::NoDirectorySync,
        Self::EarlyPublication,
        Self::CompactionDropsRow,
        Self::ReadIndexBeforeCommit,
    ];
}

/// Which bug is in, if any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Canaries(Option<Canary>);

impl Canaries {
    #[cfg(feature = "canaries")]
    pub fn new(canary: Option<Canary>) -> Self {
        Self(canary)
    }

    pub(crate) fn has(self, canary: Canary) -> bool {
        cfg!(feature = "canaries") && self.0 == Some(canary)
    }
}
