//! The writer: the only one that changes index and log, owned by apply. Changes become visible to readers with `publish`, in one
//! root per apply batch. A transaction must have passed all its checks before its first mutation: there is no way back.

use super::compact::Compaction;
use super::hash::KvHash;
use super::log::{Log, LogWriter};
use super::range::RangeResult;
use super::reader::{Published, Reader, View};
use super::row::{Fields, Kv, Links, NewRow};
use super::state::{Keys, State};
use super::tree::{Head, Tree};
use super::{Error, LeaseChange, RestoreError};
use crate::pb::etcdserverpb::RangeRequest;
use crate::pb::mvccpb::KeyValue;
use prost::Message;
use std::collections::VecDeque;
use std::sync::Arc;

pub struct Store {
    pub(super) tree: Tree,
    pub(super) writer: LogWriter,
    revision: i64,
    compacted: i64,
    pub(super) compaction: Compaction,
    /// Newest last, at most `COMPACTION_HASHES_MAX`.
    pub(super) compaction_hashes: Arc<VecDeque<KvHash>>,
    scratch: Vec<u8>,
    last_restored: Option<(i64, u32)>,
    published: Arc<Published>,
    dirty: bool,
    counts: Counts,
}

/// What transactions did since the process started, as etcd counts it: calls, not keys. Plain integers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub puts: u64,
    /// Deletes of a range count once, whatever they found.
    pub deletes: u64,
    /// Transactions of more than one operation.
    pub txns: u64,
    /// Keys and values put, in bytes.
    pub put_bytes: u64,
}

/// Counters for tests and metrics; walking the segment table, not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    pub live_keys: u64,
    pub index_keys: usize,
    pub segments: usize,
    pub rows: usize,
}

impl Default for Store {
    fn default() -> Store {
        Store::new()
    }
}

