//! Readers: how shards see the store. Published roots never change; a reader on its own thread keeps the newest it has seen and
//! looks for a newer one with a single atomic load. The mutex is touched only to fetch or set a new root, never across a read.

use super::Error;
use super::hash::{HashScan, KvHash};
use super::limits::{KEPT_ROOT_AGE_REVISIONS, KEPT_ROOTS_MAX};
use super::range::RangeResult;
use super::row::Kv;
use super::state::{Keys, State};
use crate::pb::etcdserverpb::RangeRequest;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The store at one moment. Cloning counts a reference; holding one keeps its rows in memory.
#[derive(Clone)]
pub struct View {
    root: Arc<Root>,
}

struct Root {
    state: State,
    compaction_hashes: Arc<VecDeque<KvHash>>,
}

/// The meeting point of the writer and its readers.
pub(super) struct Published {
    version: AtomicU64,
    view: Mutex<View>,
}

impl Published {
    pub fn new(view: View) -> Published {
        Published { version: AtomicU64::new(0), view: Mutex::new(view) }
    }

    pub fn set(&self, view: View) {
        let mut current = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, view);
        // Release: who sees the number finds this root or a newer one behind the mutex.
        self.version.fetch_add(1, Ordering::Release);
        drop(current);
        drop(old);
    }

    fn get(&self) -> (u64, View) {
        let current = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        (self.version.load(Ordering::Acquire), current.clone())
    }
}

/// One thread's reader.
#[derive(Clone)]
pub struct Reader {
    published: Arc<Published>,
    version: u64,
    view: View,
    /// Roots that paged LISTs were answered from, least recently used first: their counts stay logarithmic.
    kept: VecDeque<View>,
}

impl Reader {
    pub(super) fn new(published: Arc<Published>) -> Reader {
        let (version, view) = published.get();
        Reader { published, version, view, kept: VecDeque::new() }
    }

    /// The newest published state. An idle reader holds on to the last one it pinned, so pin on every wake.
    pub fn pin(&mut self) -> &View {
        if self.published.version.load(Ordering::Acquire) != self.version {
            (self.version, self.view) = self.published.get();
            let state = &self.view.root.state;
            self.kept.retain(|kept| {
                kept.revision() >= state.compacted && state.revision - kept.revision() <= KEPT_ROOT_AGE_REVISIONS
            });
        }
        &self.view
    }

    /// Range on the newest state. A page that leaves something behind keeps its root, so that the pages that follow at its
    /// revision count in logarithmic time.
    pub fn range(&mut self, request: &RangeRequest, bytes_max: usize) -> Result<RangeResult, Error> {
        let current = self.pin().revision();
        let revision = self.view.root.state.revision_to_read(request.revision)?;
        if revision == current {
            let result = self.view.range(request, bytes_max)?;
            if result.more {
                self.keep();
            }
            return Ok(result);
        }
        let Some(index) = self.kept.iter().position(|kept| kept.revision() == revision) else {
            return self.view.range(request, bytes_max);
        };
        let kept = self.kept.remove(index).expect("just found");
        let result = kept.range(request, bytes_max);
        self.kept.push_back(kept);
        result.map(|result| RangeResult { revision: current, ..result })
    }

    /// Revisions whose roots are kept; for tests and metrics.
    pub fn kept_revisions(&self) -> impl Iterator<Item = i64> {
        self.kept.iter().map(View::revision)
    }

    fn keep(&mut self) {
        let revision = self.view.revision();
        if self.kept.iter().any(|kept| kept.revision() == revision) {
            return;
        }
        if self.kept.len() == KEPT_ROOTS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(self.view.clone());
    }
}

impl View {
    pub(super) fn new(state: State, compaction_hashes: Arc<VecDeque<KvHash>>) -> View {
        View { root: Arc::new(Root { state, compaction_hashes }) }
    }

    pub(super) fn state(&self) -> &State {
        &self.root.state
    }

    pub fn revision(&self) -> i64 {
        self.root.state.revision
    }

    /// Memory of all rows, old revisions included, in bytes.
    pub fn bytes(&self) -> u64 {
        self.root.state.log.bytes()
    }

