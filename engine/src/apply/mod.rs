//! Apply: the state machine behind the log, and the only caller of its siblings `mvcc` and `cluster`.
//! A pure function of (state, entry): everything that can fail is found before the first mutation.

pub mod cluster;
pub mod kv;
pub mod mvcc;
mod write;

use crate::pb::etcdserverpb::{InternalRaftRequest, internal_raft_request};
use crate::pb::raftpb;
use cluster::Cluster;
use prost::Message as _;
use std::fmt;
use write::Write;

/// The whole replicated state of a member.
pub struct Machine {
    pub store: mvcc::Store,
    pub cluster: Cluster,
    applied: u64,
    lease_changes: Vec<mvcc::LeaseChange>,
    /// The entry after `applied`, begun: its request's id and what is left of it.
    under_way: Option<(u64, Write)>,
}

/// What applying one entry did beyond changing the state.
#[derive(Debug, Default)]
pub struct Applied {
    /// For consensus: the change to make (node id 0 when the change was found invalid).
    pub conf_change: Option<raftpb::ConfChange>,
    pub request: Option<Request>,
}

#[derive(Debug)]
pub struct Request {
    /// The id in the request's header: who waits for it knows it by this.
    pub id: u64,
    /// None for requests that answer nothing.
    pub result: Result<Option<kv::Answer>, kv::Error>,
    /// Set when the request decided the cluster version.
    pub cluster_version: Option<String>,
    pub cluster_changed: bool,
}

impl Request {
    fn new(id: u64) -> Self {
        Self { id, result: Ok(None), cluster_version: None, cluster_changed: false }
    }
}

/// An entry this build cannot apply. Skipping it would make this member differ from the others, so it is fatal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unapplicable {
    pub index: u64,
    pub what: String,
}

impl fmt::Display for Unapplicable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "log entry {} holds {}, which this version cannot apply; start the etcd version that wrote it on this directory",
            self.index, self.what
        )
    }
}

impl Machine {
    pub fn new(cluster: Cluster) -> Self {
        Self { store: mvcc::Store::new(), cluster, applied: 0, lease_changes: Vec::new(), under_way: None }
    }

    /// Index of the last entry applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// An entry is applied in part: nothing may be published before `apply_step` has ended it.
    pub fn is_mid_entry(&self) -> bool {
        self.under_way.is_some()
    }

    /// Applies the next entry in one go.
    pub fn apply(&mut self, entry: &raftpb::Entry, waited_for: &dyn Fn(u64) -> bool) -> Result<Applied, Unapplicable> {
        let mut budget_rows = usize::MAX;
        let applied = self.apply_step(entry, waited_for, &mut budget_rows)?;
        Ok(applied.expect("no budget ends it"))
    }

    /// Applies the next entry until it is done or has touched `budget_rows` rows; None means: call again, with the same
    /// entry. `waited_for` tells whether somebody here waits for the answer to a request id; it decides
    /// what is read for the answer, never what is changed.
    pub fn apply_step(
        &mut self,
        entry: &raftpb::Entry,
        waited_for: &dyn Fn(u64) -> bool,
        budget_rows: &mut usize,
    ) -> Result<Option<Applied>, Unapplicable> {
        let refuse = |what: String| Unapplicable { index: entry.index, what };
        assert!(entry.index == self.applied + 1, "apply of entry {} after {}", entry.index, self.applied);
        let applied = match raftpb::EntryType::try_from(entry.r#type) {
            // A new leader's empty entry.
            Ok(raftpb::EntryType::Normal) if entry.data.is_empty() => Applied::default(),
            Ok(raftpb::EntryType::Normal) => {
                let begun = match self.under_way.take() {
                    Some((id, write)) => (Request::new(id), Some(write)),
                    None => {
                        let request = InternalRaftRequest::decode(entry.data.clone())
                            .map_err(|e| refuse(format!("an unreadable request ({e})")))?;
                        self.begin(request, waited_for).map_err(refuse)?
                    }
                };
                let Some(request) = self.go_on(begun, budget_rows) else { return Ok(None) };
                Applied { request: Some(request), ..Applied::default() }
            }
            Ok(raftpb::EntryType::ConfChange) => {
                let change = raftpb::ConfChange::decode(entry.data.clone())
                    .map_err(|e| refuse(format!("an unreadable conf change ({e})")))?;
                let changed = self.cluster.apply_conf_change(&change);
                Applied { conf_change: Some(changed.raft_change), ..Applied::default() }
            }
            _ => return Err(refuse(format!("an entry of type {}", entry.r#type))),
        };
        self.applied = entry.index;
        Ok(Some(applied))
    }

    /// The steps of a write that was begun. None when the budget ends before it does.
    fn go_on(&mut self, begun: (Request, Option<Write>), budget_rows: &mut usize) -> Option<Request> {
        let (mut request, write) = begun;
        if let Some(mut write) = write {
            match write.step(&mut self.store, &mut self.lease_changes, budget_rows) {
                Some(answer) => request.result = Ok(Some(answer)),
                None => {
                    self.under_way = Some((request.id, write));
                    return None;
                }
            }
        }
        Some(request)
    }

    /// Takes up a request: it is done at once, or, if it may touch many rows, checked and ready for its steps.
    fn begin(
        &mut self,
        request: InternalRaftRequest,
        waited_for: &dyn Fn(u64) -> bool,
    ) -> Result<(Request, Option<Write>), String> {
        use internal_raft_request::Request as R;
        let id = request.header.as_ref().map_or(request.id, |h| h.id);
        let (mut done, mut write) = (Request::new(id), None);
        // Leases come with a sibling of their own; until then none exists, and no key is ever attached to one.
        self.lease_changes.clear();
        let mut context = kv::Context {
            lease_exists: &|_| false,
            answer_wanted: waited_for(id),
            lease_changes: &mut self.lease_changes,
        };
        let store = &mut self.store;
        match request.request.ok_or("a request of a kind unknown to it")? {
            R::Put(put) => done.result = kv::apply_put(store, &put, &mut context).map(Some),
            R::DeleteRange(delete) => write = Some(Write::delete_range(store, delete)),
            R::Txn(txn) => match Write::txn(store, txn, &mut context) {
                Ok(begun) => write = Some(begun),
                Err(error) => done.result = Err(error),
            },
            R::Compaction(compaction) => done.result = kv::apply_compaction(store, &compaction).map(Some),
            R::ClusterVersionSet(set) => {
                self.cluster.apply_version(&set);
                (done.cluster_version, done.cluster_changed) = (Some(set.ver), true);
            }
            R::ClusterMemberAttrSet(set) => {
                self.cluster.apply_attributes(&set);
                done.cluster_changed = true;
            }
            // Ranges have no place in the log, but a log that has one is not wrong: nothing changes.
            R::Range(_) => {}
            other => return Err(kind_of(&other).to_owned()),
        }
        Ok((done, write))
    }
}

fn kind_of(request: &internal_raft_request::Request) -> &'static str {
    use internal_raft_request::Request as R;
    match request {
        R::LeaseGrant(_) | R::LeaseRevoke(_) | R::LeaseCheckpoint(_) => "a lease request",
        R::Alarm(_) => "an alarm",
        R::DowngradeInfoSet(_) | R::DowngradeVersionTest(_) => "a downgrade request",
        _ => "an auth request",
    }
}
