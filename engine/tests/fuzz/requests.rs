//! Requests that nobody should have proposed, through apply: with any field at any value, damaged, or bytes alone. Apply never
//! panics, never grows beyond what it was given, changes nothing when it refuses, and comes to the same twice.

use crate::chance::Chance;
use engine::apply::cluster::{Cluster, Member};
use engine::apply::{Applied, Machine, Unapplicable};
use engine::pb::etcdserverpb::internal_raft_request::Request as R;
use engine::pb::etcdserverpb::request_op::Request as Op;
use engine::pb::etcdserverpb::{
    AlarmRequest, AuthEnableRequest, CompactionRequest, Compare, DeleteRangeRequest, InternalRaftRequest,
    LeaseGrantRequest, PutRequest, RangeRequest, RequestHeader, RequestOp, TxnRequest, compare::TargetUnion,
};
use engine::pb::membershippb::{Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest};
use engine::pb::raftpb::{ConfChange, Entry};
use prost::Message as _;

/// Entries in one log, count: enough that later ones meet what earlier ones left.
const ENTRIES: u64 = 60;
/// What the store may hold per byte of input, beside a fixed part for each row: rows carry revisions, and a delete of a range
/// writes a row for each key.
const GROWTH_MAX: u64 = 200;

fn key(chance: &mut Chance) -> bytes::Bytes {
    match chance.below(10) {
        0 => Vec::new(),
        1 => vec![0],
        2 => chance.bytes(40),
        3 => vec![0xff; 2],
        _ => vec![b'a' + chance.below(6) as u8],
    }
    .into()
}

fn range(chance: &mut Chance) -> RangeRequest {
    RangeRequest {
        key: key(chance),
        range_end: key(chance),
        limit: chance.number(),
        revision: if chance.percent(70) { 0 } else { chance.number() },
        sort_order: chance.number() as i32,
        sort_target: chance.below(7) as i32,
        serializable: chance.percent(50),
        keys_only: chance.percent(30),
        count_only: chance.percent(20),
        min_mod_revision: if chance.percent(80) { 0 } else { chance.number() },
        max_create_revision: if chance.percent(80) { 0 } else { chance.number() },
        ..Default::default()
    }
}

fn put(chance: &mut Chance) -> PutRequest {
    PutRequest {
        key: key(chance),
        value: chance.bytes(60).into(),
        lease: if chance.percent(90) { 0 } else { chance.number() },
        prev_kv: chance.percent(50),
        ignore_value: chance.percent(15),
        ignore_lease: chance.percent(15),
    }
}

fn delete(chance: &mut Chance) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key(chance), range_end: key(chance), prev_kv: chance.percent(50) }
}

fn compare(chance: &mut Chance) -> Compare {
    let target_union = match chance.below(6) {
        0 => None,
        1 => Some(TargetUnion::Version(chance.number())),
        2 => Some(TargetUnion::CreateRevision(chance.number())),
        3 => Some(TargetUnion::ModRevision(chance.number())),
        _ => Some(TargetUnion::Value(chance.bytes(3).into())),
    };
    Compare {
        result: chance.below(6) as i32 - 1,
        target: chance.below(7) as i32 - 1,
        key: key(chance),
        target_union,
        range_end: if chance.percent(70) { Default::default() } else { key(chance) },
    }
}

fn txn(chance: &mut Chance, depth: u64) -> TxnRequest {
    let ops = |chance: &mut Chance| -> Vec<RequestOp> {
        (0..chance.below(4))
            .map(|_| RequestOp {
                request: match chance.below(9) {
                    0..2 => Some(Op::Range(range(chance))),
                    2..5 => Some(Op::Put(put(chance))),
                    5..7 => Some(Op::DeleteRange(delete(chance))),
                    7 if depth > 0 => Some(Op::Txn(txn(chance, depth - 1))),
                    _ => None,
                },
            })
            .collect()
    };
    let compare = (0..chance.below(3)).map(|_| compare(chance)).collect();
    TxnRequest { compare, success: ops(chance), failure: ops(chance) }
}

fn request(chance: &mut Chance) -> InternalRaftRequest {
    let request = match chance.below(24) {
        0..8 => R::Put(put(chance)),
        8..12 => R::DeleteRange(delete(chance)),
        12..18 => R::Txn(txn(chance, 4)),
        18 => R::Compaction(CompactionRequest { revision: chance.number(), physical: chance.percent(50) }),
        19 => R::Range(range(chance)),
        20 => {
            let ver = String::from_utf8_lossy(&chance.bytes(8)).into_owned();
            R::ClusterVersionSet(ClusterVersionSetRequest { ver })
        }
        21 => R::ClusterMemberAttrSet(ClusterMemberAttrSetRequest {
            member_id: chance.below(4),
            member_attributes: chance.percent(80).then(|| Attributes { name: "m".into(), ..Attributes::default() }),
        }),
        22 => R::LeaseGrant(LeaseGrantRequest { id: chance.number(), ttl: chance.number() }),
        _ if chance.percent(50) => R::Alarm(AlarmRequest::default()),
        _ => R::AuthEnable(AuthEnableRequest {}),
    };
    let header = chance.percent(90).then(|| RequestHeader { id: chance.below(1000), ..RequestHeader::default() });
    InternalRaftRequest { id: chance.below(1000), request: chance.percent(98).then_some(request), header }
}

