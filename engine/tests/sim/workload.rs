//! Clients: what they ask, of whom, and what they were told. Owned by the world. Every write carries a number of its own in
//! its value, so that who reads it knows whose it is. What a client does not know (no answer) stays unknown here too.

use crate::checker::{Call, State, Step};
use crate::model::{Reply, Row};
use crate::plan::Plan;
use crate::random::Rng;
use bytes::Bytes;
use engine::apply::kv;
use engine::pb::etcdserverpb::compare::TargetUnion;
use engine::pb::etcdserverpb::internal_raft_request::Request;
use engine::pb::etcdserverpb::{
    CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, InternalRaftRequest, PutRequest,
    RangeRequest, RequestHeader, RequestOp, TxnRequest, request_op,
};
use engine::replica;
use prost::Message as _;
use std::collections::BTreeMap;

type Key = String;

#[derive(Clone, Debug)]
pub enum Action {
    /// One key, or all of them.
    Read {
        key: Option<Key>,
    },
    Put {
        key: Key,
        number: u64,
    },
    Delete {
        key: Key,
    },
    /// Writes if the key is as expected, else reads it.
    Swap {
        key: Key,
        expected: Option<u64>,
        number: u64,
    },
    /// A swap that also writes another key, or deletes it.
    Pair {
        key: Key,
        expected: Option<u64>,
        number: u64,
        other: Key,
        other_number: Option<u64>,
    },
    Compact,
}

#[derive(Clone, Debug)]
pub enum Seen {
    Read {
        revision: i64,
        rows: Vec<Row>,
    },
    /// In the log; the revision is not told with an error.
    Done {
        revision: Option<i64>,
        reply: Reply,
    },
    /// Refused before it entered the log.
    NotDone,
}

impl Seen {
    pub fn revision(&self) -> Option<i64> {
        match self {
            Self::Read { revision, .. } => Some(*revision),
            Self::Done { revision, .. } => *revision,
            Self::NotDone => None,
        }
    }

    /// Every row in it.
    fn rows(&self) -> Vec<&Row> {
        fn walk<'r>(reply: &'r Reply, rows: &mut Vec<&'r Row>) {
            match reply {
                Reply::Put(row) => rows.extend(row),
                Reply::Delete(_, found) | Reply::Range(found) => rows.extend(found),
                Reply::Txn(_, parts) => parts.iter().for_each(|part| walk(part, rows)),
                Reply::Compact | Reply::Refused(_) => {}
            }
        }
        let mut rows = Vec::new();
        match self {
            Self::Read { rows: read, .. } => rows.extend(read),
            Self::Done { reply, .. } => walk(reply, &mut rows),
            Self::NotDone => {}
        }
        rows
    }
}

/// A call of a client.
#[derive(Clone, Debug)]
pub struct Op {
    pub id: u64,
    pub action: Action,
    pub start: u64,
    /// `u64::MAX` until an answer comes.
    pub end: u64,
    pub seen: Option<Seen>,
}

pub struct Workload {
    keys: u64,
    value_bytes_max: u64,
    /// Zeros in values look like sectors that were never written: fine, unless something else damages the log too.
    zeros: bool,
    numbers: u64,
    pub history: Vec<Op>,
    /// By request id: the call in the history that waits.
    waiting: BTreeMap<u64, usize>,
    /// The last state of each key that was seen.
    known: BTreeMap<Key, Option<Row>>,
    newest_revision: i64,
}

