//! Compaction: the logical part happens at once, the memory is given back in bounded steps between other work. Kept are the
//! newest row of every live key at or below the compacted revision, and a tombstone that stands exactly at it (watchers
//! may start there). How far the steps have come must never show in an answer.

use super::Error;
use super::hash::{HashScan, KvHash, remember};
use super::limits::{RECLAIM_BYTES, RECLAIM_COST_SHARE, RECLAIM_OPEN_ROWS, RECLAIM_ROWS_SHARE};
use super::log::{DeadRows, segment_of};
use super::row::RowKey;
use super::store::Store;
use crate::canary::Canary;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct Compaction {
    job: Option<Job>,
    /// Rows that are compacted but not worth rewriting their segment for yet, by segment.
    dead: BTreeMap<usize, DeadRows>,
}

struct Job {
    target: i64,
    /// Next row of the log to look at.
    position: u64,
    /// Runs first, over the view from before. Not for a compaction that overtook another.
    hash: Option<HashScan>,
    /// What the hash came to; remembered when the job is done, as etcd does.
    found: Option<KvHash>,
}

impl Compaction {
    pub fn new() -> Compaction {
        Compaction { job: None, dead: BTreeMap::new() }
    }

    /// The row is compacted, and only still there because dropping it alone is not worth it.
    pub fn is_dead(&self, position: u64) -> bool {
        self.dead.get(&segment_of(position)).is_some_and(|dead| dead.contains(position))
    }
}

impl Store {
    /// Compacts to `revision`: reads below it fail from the next publish on. `compact_step` does the work.
    pub fn compact(&mut self, revision: i64) -> Result<(), Error> {
        let before = self.compacted_revision();
        if revision <= before {
            return Err(Error::Compacted);
        }
        if revision > self.revision() {
            return Err(Error::FutureRev);
        }
        let log = self.writer.log();
        let job = match self.compaction.job.take() {
            // Tombstones that the overtaken compaction would have kept at its own revision are looked at again.
            Some(job) => {
                let position = job.position.min(log.position_of(job.target));
                Job { target: revision, position, hash: None, found: None }
            }
            None => {
                let hash = HashScan::for_compaction(self.view(), revision);
                Job { target: revision, position: log.position_of(before), hash: Some(hash), found: None }
            }
        };
        self.compaction.job = Some(job);
        self.set_compacted(revision);
        Ok(())
    }

    /// True while there is work for `compact_step`.
    pub fn is_compacting(&self) -> bool {
        self.compaction.job.is_some()
    }

    /// Looks at about `budget_rows` rows; true when the compaction is through. Publish afterwards.
    pub fn compact_step(&mut self, budget_rows: usize) -> bool {
        self.compact_step_reporting(budget_rows, &mut Vec::new())
    }

    /// `compact_step` that also tells which rows are to go from the file: each once, a put before the tombstone that ends it, so
    /// that a file which has seen only some of them holds no deleted key.
    pub fn compact_step_reporting(&mut self, budget_rows: usize, dropped: &mut Vec<RowKey>) -> bool {
        let Some(mut job) = self.compaction.job.take() else { return true };
        if let Some(scan) = &mut job.hash {
            let Some(hash) = scan.step(budget_rows) else {
                self.compaction.job = Some(job);
                return false;
            };
            job.hash = None;
            job.found = Some(hash);
        }
        let mut budget = budget_rows.max(1);
        while budget > 0 {
            let next = self.writer.log().next_row(job.position).filter(|(_, row)| row.main() <= job.target);
            let Some((position, row)) = next else {
                if let Some(hash) = job.found {
                    remember(Arc::make_mut(&mut self.compaction_hashes), hash);
                    self.mark_dirty();
                }
                return true;
            };
            let older = row.links().map(|links| links.prev);
            let dropped_by_mistake = self.canaries.has(Canary::CompactionDropsRow) && row.main() == job.target;
            let expired = (row.is_tombstone() && row.main() < job.target) || dropped_by_mistake;
            let row = row.clone();
            job.position = position + 1;
            let mut spent = 1;
            if let Some(older) = older {
                spent += self.bury(older, dropped);
            }
            if expired {
                let head = self.tree.find(self.writer.log(), row.key());
                if head.is_some_and(|head| head.position == position) {
                    assert!(self.tree.remove(self.writer.log(), row.key()), "the key was just found");
                    self.mark_dirty();
                }
                spent += self.bury(position, dropped);
            }
            budget = budget.saturating_sub(spent);
        }
        self.compaction.job = Some(job);
        false
    }

    /// Marks a row as compacted and rewrites its segment when that is worth it. Answers what that cost, in rows.
    fn bury(&mut self, position: u64, dropped: &mut Vec<RowKey>) -> usize {
        let Some(row) = self.writer.log().get(position) else { return 0 };
        let (bytes, row_key) = (row.footprint_bytes(), row.row_key());
        let index = segment_of(position);
        let dead = self.compaction.dead.entry(index).or_insert_with(DeadRows::new);
        if !dead.mark(position, bytes) {
            return 0;
        }
        dropped.push(row_key);
        let open = self.writer.open_segment() == Some(index);
        let enough_rows = if open {
            dead.rows >= RECLAIM_OPEN_ROWS
        } else {
            dead.rows * RECLAIM_ROWS_SHARE >= self.writer.segment_len(index)
        };
        if !enough_rows && dead.bytes < RECLAIM_BYTES {
            return 0;
        }
        if open {
            self.writer.seal();
        }
        let rows = self.writer.segment_len(index);
        let dead = self.compaction.dead.remove(&index).expect("just marked");
        self.writer.drop_rows(index, &dead.bits);
        self.mark_dirty();
        rows / RECLAIM_COST_SHARE
    }
}