/// An encoded request, whole most of the time.
pub fn encoded(chance: &mut Chance) -> Vec<u8> {
    let mut bytes = request(chance).encode_to_vec();
    match chance.below(10) {
        0 => bytes = chance.bytes(80),
        1 | 2 => (0..1 + chance.below(3)).for_each(|_| chance.damage(&mut bytes)),
        _ => {}
    }
    bytes
}

fn entry(index: u64, chance: &mut Chance) -> Entry {
    if chance.percent(95) {
        return Entry { r#type: 0, term: 1, index, data: encoded(chance).into() };
    }
    let member = Member { id: chance.below(4), peer_urls: vec!["http://m:2380".into()], ..Member::default() };
    let context = if chance.percent(60) { member.to_json().into_bytes() } else { chance.bytes(40) };
    let change =
        ConfChange { id: 1, r#type: chance.below(6) as i32, node_id: chance.below(4), context: context.into() };
    let mut data = change.encode_to_vec();
    if chance.percent(20) {
        chance.damage(&mut data);
    }
    Entry { r#type: chance.below(4) as i32, term: 1, index, data: data.into() }
}

/// What must be equal on all members.
fn state(machine: &Machine) -> (u64, i64, i64, engine::apply::mvcc::KvHash, Cluster) {
    let view = machine.store.view();
    let hash = view.hash_kv(0).expect("the current revision is never compacted");
    (machine.applied(), view.revision(), view.compacted_revision(), hash, machine.cluster.clone())
}

/// The same entry on a member where somebody waits for the answer, and on one where nobody does.
fn apply(machine: &mut Machine, entry: &Entry, waited_for: bool, step_rows: usize) -> Result<Applied, Unapplicable> {
    let before = state(machine);
    let applied = machine.apply(entry, &|_| waited_for);
    match &applied {
        Err(_) => assert_eq!(state(machine), before, "refused, and yet changed"),
        Ok(Applied { request: Some(request), .. }) if request.result.is_err() => {
            assert_eq!((state(machine).1, state(machine).3), (before.1, before.3), "failed, and yet changed");
        }
        Ok(_) => assert!(state(machine).1 >= before.1, "the revision fell"),
    }
    machine.store.compact_step(step_rows);
    applied
}

/// A log of them. True if it changed the store.
pub fn run(seed: u64) -> bool {
    let mut chance = Chance::new(seed);
    let (mut first, mut second) = (Machine::new(Cluster::new(1)), Machine::new(Cluster::new(1)));
    let (mut input_bytes, mut rows) = (0, 0);
    for _ in 0..ENTRIES {
        let entry = entry(first.applied() + 1, &mut chance);
        input_bytes += entry.data.len() as u64;
        rows += first.store.live_keys();
        let (one, two) = (apply(&mut first, &entry, true, 1), apply(&mut second, &entry, false, 1000));
        let outcome = |applied: &Result<Applied, Unapplicable>| match applied {
            Ok(applied) => {
                applied.request.as_ref().map(|r| (r.id, r.result.as_ref().err().copied())).ok_or(String::new())
            }
            Err(refused) => Err(refused.what.clone()),
        };
        assert_eq!(outcome(&one), outcome(&two), "one log, two outcomes: {entry:?}");
        assert_eq!(state(&first), state(&second), "one log, two states: {entry:?}");
        let bytes = first.store.bytes();
        assert!(bytes <= GROWTH_MAX * (input_bytes + rows + 1), "{bytes} bytes held after {input_bytes}");
    }
    first.store.revision() > 1
}

/// One entry of these bytes on a store that holds something.
pub fn bytes(data: &[u8]) {
    let (mut first, mut second) = (Machine::new(Cluster::new(1)), Machine::new(Cluster::new(1)));
    for machine in [&mut first, &mut second] {
        let put = R::Put(PutRequest { key: "a".into(), value: "1".into(), ..PutRequest::default() });
        let put = InternalRaftRequest { id: 1, request: Some(put), header: None }.encode_to_vec();
        apply(machine, &Entry { r#type: 0, term: 1, index: 1, data: put.into() }, true, 1).expect("a put");
        let entry = Entry { r#type: 0, term: 1, index: 2, data: data.to_vec().into() };
        drop(apply(machine, &entry, true, 1));
    }
    assert_eq!(state(&first), state(&second));
}
