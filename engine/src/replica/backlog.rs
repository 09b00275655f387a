//! The queue between consensus and apply: committed entries in order, bounded by count and bytes. Consensus hands out only
//! what has room here, so a slow apply holds back nothing but itself. Owned by the replica.

use crate::limits::{APPLY_QUEUE_BYTES_MAX, APPLY_QUEUE_ENTRIES_MAX};
use crate::pb::raftpb::Entry;
use std::collections::VecDeque;

#[derive(Default)]
pub(super) struct Backlog {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Backlog {
    /// Entries for which there is room.
    pub(super) fn room(&self) -> usize {
        if self.bytes >= APPLY_QUEUE_BYTES_MAX { 0 } else { APPLY_QUEUE_ENTRIES_MAX.saturating_sub(self.entries.len()) }
    }

    pub(super) fn push(&mut self, committed: Vec<Entry>) {
        self.bytes += committed.iter().map(|entry| entry.data.len()).sum::<usize>();
        if self.entries.is_empty() {
            self.entries = committed.into();
        } else {
            self.entries.extend(committed);
        }
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    pub(super) fn pop(&mut self) {
        let entry = self.entries.pop_front().expect("a front was looked at");
        self.bytes -= entry.data.len();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_by_count_and_by_bytes() {
        let entry = |bytes: usize| Entry { data: vec![0; bytes].into(), ..Entry::default() };
        let mut backlog = Backlog::default();
        backlog.push(vec![entry(1); APPLY_QUEUE_ENTRIES_MAX - 1]);
        assert_eq!(backlog.room(), 1);
        backlog.push(vec![entry(1)]);
        assert_eq!(backlog.room(), 0);
        backlog.pop();
        assert_eq!(backlog.room(), 1);

        let mut backlog = Backlog::default();
        backlog.push(vec![entry(APPLY_QUEUE_BYTES_MAX)]);
        assert_eq!(backlog.room(), 0);
        backlog.pop();
        assert!(backlog.is_empty() && backlog.room() == APPLY_QUEUE_ENTRIES_MAX);
    }
}