impl Store {
    /// An empty store: revision 1, never compacted.
    pub fn new() -> Store {
        let state = State { tree: Tree::empty(), log: Log::empty(), revision: 1, compacted: -1 };
        let published = Arc::new(Published::new(View::new(state.clone(), Arc::default())));
        Store {
            tree: state.tree,
            writer: LogWriter::new(),
            revision: 1,
            compacted: -1,
            compaction: Compaction::new(),
            compaction_hashes: Arc::default(),
            scratch: Vec::new(),
            last_restored: None,
            published,
            dirty: false,
            counts: Counts::default(),
        }
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    pub fn live_keys(&self) -> u64 {
        self.tree.live()
    }

    /// Memory of all rows, old revisions included, in bytes.
    pub fn bytes(&self) -> u64 {
        self.writer.log().bytes()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// -1 before the first compaction.
    pub fn compacted_revision(&self) -> i64 {
        self.compacted
    }

    pub fn reader(&self) -> Reader {
        Reader::new(self.published.clone())
    }

    /// The state with all that was applied so far, published or not.
    pub fn view(&self) -> View {
        View::new(self.state(), self.compaction_hashes.clone())
    }

    /// Makes everything applied so far visible to readers, at once. Cheap when nothing changed.
    pub fn publish(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.published.set(self.view());
        }
    }

    /// Begins the one transaction there can be. If it changes something, all of it has revision `revision() + 1`.
    pub fn txn<'s>(&'s mut self, lease_changes: &'s mut Vec<LeaseChange>) -> Txn<'s> {
        let main = self.revision + 1;
        Txn { store: self, lease_changes, main, sub: 0, ops: 0 }
    }

    /// Goes on with the transaction that was paused last. Nothing may have been published since.
    pub fn resume<'s>(&'s mut self, paused: &Paused, lease_changes: &'s mut Vec<LeaseChange>) -> Txn<'s> {
        assert!(paused.main == self.revision + 1, "a transaction was paused at {} and resumed later", paused.main);
        Txn { store: self, lease_changes, main: paused.main, sub: paused.sub, ops: paused.ops }
    }

    pub fn get(&self, key: &[u8]) -> Option<Kv> {
        let head = self.tree.find(self.writer.log(), key).filter(|head| head.live)?;
        Some(self.writer.log().row(head.position).clone())
    }

    pub(super) fn state(&self) -> State {
        State {
            tree: self.tree.clone(),
            log: self.writer.log().clone(),
            revision: self.revision,
            compacted: self.compacted,
        }
    }

    pub fn census(&self) -> Census {
        let (segments, rows) = self.writer.log().census();
        Census { live_keys: self.tree.live(), index_keys: self.tree.check(self.writer.log()), segments, rows }
    }

    pub(super) fn set_compacted(&mut self, revision: i64) {
        self.compacted = revision;
        self.dirty = true;
    }

    pub(super) fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// Takes over one row of the db file's `key` bucket; rows come in file order, before anything else is written.
    pub fn restore_row(&mut self, main: i64, sub: u32, tombstone: bool, encoded: &[u8]) -> Result<(), RestoreError> {
        let kv = KeyValue::decode(encoded).map_err(|_| RestoreError::Malformed)?;
        if kv.encoded_len() != encoded.len() || kv.encode_to_vec() != encoded {
            return Err(RestoreError::NotCanonical);
        }
        let tombstone_fields = KeyValue { key: kv.key.clone(), ..KeyValue::default() };
        if kv.key.is_empty() || (tombstone && kv != tombstone_fields) || (!tombstone && kv.mod_revision != main) {
            return Err(RestoreError::Malformed);
        }
        if main < self.revision || self.last_restored.is_some_and(|last| last >= (main, sub)) {
            return Err(RestoreError::OutOfOrder);
        }
        let scratch = &mut self.scratch;
        self.tree.upsert(&mut self.writer, &kv.key, |log, old| {
            let links = old.map(|old| links_after(log.log(), old.position));
            let row = Kv::from_encoded(main, sub, tombstone, links, encoded, scratch);
            Head { position: log.append(row), main, live: !tombstone }
        });
        self.revision = main;
        self.last_restored = Some((main, sub));
        self.dirty = true;
        Ok(())
    }

    /// The compaction marks of the db file, after its rows: `finished` is what was compacted for good, `scheduled`
    /// what had begun. The revision never falls below either, and an unfinished compaction is done again.
    pub fn restore_compacted(&mut self, finished: Option<i64>, scheduled: Option<i64>) {
        self.compacted = finished.unwrap_or(-1);
        self.revision = self.revision.max(self.compacted).max(scheduled.unwrap_or(0));
        if let Some(scheduled) = scheduled.filter(|&scheduled| scheduled > self.compacted && scheduled > 0) {
            self.compact(scheduled).expect("a revision above the compacted one and not in the future");
        }
        self.dirty = true;
    }

    /// Appends the newest row of a key and makes it the key's head.
    fn write<'k>(&mut self, key: &'k [u8], row: impl FnOnce(Option<&Kv>) -> NewRow<'k>) -> (Kv, Option<Kv>) {
        let scratch = &mut self.scratch;
        let mut written = None;
        self.tree.upsert(&mut self.writer, key, |log, old| {
            let old_row = old.map(|old| log.log().row(old.position).clone());
            let mut new = row(old_row.as_ref().filter(|row| !row.is_tombstone()));
            new.links = old.map(|old| links_after(log.log(), old.position));
            let kv = Kv::new(&new, scratch);
            let head = Head { position: log.append(kv.clone()), main: new.main, live: !new.tombstone };
            written = Some((kv, old_row.filter(|row| !row.is_tombstone())));
            head
        });
        self.dirty = true;
        written.expect("the index calls back once")
    }
}

/// Links of the row that follows the one at `prev`. The jump pointers are those of a skew-binary list: each row adds one in
/// constant time, and following them finds any older row in a logarithmic number of steps.
fn links_after(log: &Log, prev: u64) -> Links {
    let before = log.row(prev).links();
    let prev_depth = before.map_or(0, |before| before.depth);
    let depth = prev_depth.saturating_add(1);
    let step = Links { prev, jump: prev, depth, jump_depth: prev_depth };
    let Some(before) = before else { return step };
    // The jump target may be compacted by now; then nothing beyond it can be read either.
    let Some(beyond) = log.get(before.jump).and_then(Kv::links) else { return step };
    let near = prev_depth.saturating_sub(before.jump_depth);
    let far = before.jump_depth.saturating_sub(beyond.jump_depth);
    if near == far { Links { prev, jump: beyond.jump, depth, jump_depth: beyond.jump_depth } } else { step }
}

