//! What etcd's answers must be: a second, plain implementation of the requests that the workload makes, over the committed
//! log as witness. Shares no code with the store. Also the judge of a finished history against that log.

use crate::workload::{Action, Op, Seen};
use crate::world::{Failure, Kind};
use engine::apply::kv;
use engine::apply::mvcc;
use engine::pb::etcdserverpb::compare::TargetUnion;
use engine::pb::etcdserverpb::internal_raft_request::Request;
use engine::pb::etcdserverpb::request_op;
use engine::pb::etcdserverpb::{CompareTarget, InternalRaftRequest, RequestOp, TxnRequest};
use engine::pb::raftpb;
use prost::Message as _;
use std::collections::BTreeMap;

type Key = String;

pub fn name(key: &[u8]) -> Key {
    String::from_utf8_lossy(key).into_owned()
}

/// A key as answers show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    pub key: Key,
    pub value: Vec<u8>,
    pub create: i64,
    pub modified: i64,
    pub version: i64,
}

/// The head of the value says all.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head: Vec<u8> = self.value.iter().copied().take_while(u8::is_ascii_digit).collect();
        let (bytes, revisions) = (self.value.len(), (self.create, self.modified, self.version));
        write!(f, "{}={} ({bytes} B) {revisions:?}", self.key, name(&head))
    }
}

