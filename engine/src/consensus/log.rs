//! The part of the raft log that is held in memory, as the raft crate reads it. Entries enter here the moment a Ready is
//! taken, before they are durable: the crate requires that, and what may be acked is decided by durability elsewhere.
//! Old entries leave by `compact`; they stay on disk until a checkpoint covers them.

use raft::eraftpb;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use std::cell::Cell;
use std::collections::VecDeque;

pub(super) struct LogStore {
    /// Index and term of the entry just before `entries[0]`.
    prev_index: u64,
    prev_term: u64,
    entries: VecDeque<eraftpb::Entry>,
    initial: RaftState,
    /// Most entries that one call hands out while a Ready is made: all that the crate then reads are committed entries.
    handout_max: Cell<usize>,
}

impl LogStore {
    pub(super) fn new(prev_index: u64, prev_term: u64, entries: Vec<eraftpb::Entry>, initial: RaftState) -> Self {
        for (i, entry) in entries.iter().enumerate() {
            assert_eq!(entry.index, prev_index + 1 + i as u64, "log entries must be consecutive");
        }
        Self { prev_index, prev_term, entries: entries.into(), initial, handout_max: Cell::new(usize::MAX) }
    }

    pub(super) fn set_handout_max(&self, entries: usize) {
        self.handout_max.set(entries);
    }

    fn last(&self) -> u64 {
        self.prev_index + self.entries.len() as u64
    }

    /// Adds entries, replacing what stands at and above the first one's index.
    pub(super) fn append(&mut self, entries: &[eraftpb::Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.prev_index, "append below the log's start: {} <= {}", first.index, self.prev_index);
        assert!(first.index <= self.last() + 1, "append leaves a hole: {} after {}", first.index, self.last());
        self.entries.truncate((first.index - self.prev_index - 1) as usize);
        self.entries.extend(entries.iter().cloned());
    }

    /// Drops entries up to and including `index` from memory.
    pub(super) fn compact(&mut self, index: u64) {
        while self.prev_index < index {
            let Some(entry) = self.entries.pop_front() else { return };
            (self.prev_index, self.prev_term) = (entry.index, entry.term);
        }
    }

    pub(super) fn first_held(&self) -> u64 {
        self.prev_index + 1
    }
}

impl Storage for LogStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        if low <= self.prev_index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.last() + 1, "entries up to {high} asked, last is {}", self.last());
        let max_bytes = max_size.into().unwrap_or(u64::MAX);
        let (from, to) = ((low - self.prev_index - 1) as usize, (high - self.prev_index - 1) as usize);
        let mut bytes = 0u64;
        let to = to.min(from.saturating_add(self.handout_max.get()));
        let mut found = Vec::with_capacity(to - from);
        for entry in self.entries.range(from..to) {
            bytes += entry.data.len() as u64 + ENTRY_OVERHEAD_BYTES;
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.prev_index {
            return Ok(self.prev_term);
        }
        if index < self.prev_index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        match self.entries.get((index - self.prev_index - 1) as usize) {
            Some(entry) => Ok(entry.term),
            None => Err(raft::Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.prev_index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<eraftpb::Snapshot> {
        // There is no checkpoint to make one from until the db file exists; the crate asks again later.
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

/// What an entry weighs beside its payload when a batch is cut by size, in bytes: index, term and framing.
const ENTRY_OVERHEAD_BYTES: u64 = 24;