/// A transaction between two of its steps. Its changes are in the store but must not be published.
#[derive(Clone, Copy, Debug)]
pub struct Paused {
    main: i64,
    sub: u32,
    ops: u32,
}

/// One transaction: every change shares a main revision, and later operations see earlier ones.
pub struct Txn<'s> {
    store: &'s mut Store,
    lease_changes: &'s mut Vec<LeaseChange>,
    main: i64,
    sub: u32,
    ops: u32,
}

impl Txn<'_> {
    /// The revision answers carry now: one more than before as soon as something changed.
    pub fn revision(&self) -> i64 {
        if self.sub == 0 { self.main - 1 } else { self.main }
    }

    pub fn get(&self, key: &[u8]) -> Option<Kv> {
        self.store.get(key)
    }

    pub fn range(&self, request: &RangeRequest, bytes_max: usize) -> Result<RangeResult, Error> {
        State { revision: self.revision(), ..self.store.state() }.range(request, bytes_max)
    }

    /// Answers the row that was replaced.
    pub fn put(&mut self, key: &[u8], value: &[u8], lease: i64) -> Option<Kv> {
        self.ops += 1;
        self.store.counts.puts += 1;
        self.store.counts.put_bytes += (key.len() + value.len()) as u64;
        let (main, sub) = (self.main, self.next_sub());
        let (row, old) = self.store.write(key, |old| {
            let (create_revision, version) =
                old.map_or((main, 1), |old| (old.create_revision(), old.version().saturating_add(1)));
            let fields = Fields { key, create_revision, mod_revision: main, version, value, lease };
            NewRow { main, sub, links: None, tombstone: false, fields }
        });
        self.note_lease(&row, old.as_ref().map_or(0, Kv::lease), lease);
        old
    }

    /// A delete begins: it counts once, whatever it finds.
    pub fn count_delete(&mut self) {
        self.ops += 1;
        self.store.counts.deletes += 1;
    }

    /// Deletes the first `count_max` live keys of a range in key order and hands them over as they were. Answers the key to
    /// go on at, or None when no more are left.
    pub fn delete_some(&mut self, keys: Keys<'_>, count_max: usize, mut gone: impl FnMut(Kv)) -> Option<Vec<u8>> {
        let state = State { revision: self.main, ..self.store.state() };
        let mut doomed = Vec::new();
        state.visit(keys, self.main, |row| {
            doomed.push(row.clone());
            doomed.len() < count_max
        });
        // The state is let go before the first change, or every node would be copied for it.
        drop(state);
        let last = doomed.last().filter(|_| doomed.len() == count_max);
        let next = last.map(|row| [row.key(), &[0]].concat());
        for row in doomed {
            self.delete(row.key());
            gone(row);
        }
        next
    }

    /// Leaves the transaction to be resumed.
    pub fn pause(self) -> Paused {
        Paused { main: self.main, sub: self.sub, ops: self.ops }
    }

    fn delete(&mut self, key: &[u8]) {
        let (main, sub) = (self.main, self.next_sub());
        let (row, old) = self.store.write(key, |old| {
            assert!(old.is_some(), "only live keys are deleted");
            NewRow { main, sub, links: None, tombstone: true, fields: Fields { key, ..Fields::default() } }
        });
        self.note_lease(&row, old.as_ref().map_or(0, Kv::lease), 0);
    }

    /// Ends the transaction; answers the revision, raised by one if anything was written.
    pub fn finish(self) -> i64 {
        let revision = self.revision();
        self.store.counts.txns += u64::from(self.ops > 1);
        self.store.revision = revision;
        revision
    }

    fn next_sub(&mut self) -> u32 {
        let sub = self.sub;
        self.sub = sub.checked_add(1).expect("2^32 changes in one transaction");
        sub
    }

    fn note_lease(&mut self, row: &Kv, from: i64, to: i64) {
        if from != to {
            self.lease_changes.push(LeaseChange { row: row.clone(), from, to });
        }
    }
}
