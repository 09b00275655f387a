//! What apply changes, as operations on the buckets of a db file: complete, in order, in batches that end with an entry.
//! Owned by the replica; whoever keeps the file takes the batches and commits each in one transaction. While nobody asked
//! for them nothing is collected. Must never happen here: a batch with a part of an entry, or without its index and term.

use crate::apply::cluster::Cluster;
use crate::apply::mvcc::{Kv, RowKey, Store};
use crate::limits::{BACKEND_BACKLOG_BYTES_MAX, BACKEND_STEP_ROWS};
use crate::pb::raftpb;

/// Buckets of etcd's db file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    Key,
    Meta,
    Members,
    MembersRemoved,
    Cluster,
}

impl Bucket {
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Meta => "meta",
            Self::Members => "members",
            Self::MembersRemoved => "members_removed",
            Self::Cluster => "cluster",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum BackendOp {
    /// A row of the key bucket, tombstones included: its key is `row_key()`, its value `encoded()`. A handle, no copy.
    PutRow(Kv),
    /// A row that a compaction dropped.
    DeleteRow(RowKey),
    Put {
        bucket: Bucket,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Delete {
        bucket: Bucket,
        key: Vec<u8>,
    },
}

/// To be committed in one transaction. The last operations say how far it goes.
#[derive(Debug)]
pub struct BackendBatch {
    pub ops: Vec<BackendOp>,
    /// Everything up to this entry is in it or in a batch before.
    pub consistent_index: u64,
    pub term: u64,
}

const CONSISTENT_INDEX: &[u8] = b"consistent_index";
const TERM: &[u8] = b"term";
const CONF_STATE: &[u8] = b"confState";
const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";
const CLUSTER_VERSION: &[u8] = b"clusterVersion";
const REMOVED: &[u8] = b"removed";

/// What an operation weighs beside its key and value, in bytes.
const OP_OVERHEAD_BYTES: usize = 64;

pub(super) struct Backend {
    ops: Vec<BackendOp>,
    bytes: usize,
    /// Rows of the revision log before this position are in `ops` or in a batch before.
    position: u64,
    compacted: i64,
    dropped: Vec<RowKey>,
}

impl Backend {
    /// Begins with everything there is: a file that has only this stream holds the whole state.
    pub(super) fn new(store: &Store, cluster: &Cluster) -> Self {
        let mut backend = Self { ops: Vec::new(), bytes: 0, position: 0, compacted: -1, dropped: Vec::new() };
        backend.cluster(cluster);
        for id in cluster.removed() {
            backend.member(cluster, id);
        }
        backend.conf_state(&cluster.conf_state());
        backend.compaction(store);
        if backend.compacted > 0 && !store.is_compacting() {
            backend.put(Bucket::Meta, FINISHED_COMPACTION, revision_bytes(backend.compacted));
        }
        backend
    }

    /// Takes up rows written since the last call, a bounded number. In the middle of an entry too: its rows are final.
    pub(super) fn rows(&mut self, store: &Store) {
        for _ in 0..BACKEND_STEP_ROWS {
            let Some((position, row)) = store.next_row(self.position) else {
                self.position = store.end_position();
                return;
            };
            self.position = position + 1;
            self.bytes += OP_OVERHEAD_BYTES + row.encoded().len();
            self.ops.push(BackendOp::PutRow(row.clone()));
        }
    }

    /// Rows still to be taken up.
    pub(super) fn is_behind(&self, store: &Store) -> bool {
        self.position < store.end_position() && store.next_row(self.position).is_some()
    }

    /// A compaction may have been accepted.
    pub(super) fn compaction(&mut self, store: &Store) {
        let compacted = store.compacted_revision();
        if compacted != self.compacted {
            self.compacted = compacted;
            self.put(Bucket::Meta, SCHEDULED_COMPACTION, revision_bytes(compacted));
        }
    }

    /// One step of a compaction; what it drops goes from the file too, and its end is noted there.
    pub(super) fn compact_step(&mut self, store: &mut Store, budget_rows: usize) {
        let done = store.compact_step_reporting(budget_rows, &mut self.dropped);
        self.bytes += self.dropped.len() * OP_OVERHEAD_BYTES;
        self.ops.extend(self.dropped.drain(..).map(BackendOp::DeleteRow));
        if done {
            self.put(Bucket::Meta, FINISHED_COMPACTION, revision_bytes(self.compacted));
        }
    }

    /// Members and cluster version, as they are now.
    pub(super) fn cluster(&mut self, cluster: &Cluster) {
        let ids: Vec<u64> = cluster.members().map(|member| member.id).collect();
        for id in ids {
            self.member(cluster, id);
        }
        if let Some(version) = cluster.version() {
            self.put(Bucket::Cluster, CLUSTER_VERSION, version.into());
        }
    }

    /// A conf change of this member was applied.
    pub(super) fn conf_change(&mut self, cluster: &Cluster, member_id: u64) {
        if member_id != 0 {
            self.member(cluster, member_id);
            self.conf_state(&cluster.conf_state());
        }
    }

    fn member(&mut self, cluster: &Cluster, id: u64) {
        let key = format!("{id:x}").into_bytes();
        if let Some(member) = cluster.member(id) {
            self.put(Bucket::Members, &key, member.to_json().into_bytes());
        } else if cluster.is_removed(id) {
            self.put(Bucket::MembersRemoved, &key, REMOVED.to_vec());
            self.bytes += OP_OVERHEAD_BYTES + key.len();
            self.ops.push(BackendOp::Delete { bucket: Bucket::Members, key });
        }
    }

    fn conf_state(&mut self, state: &raftpb::ConfState) {
        let list = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let mut json = format!(r#"{{"voters":[{}]"#, list(&state.voters));
        if !state.learners.is_empty() {
            json.push_str(&format!(r#","learners":[{}]"#, list(&state.learners)));
        }
        json.push_str(r#","auto_leave":false}"#);
        self.put(Bucket::Meta, CONF_STATE, json.into_bytes());
    }

    fn put(&mut self, bucket: Bucket, key: &[u8], value: Vec<u8>) {
        self.bytes += OP_OVERHEAD_BYTES + key.len() + value.len();
        self.ops.push(BackendOp::Put { bucket, key: key.to_vec(), value });
    }

    /// Apply has to wait until batches are taken.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BACKEND_BACKLOG_BYTES_MAX
    }

    /// Everything since the batch before; it ends with this entry.
    pub(super) fn take(&mut self, consistent_index: u64, term: u64) -> Option<BackendBatch> {
        if self.ops.is_empty() {
            return None;
        }
        self.put(Bucket::Meta, CONSISTENT_INDEX, consistent_index.to_be_bytes().to_vec());
        self.put(Bucket::Meta, TERM, term.to_be_bytes().to_vec());
        self.bytes = 0;
        Some(BackendBatch { ops: std::mem::take(&mut self.ops), consistent_index, term })
    }
}

/// A revision as the meta bucket holds it: main and sub, big endian, with an underscore between.
fn revision_bytes(main: i64) -> Vec<u8> {
    [&main.to_be_bytes()[..], b"_", &0i64.to_be_bytes()].concat()
}
