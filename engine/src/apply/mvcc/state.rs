//! The store at one moment: index root, log, revision. Cheap to clone; a clone never changes. Both the writer's working copy and
//! every published root are one of these, so reads inside a transaction and reads of a shard are the same code.

use super::Error;
use super::log::Log;
use super::row::Kv;
use super::tree::{Head, Tree};

#[derive(Clone)]
pub(super) struct State {
    pub tree: Tree,
    pub log: Log,
    pub revision: i64,
    /// -1 before the first compaction.
    pub compacted: i64,
}

/// Which keys: one, or all in [key, end); no end means every key from `key` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys<'a> {
    One(&'a [u8]),
    Range(&'a [u8], Option<&'a [u8]>),
}

impl<'a> Keys<'a> {
    /// The wire's form: an empty range_end is one key, a single zero byte is no upper bound.
    pub fn new(key: &'a [u8], range_end: &'a [u8]) -> Keys<'a> {
        match range_end {
            [] => Keys::One(key),
            [0] => Keys::Range(key, None),
            end => Keys::Range(key, Some(end)),
        }
    }
}

impl State {
    /// The revision to read at: what was asked for, or the current one. Checks it like etcd: the future first.
    pub fn revision_to_read(&self, asked: i64) -> Result<i64, Error> {
        if asked > self.revision {
            return Err(Error::FutureRev);
        }
        let revision = if asked <= 0 { self.revision } else { asked };
        if revision < self.compacted { Err(Error::Compacted) } else { Ok(revision) }
    }

    /// The newest row at or below `revision` of the key that `head` belongs to; also a tombstone.
    pub fn row_at(&self, head: Head, revision: i64) -> Option<(u64, &Kv)> {
        let row = self.log.row(head.position);
        if head.main <= revision {
            return Some((head.position, row));
        }
        let mut older = self.older(row, revision)?;
        while older.1.main() > revision {
            older = self.older(older.1, revision)?;
        }
        Some(older)
    }

    /// One step from a row above `revision` towards the newest at or below it.
    fn older(&self, row: &Kv, revision: i64) -> Option<(u64, &Kv)> {
        let links = row.links()?;
        // A jump target that is gone was compacted, so it is older than anything that may be read.
        let jump = self.log.get(links.jump).filter(|jump| jump.main() > revision);
        let jump = jump.map(|row| (links.jump, row));
        jump.or_else(|| self.log.get(links.prev).map(|row| (links.prev, row)))
    }

    pub fn live_at(&self, head: Head, revision: i64) -> Option<(u64, &Kv)> {
        if head.main <= revision {
            return head.live.then(|| (head.position, self.log.row(head.position)));
        }
        self.row_at(head, revision).filter(|(_, row)| !row.is_tombstone())
    }

    pub fn get(&self, key: &[u8], revision: i64) -> Option<&Kv> {
        let head = self.tree.find(&self.log, key)?;
        self.live_at(head, revision).map(|(_, row)| row)
    }

    /// Visits the live rows of `keys` at `revision` in key order until `visit` answers false.
    pub fn visit<'s>(&'s self, keys: Keys<'_>, revision: i64, mut visit: impl FnMut(&'s Kv) -> bool) {
        match keys {
            Keys::One(key) => {
                if let Some(row) = self.get(key, revision) {
                    visit(row);
                }
            }
            Keys::Range(from, to) => self.tree.visit(&self.log, from, to, |head| match self.live_at(head, revision) {
                Some((_, row)) => visit(row),
                None => true,
            }),
        }
    }

    /// Live keys at `revision`. Logarithmic at this state's own revision, a scan of the range below.
    pub fn count(&self, keys: Keys<'_>, revision: i64) -> u64 {
        match keys {
            Keys::One(key) => u64::from(self.get(key, revision).is_some()),
            Keys::Range(from, to) if to.is_some_and(|to| to <= from) => 0,
            Keys::Range(from, to) if revision >= self.revision => self.tree.count(&self.log, from, to),
            Keys::Range(from, to) => {
                let mut count = 0;
                self.tree.visit(&self.log, from, to, |head| {
                    let live = if head.main <= revision { head.live } else { self.live_at(head, revision).is_some() };
                    count += u64::from(live);
                    true
                });
                count
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::apply::mvcc::Store;

    #[test]
    fn any_old_version_is_a_logarithmic_number_of_steps_away() {
        let mut store = Store::new();
        let mut changes = Vec::new();
        for version in 0..20_000u64 {
            let mut txn = store.txn(&mut changes);
            txn.put(b"key", &version.to_le_bytes(), 0);
            txn.finish();
            if version == 12_000 {
                store.compact(5_000).expect("compacts");
                while !store.compact_step(usize::MAX) {}
            }
        }
        let state = store.state();
        let head = state.tree.find(&state.log, b"key").expect("the key");
        for revision in (5_000..store.revision()).step_by(37) {
            let mut row = state.log.row(head.position);
            let mut steps = 0;
            while row.main() > revision {
                row = state.older(row, revision).expect("not compacted").1;
                steps += 1;
            }
            assert_eq!(row.main(), revision);
            assert!(steps <= 45, "{steps} steps to revision {revision}");
        }
    }
}