    /// -1 before the first compaction.
    pub fn compacted_revision(&self) -> i64 {
        self.root.state.compacted
    }

    pub fn live_keys(&self) -> u64 {
        self.root.state.tree.live()
    }

    /// `bytes_max` ends a plainly ordered answer early (`RangeResult::cut`); `usize::MAX` is no limit.
    pub fn range(&self, request: &RangeRequest, bytes_max: usize) -> Result<RangeResult, Error> {
        self.root.state.range(request, bytes_max)
    }

    /// Live keys at a revision; 0 and below mean the current one.
    pub fn count(&self, keys: Keys<'_>, revision: i64) -> Result<u64, Error> {
        let revision = self.root.state.revision_to_read(revision)?;
        Ok(self.root.state.count(keys, revision))
    }

    /// One key at the current revision.
    pub fn get(&self, key: &[u8]) -> Option<&Kv> {
        self.root.state.get(key, self.revision())
    }

    /// Visits the live rows of `keys` at the current revision in key order until `visit` answers false.
    pub fn visit<'s>(&'s self, keys: Keys<'_>, visit: impl FnMut(&'s Kv) -> bool) {
        self.state().visit(keys, self.revision(), visit);
    }

    /// HashKV at a revision, 0 for the current one, in one go. Long on a large store: see `hash_scan`.
    pub fn hash_kv(&self, revision: i64) -> Result<KvHash, Error> {
        let mut scan = self.hash_scan(revision)?;
        loop {
            if let Some(hash) = scan.step(usize::MAX) {
                return Ok(hash);
            }
        }
    }

    /// The hash of what this view holds, never one that is remembered from a compaction: members at one index agree on it.
    pub fn hash_of_rows(&self) -> KvHash {
        let mut scan = HashScan::new(self.clone(), self.revision());
        loop {
            if let Some(hash) = scan.step(usize::MAX) {
                return hash;
            }
        }
    }

    /// HashKV in bounded steps.
    pub fn hash_scan(&self, revision: i64) -> Result<HashScan, Error> {
        // etcd answers what a compaction found out, with the compacted revision before it, also when that is compacted now.
        // A compaction at 0 answers for "the newest" from then on, as long as it is remembered: so be it.
        let known = self.root.compaction_hashes.iter().find(|hash| hash.revision == revision);
        if let Some(hash) = known {
            return Ok(HashScan::known(self.clone(), *hash));
        }
        let state = self.state();
        if revision > 0 && revision < state.compacted {
            return Err(Error::Compacted);
        }
        if revision > state.revision {
            return Err(Error::FutureRev);
        }
        // A negative one is no wish for the newest: nothing is at or below it.
        let revision = if revision == 0 { state.revision } else { revision };
        Ok(HashScan::new(self.clone(), revision))
    }

    /// The log position from which rows have at least this main revision.
    pub fn position_of(&self, revision: i64) -> u64 {
        self.root.state.log.position_of(revision)
    }

    /// One past the last log position of this view: where the next view's new rows begin.
    pub fn end_position(&self) -> u64 {
        self.root.state.log.end()
    }

    /// The first row at or after a log position. Below the compacted revision rows are missing, and some that are still there
    /// may be gone from the next view.
    pub fn next_row(&self, position: u64) -> Option<(u64, &Kv)> {
        self.root.state.log.next_row(position)
    }

    /// Rows from a main revision on, in (main, sub) order.
    pub fn rows(&self, from_revision: i64) -> impl Iterator<Item = &Kv> {
        let mut position = self.position_of(from_revision);
        std::iter::from_fn(move || {
            let (at, row) = self.next_row(position)?;
            position = at + 1;
            Some(row)
        })
    }

    /// The key's state just before the transaction that wrote `row`, as a watch event's prev_kv: none if the key did not exist or
    /// that revision is compacted.
    pub fn previous(&self, row: &Kv) -> Option<&Kv> {
        let state = self.state();
        let before = row.main() - 1;
        if before < state.compacted {
            return None;
        }
        let mut links = row.links()?;
        loop {
            let prev = state.log.get(links.prev)?;
            if prev.main() <= before {
                return (!prev.is_tombstone()).then_some(prev);
            }
            links = prev.links()?;
        }
    }
}