impl Workload {
    pub fn new(plan: &Plan) -> Self {
        Self {
            keys: plan.keys,
            value_bytes_max: plan.value_bytes_max,
            zeros: !plan.has(crate::plan::Fault::Damage),
            numbers: 0,
            history: Vec::new(),
            waiting: BTreeMap::new(),
            known: BTreeMap::new(),
            newest_revision: 1,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The key that the call with this id wants to read, or all; None if no read with this id waits.
    pub fn key_read(&self, id: u64) -> Option<Option<Key>> {
        match &self.history[*self.waiting.get(&id)?].action {
            Action::Read { key } => Some(key.clone()),
            _ => None,
        }
    }

    pub fn key(number: u64) -> Key {
        format!("k{number}")
    }

    fn any_key(&self, rng: &mut Rng) -> Key {
        Self::key(rng.below(self.keys))
    }

    /// The next thing a client does, and the request that goes through the log for it; reads have none.
    pub fn next(&mut self, rng: &mut Rng) -> (Action, Option<Request>) {
        let key = self.any_key(rng);
        match rng.below(100) {
            0..30 => (Action::Read { key: Some(key).filter(|_| rng.percent(80)) }, None),
            30..60 => {
                let put = self.put(&key, rng);
                (Action::Put { key, number: self.numbers }, Some(Request::Put(put)))
            }
            60..70 => {
                let delete = DeleteRangeRequest { key: key.clone().into(), prev_kv: true, ..Default::default() };
                (Action::Delete { key }, Some(Request::DeleteRange(delete)))
            }
            70..95 => self.swap(key, rng),
            _ => {
                let revision = self.newest_revision - rng.below(6) as i64 + rng.below(2) as i64;
                let compaction = CompactionRequest { revision, physical: false };
                (Action::Compact, Some(Request::Compaction(compaction)))
            }
        }
    }

    fn put(&mut self, key: &str, rng: &mut Rng) -> PutRequest {
        self.numbers += 1;
        let mut value = format!("{}:", self.numbers).into_bytes();
        let filler = if self.zeros && rng.percent(20) { 0 } else { b'a' + (self.numbers % 26) as u8 };
        value.resize(value.len() + rng.below(self.value_bytes_max) as usize, filler);
        PutRequest { key: key.to_owned().into(), value: value.into(), prev_kv: rng.percent(70), ..Default::default() }
    }

    fn swap(&mut self, key: Key, rng: &mut Rng) -> (Action, Option<Request>) {
        let known = self.known.get(&key).cloned().flatten();
        let (target, union) = match (&known, rng.below(2)) {
            (Some(row), 0) => (CompareTarget::Value, TargetUnion::Value(row.value.clone().into())),
            (Some(row), _) => (CompareTarget::Mod, TargetUnion::ModRevision(row.modified)),
            (None, 0) => (CompareTarget::Create, TargetUnion::CreateRevision(0)),
            (None, _) => (CompareTarget::Version, TargetUnion::Version(0)),
        };
        let compare = Compare {
            result: CompareResult::Equal as i32,
            target: target as i32,
            key: key.clone().into(),
            target_union: Some(union),
            range_end: Bytes::new(),
        };
        let op = |request| RequestOp { request: Some(request) };
        let mut put = self.put(&key, rng);
        put.prev_kv = true;
        let (number, expected) = (self.numbers, known.as_ref().map(number_of));
        let mut success = vec![op(request_op::Request::Put(put))];
        let range = RangeRequest { key: key.clone().into(), ..Default::default() };
        let failure = vec![op(request_op::Request::Range(range))];
        let other = self.any_key(rng);
        let mut action = Action::Swap { key: key.clone(), expected, number };
        if other != key && rng.percent(40) {
            let put_other = rng.percent(70);
            success.push(op(if put_other {
                let mut put = self.put(&other, rng);
                put.prev_kv = true;
                request_op::Request::Put(put)
            } else {
                let key = other.clone().into();
                request_op::Request::DeleteRange(DeleteRangeRequest { key, prev_kv: true, ..Default::default() })
            }));
            let other_number = put_other.then_some(self.numbers);
            action = Action::Pair { key, expected, number, other, other_number };
        }
        (action, Some(Request::Txn(TxnRequest { compare: vec![compare], success, failure })))
    }

    /// The call leaves for a member.
    pub fn begin(&mut self, id: u64, action: Action, start: u64) {
        self.waiting.insert(id, self.history.len());
        self.history.push(Op { id, action, start, end: u64::MAX, seen: None });
    }

    /// An answer arrives. False if nobody waits for it.
    pub fn end(&mut self, id: u64, at: u64, result: Result<Seen, replica::Error>) -> bool {
        let Some(index) = self.waiting.remove(&id) else { return false };
        let op = &mut self.history[index];
        op.seen = match result {
            Ok(seen) => Some(seen),
            Err(replica::Error::Apply(error)) => Some(Seen::Done { revision: None, reply: Reply::Refused(error) }),
            Err(replica::Error::TooManyRequests | replica::Error::NoSpace | replica::Error::Dropped) => {
                Some(Seen::NotDone)
            }
            // It may still be done, or have been done.
            Err(replica::Error::Timeout | replica::Error::LeaderChanged | replica::Error::Stopped) => None,
        };
        if op.seen.is_some() {
            op.end = at;
        }
        self.learn(index);
        true
    }

    /// The member the calls went to is gone: nobody will answer them.
    pub fn forget(&mut self, is_lost: impl Fn(u64) -> bool) {
        self.waiting.retain(|id, _| !is_lost(*id));
    }

    fn learn(&mut self, index: usize) {
        let op = &self.history[index];
        self.newest_revision = self.newest_revision.max(op.seen.as_ref().and_then(Seen::revision).unwrap_or(0));
        let Some(Seen::Read { rows, .. }) = &op.seen else { return };
        match &op.action {
            Action::Read { key: Some(key) } => drop(self.known.insert(key.clone(), rows.first().cloned())),
            _ => {
                self.known.clear();
                self.known.extend(rows.iter().map(|row| (row.key.clone(), Some(row.clone()))));
            }
        }
    }

    /// What happened to one key, for the search of an order.
    pub fn steps_of(&self, key: &str) -> Vec<Step> {
        // A write whose answer was lost is placed where others saw it.
        let mut revisions = BTreeMap::new();
        for row in self.history.iter().filter_map(|op| op.seen.as_ref()).flat_map(Seen::rows) {
            revisions.insert(number_of(row), row.modified);
        }
        let mut steps: Vec<Step> = self.history.iter().filter_map(|op| step_of(op, key)).collect();
        for step in steps.iter_mut().filter(|step| step.end == u64::MAX) {
            if let Call::Write(Some(number)) | Call::Swap(_, number) = step.call {
                step.hint = revisions.get(&number).map_or(u64::MAX, |revision| 2 * *revision as u64);
            }
        }
        steps
    }
}

pub fn encode(id: u64, request: Request) -> Bytes {
    let header = Some(RequestHeader { id, ..Default::default() });
    InternalRaftRequest { id: 0, header, request: Some(request) }.encode_to_vec().into()
}

pub fn seen_of(answer: &kv::Answer) -> Seen {
    Seen::Done { revision: Some(answer.revision), reply: (&answer.outcome).into() }
}

fn number_of(row: &Row) -> u64 {
    let digits = row.value.iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

fn state_in(rows: &[Row]) -> State {
    rows.first().map(number_of)
}

fn step_of(op: &Op, key: &str) -> Option<Step> {
    let reply = match &op.seen {
        Some(Seen::NotDone) | Some(Seen::Done { reply: Reply::Refused(_), .. }) => return None,
        Some(Seen::Done { reply, .. }) => Some(reply),
        Some(Seen::Read { .. }) | None => None,
    };
    let (call, saw, swapped) = match (&op.action, reply) {
        (Action::Read { key: of }, _) => {
            let Some(Seen::Read { rows, .. }) = &op.seen else { return None };
            if of.as_ref().is_some_and(|of| of != key) {
                return None;
            }
            (Call::Read, Some(rows.iter().find(|row| row.key == key).map(number_of)), None)
        }
        (Action::Put { key: of, number }, reply) if of == key => {
            let saw = match reply {
                Some(Reply::Put(Some(row))) => Some(Some(number_of(row))),
                _ => None,
            };
            (Call::Write(Some(*number)), saw, None)
        }
        (Action::Delete { key: of }, reply) if of == key => {
            let saw = match reply {
                Some(Reply::Delete(_, rows)) => Some(state_in(rows)),
                _ => None,
            };
            (Call::Write(None), saw, None)
        }
        (Action::Swap { key: of, expected, number } | Action::Pair { key: of, expected, number, .. }, reply)
            if of == key =>
        {
            let (saw, swapped) = match reply {
                Some(Reply::Txn(swapped, parts)) => (parts.first().map(state_seen), Some(*swapped)),
                _ => (None, None),
            };
            (Call::Swap(*expected, *number), saw, swapped)
        }
        (Action::Pair { other, other_number, .. }, reply) if other == key => match reply {
            Some(Reply::Txn(false, _)) => return None,
            Some(Reply::Txn(true, parts)) => (Call::Write(*other_number), parts.get(1).map(state_seen), None),
            _ => (Call::Write(*other_number), None, None),
        },
        _ => return None,
    };
    let changes = match call {
        Call::Read => false,
        Call::Write(None) => saw != Some(None),
        Call::Write(_) => true,
        Call::Swap(..) => swapped == Some(true),
    };
    let revision = op.seen.as_ref().and_then(Seen::revision);
    let hint = revision.map_or(u64::MAX, |revision| 2 * revision as u64 + u64::from(!changes));
    Some(Step { call, saw, swapped, start: op.start, end: op.end, hint })
}

fn state_seen(reply: &Reply) -> State {
    match reply {
        Reply::Put(row) => row.as_ref().map(number_of),
        Reply::Delete(_, rows) | Reply::Range(rows) => state_in(rows),
        Reply::Txn(..) | Reply::Compact | Reply::Refused(_) => None,
    }
}
