//! HashKV: the CRC32C that members compare. It covers the name of the db file's `key` bucket, then row key and row value of
//! every row up to a revision, as they would stand in the file. It must not depend on how far a compaction has come.

use super::limits::COMPACTION_HASHES_MAX;
use super::reader::View;
use super::state::State;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    pub hash: u32,
    /// -1 before the first compaction.
    pub compact_revision: i64,
    pub revision: i64,
}

/// A hash being computed in bounded steps, over a frozen view.
pub struct HashScan {
    view: View,
    revision: i64,
    crc: u32,
    phase: Phase,
    keep: KeepSet,
    /// A compaction hashes what it is about to drop: a tombstone at its own revision then counts as something to keep.
    compaction: bool,
}

enum Phase {
    /// Walks the index for the rows at or below the compacted revision that are live at `at`.
    Keep {
        at: i64,
        from: Vec<u8>,
        any: bool,
    },
    Rows {
        position: u64,
    },
    Done(KvHash),
}

/// Positions, a bit each.
#[derive(Default)]
struct KeepSet(BTreeMap<u64, u64>);

impl KeepSet {
    fn insert(&mut self, position: u64) {
        *self.0.entry(position / 64).or_default() |= 1 << (position % 64);
    }

    fn contains(&self, position: u64) -> bool {
        self.0.get(&(position / 64)).is_some_and(|bits| bits >> (position % 64) & 1 == 1)
    }
}

impl HashScan {
    pub(super) fn new(view: View, revision: i64) -> HashScan {
        let phase = if view.compacted_revision() <= 0 {
            Phase::Rows { position: 0 }
        } else {
            Phase::Keep { at: revision, from: Vec::new(), any: false }
        };
        HashScan { view, revision, crc: crc32c::crc32c(b"key"), phase, keep: KeepSet::default(), compaction: false }
    }

    /// The hash that a compaction to `revision` leaves behind; `view` is from just before it.
    pub(super) fn for_compaction(view: View, revision: i64) -> HashScan {
        HashScan { compaction: true, ..HashScan::new(view, revision) }
    }

    pub(super) fn known(view: View, hash: KvHash) -> HashScan {
        HashScan { phase: Phase::Done(hash), ..HashScan::new(view, hash.revision) }
    }

    /// Looks at about `budget_rows` rows or keys; answers when it is through.
    pub fn step(&mut self, budget_rows: usize) -> Option<KvHash> {
        let state = self.view.state();
        match &mut self.phase {
            Phase::Done(hash) => return Some(*hash),
            Phase::Keep { at, from, any } => {
                let next = keep_step(state, *at, from, budget_rows, self.compaction, &mut self.keep, any);
                match next {
                    Some(next) => *from = next,
                    // With nothing to keep etcd skips no row: what the compaction left is hashed as it is.
                    None if !*any && *at != state.compacted => {
                        (*at, *from, *any) = (state.compacted, Vec::new(), true);
                    }
                    None => self.phase = Phase::Rows { position: 0 },
                }
            }
            Phase::Rows { position } => {
                for _ in 0..budget_rows {
                    let next = state.log.next_row(*position).filter(|(_, row)| row.main() <= self.revision);
                    let Some((at, row)) = next else {
                        let (hash, compact_revision) = (self.crc, state.compacted);
                        let done = KvHash { hash, compact_revision, revision: self.revision };
                        self.phase = Phase::Done(done);
                        return Some(done);
                    };
                    if row.main() > state.compacted || self.keep.contains(at) {
                        self.crc = crc32c::crc32c_append(self.crc, row.row_key().as_bytes());
                        self.crc = crc32c::crc32c_append(self.crc, row.encoded());
                    }
                    *position = at + 1;
                }
            }
        }
        None
    }
}

/// Answers the key to go on at, or none at the end.
fn keep_step(
    state: &State,
    at: i64,
    from: &[u8],
    budget_keys: usize,
    compaction: bool,
    keep: &mut KeepSet,
    any: &mut bool,
) -> Option<Vec<u8>> {
    let mut left = budget_keys;
    let mut next = None;
    state.tree.visit(&state.log, from, None, |head| {
        if left == 0 {
            next = Some(state.log.row(head.position).key().to_vec());
            return false;
        }
        left -= 1;
        if let Some((position, row)) = state.row_at(head, at) {
            let tombstone = row.is_tombstone();
            *any |= !tombstone || (compaction && row.main() == at);
            if !tombstone && row.main() <= state.compacted {
                keep.insert(position);
            }
        }
        true
    });
    next
}

/// Remembers the hash of a finished compaction; the ones of the highest revisions stay.
pub(super) fn remember(hashes: &mut std::collections::VecDeque<KvHash>, hash: KvHash) {
    hashes.push_back(hash);
    if hashes.len() > COMPACTION_HASHES_MAX {
        hashes.pop_front();
    }
}