impl From<&mvcc::Kv> for Row {
    fn from(kv: &mvcc::Kv) -> Self {
        Self {
            key: name(kv.key()),
            value: kv.value().to_vec(),
            create: kv.create_revision(),
            modified: kv.mod_revision(),
            version: kv.version(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Put(Option<Row>),
    Delete(i64, Vec<Row>),
    Range(Vec<Row>),
    Txn(bool, Vec<Reply>),
    Compact,
    Refused(kv::Error),
}

impl From<&kv::Outcome> for Reply {
    fn from(outcome: &kv::Outcome) -> Self {
        let rows = |kvs: &[mvcc::Kv]| kvs.iter().map(Row::from).collect::<Vec<_>>();
        match outcome {
            kv::Outcome::Range(range) => Self::Range(rows(&range.kvs)),
            kv::Outcome::Put { prev } => Self::Put(prev.as_ref().map(Row::from)),
            kv::Outcome::DeleteRange { deleted, prev_kvs } => Self::Delete(*deleted, rows(prev_kvs)),
            kv::Outcome::Txn(txn) => {
                Self::Txn(txn.succeeded, txn.responses.iter().map(|r| (&r.outcome).into()).collect())
            }
            kv::Outcome::Compact => Self::Compact,
        }
    }
}

pub struct Model {
    revision: i64,
    compacted: i64,
    /// Every state each key ever had, with the revision it began at.
    keys: BTreeMap<Key, Vec<(i64, Option<Row>)>>,
}

impl Model {
    fn new() -> Self {
        Self { revision: 1, compacted: -1, keys: BTreeMap::new() }
    }

    fn get(&self, key: &[u8]) -> Option<&Row> {
        self.keys.get(&name(key)).and_then(|states| states.last()).and_then(|(_, row)| row.as_ref())
    }

    /// The keys there were at a revision.
    fn at(&self, revision: i64) -> Vec<Row> {
        let at = |states: &Vec<(i64, Option<Row>)>| {
            states.iter().rev().find(|(from, _)| *from <= revision).and_then(|(_, row)| row.clone())
        };
        self.keys.values().filter_map(at).collect()
    }

    fn apply(&mut self, request: Request) -> Option<(i64, Reply)> {
        let reply = match request {
            Request::Put(_) | Request::DeleteRange(_) => {
                let op = match request {
                    Request::Put(put) => request_op::Request::Put(put),
                    Request::DeleteRange(delete) => request_op::Request::DeleteRange(delete),
                    _ => unreachable!("matched above"),
                };
                let main = self.revision + 1;
                self.op(op, main)
            }
            Request::Txn(txn) => self.txn(txn),
            Request::Compaction(compaction) if compaction.revision <= self.compacted => {
                Reply::Refused(kv::Error::Compacted)
            }
            Request::Compaction(compaction) if compaction.revision > self.revision => {
                Reply::Refused(kv::Error::FutureRev)
            }
            Request::Compaction(compaction) => {
                self.compacted = compaction.revision;
                Reply::Compact
            }
            _ => return None,
        };
        Some((self.revision, reply))
    }

    fn txn(&mut self, txn: TxnRequest) -> Reply {
        let holds = txn.compare.iter().all(|compare| {
            let row = self.get(&compare.key);
            match (&compare.target_union, CompareTarget::try_from(compare.target)) {
                (Some(TargetUnion::Value(value)), Ok(CompareTarget::Value)) => {
                    row.is_some_and(|r| r.value == value[..])
                }
                (Some(TargetUnion::ModRevision(r)), Ok(CompareTarget::Mod)) => row.map_or(0, |row| row.modified) == *r,
                (Some(TargetUnion::CreateRevision(r)), Ok(CompareTarget::Create)) => {
                    row.map_or(0, |row| row.create) == *r
                }
                (Some(TargetUnion::Version(v)), Ok(CompareTarget::Version)) => row.map_or(0, |row| row.version) == *v,
                other => unreachable!("the workload compares nothing by {other:?}"),
            }
        });
        let main = self.revision + 1;
        let ops: Vec<RequestOp> = if holds { txn.success } else { txn.failure };
        Reply::Txn(holds, ops.into_iter().filter_map(|op| Some(self.op(op.request?, main))).collect())
    }

    fn op(&mut self, op: request_op::Request, main: i64) -> Reply {
        match op {
            request_op::Request::Range(range) => Reply::Range(self.get(&range.key).cloned().into_iter().collect()),
            request_op::Request::Put(put) => {
                let old = self.get(&put.key).cloned();
                let row = Row {
                    key: name(&put.key),
                    value: put.value.to_vec(),
                    create: old.as_ref().map_or(main, |old| old.create),
                    modified: main,
                    version: old.as_ref().map_or(1, |old| old.version + 1),
                };
                self.set(name(&put.key), main, Some(row));
                Reply::Put(old.filter(|_| put.prev_kv))
            }
            request_op::Request::DeleteRange(delete) => match self.get(&delete.key).cloned() {
                Some(old) => {
                    self.set(name(&delete.key), main, None);
                    Reply::Delete(1, if delete.prev_kv { vec![old] } else { Vec::new() })
                }
                None => Reply::Delete(0, Vec::new()),
            },
            request_op::Request::Txn(_) => unreachable!("the workload nests no transactions"),
        }
    }

    fn set(&mut self, key: Key, main: i64, row: Option<Row>) {
        self.revision = main;
        self.keys.entry(key).or_default().push((main, row));
    }
}

/// What the log says about requests, by their ids: revision and answer.
struct Witness {
    model: Model,
    replies: BTreeMap<u64, (i64, Reply)>,
}

fn replay(log: &[raftpb::Entry]) -> Result<Witness, Failure> {
    let mut witness = Witness { model: Model::new(), replies: BTreeMap::new() };
    for entry in log.iter().filter(|e| e.r#type == raftpb::EntryType::Normal as i32 && !e.data.is_empty()) {
        let request = InternalRaftRequest::decode(entry.data.clone())
            .map_err(|e| Failure::new(Kind::LogMatching, format!("entry {} is unreadable: {e}", entry.index)))?;
        let id = request.header.map_or(request.id, |header| header.id);
        let Some(reply) = request.request.and_then(|request| witness.model.apply(request)) else { continue };
        if witness.replies.insert(id, reply).is_some() {
            return Err(Failure::new(Kind::Ledger, format!("request {id:x} is in the log twice")));
        }
    }
    Ok(witness)
}

/// Judges a finished history by the committed log: what was acknowledged is in it, once, with the answer given; reads saw the
/// state at their revision; and no call saw a revision from before a call that had ended when it began.
pub fn judge(history: &[Op], log: &[raftpb::Entry], last_rows: &[Row]) -> Result<(), Failure> {
    let witness = replay(log)?;
    for op in history {
        judge_one(op, &witness).map_err(|(kind, why)| Failure::new(kind, format!("{op:?}: {why}")))?;
    }
    judge_times(history)?;
    let expected = witness.model.at(i64::MAX);
    if expected != last_rows {
        let why = format!("the log leads to {expected:?}, the members hold {last_rows:?}");
        return Err(Failure::new(Kind::Ledger, why));
    }
    Ok(())
}

fn judge_one(op: &Op, witness: &Witness) -> Result<(), (Kind, String)> {
    let logged = witness.replies.get(&op.id);
    match (&op.action, &op.seen) {
        (_, None) => Ok(()),
        (_, Some(Seen::NotDone)) if logged.is_some() => Err((Kind::Ledger, "refused, yet in the log".to_owned())),
        (_, Some(Seen::NotDone)) => Ok(()),
        (Action::Read { key }, Some(Seen::Read { revision, rows })) => {
            let mut expected = witness.model.at(*revision);
            expected.retain(|row| key.as_ref().is_none_or(|key| *key == row.key));
            if *revision > witness.model.revision {
                return Err((Kind::Linearizability, "read a revision that never came to be".to_owned()));
            }
            if expected == *rows { Ok(()) } else { Err((Kind::Linearizability, format!("expected {expected:?}"))) }
        }
        (_, Some(Seen::Done { revision, reply })) => match logged {
            None => Err((Kind::Ledger, "acknowledged, and not in the log".to_owned())),
            Some((at, expected)) if expected == reply && revision.is_none_or(|revision| revision == *at) => Ok(()),
            Some((at, expected)) => Err((Kind::Linearizability, format!("expected {expected:?} at {at}"))),
        },
        (action, Some(seen)) => unreachable!("{action:?} cannot end in {seen:?}"),
    }
}

/// Real time: revisions never fall between a call's end and another's start.
fn judge_times(history: &[Op]) -> Result<(), Failure> {
    let mut moments: Vec<(u64, bool, &Op)> = Vec::new();
    for op in history.iter().filter(|op| op.seen.as_ref().and_then(Seen::revision).is_some()) {
        moments.push((op.start, false, op));
        moments.push((op.end, true, op));
    }
    moments.sort_by_key(|(at, ..)| *at);
    let mut newest = 0;
    let mut floor_of = BTreeMap::new();
    for (_, ended, op) in moments {
        let revision = op.seen.as_ref().and_then(Seen::revision).expect("filtered above");
        if !ended {
            floor_of.insert(op.id, newest);
        } else if revision < floor_of[&op.id] {
            let why = format!("{op:?}: began when revision {} had been seen", floor_of[&op.id]);
            return Err(Failure::new(Kind::Linearizability, why));
        } else {
            newest = newest.max(revision);
        }
    }
    Ok(())
}
