//! More than can be done at once: proposals are capped, a backlog of unapplied entries refuses more, and a delete of very
//! many keys leaves room for ticks and heartbeats while nobody sees a part of it.

use crate::rig::{Rig, TICK_NS};
use engine::apply::Machine;
use engine::apply::cluster::Cluster;
use engine::apply::kv::{Answer, Outcome};
use engine::limits::{APPLY_BACKLOG_ENTRIES_MAX, APPLY_STEP_ROWS, PROPOSALS_PENDING_BYTES_MAX, PROPOSALS_PENDING_MAX};
use engine::pb::etcdserverpb::{
    DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, internal_raft_request,
    request_op,
};
use engine::pb::raftpb;
use engine::replica::Error;
use prost::Message as _;

const SEGMENT_BYTES: u64 = 16 << 20;

fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put(key: String, value_bytes: usize) -> PutRequest {
    PutRequest { key: key.into(), value: vec![b'v'; value_bytes].into(), ..Default::default() }
}

/// Puts `count` keys, many in a transaction, through the log.
fn fill(rig: &mut Rig, at: usize, count: usize) {
    let keys: Vec<usize> = (0..count).collect();
    for keys in keys.chunks(1000) {
        let success = keys.iter().map(|key| op(request_op::Request::Put(put(format!("k{key:07}"), 8)))).collect();
        rig.propose(at, internal_raft_request::Request::Txn(TxnRequest { success, ..Default::default() }));
        rig.settle();
    }
    assert_eq!(rig.keys(at), count as u64);
}

#[test]
fn a_delete_of_very_many_keys_delays_no_tick_and_shows_no_part_of_itself() {
    const KEYS: usize = 150_000;
    let mut rig = Rig::new(3, 1, SEGMENT_BYTES);
    let leader = rig.leader().expect("there is one");
    fill(&mut rig, leader, KEYS);
    rig.pass(TICK_NS * 3);
    let (revision, from_ns) = (rig.revision(leader), rig.now.mono_ns);
    let before = rig.put(leader, "before", 1);
    let delete = rig.delete(leader, "k", "l");
    let after = rig.put(leader, "after", 1);
    rig.settle();
    let mut steps = 0;
    while !rig.answers.contains_key(&delete) {
        assert!(rig.nodes[leader].replica.deadline_ns() <= rig.now.mono_ns, "there is work to go on with");
        assert_eq!(rig.revision(leader), revision, "step {steps}: nothing is shown before all of it is done");
        assert!(rig.nodes[leader].replica.status().committed > rig.nodes[leader].replica.status().applied);
        rig.pass(TICK_NS / 10);
        steps += 1;
    }
    rig.settle();
    // Every input makes it go a step further, not only those that time brings.
    assert!(steps >= KEYS / APPLY_STEP_ROWS / 3, "only {steps} steps");
    let beats = rig.nodes[leader].heartbeats_ns.iter().filter(|ns| **ns > from_ns).count();
    let ticks = (rig.now.mono_ns - from_ns) / TICK_NS;
    assert!(ticks >= 1 && beats as u64 >= 2 * ticks, "{beats} heartbeats to two followers in {ticks} ticks");
    let Ok(Answer { revision: deleted_at, outcome: Outcome::DeleteRange { deleted, .. } }) = &rig.answers[&delete]
    else {
        panic!("{:?}", rig.answers[&delete])
    };
    assert_eq!((*deleted, *deleted_at), (KEYS as i64, revision + 2));
    rig.until("all answers are there", |rig| rig.answers.contains_key(&after));
    assert_eq!(rig.answers[&before].as_ref().map(|a| a.revision), Ok(revision + 1));
    assert_eq!(rig.answers[&after].as_ref().map(|a| a.revision), Ok(revision + 3));
    rig.until("all members have it", |rig| (0..3).all(|at| rig.keys(at) == 2));
    let hash = |at: usize| rig.nodes[at].replica.reader().pin().hash_of_rows();
    assert!(hash(0) == hash(1) && hash(1) == hash(2));
}

#[test]
fn proposals_are_capped_by_count_and_bytes() {
    let mut rig = Rig::new(1, 2, SEGMENT_BYTES);
    for (value_bytes, count) in [(1, PROPOSALS_PENDING_MAX), (2 << 20, PROPOSALS_PENDING_BYTES_MAX / (2 << 20))] {
        // Handed in within one turn: none is answered before all have come.
        let ids: Vec<u64> = (0..count + 10).map(|n| rig.put(0, &format!("k{n}"), value_bytes)).collect();
        rig.settle();
        let refused = ids.iter().filter(|id| rig.answers.get(id) == Some(&Err(Error::TooManyRequests))).count();
        let done = ids.iter().filter(|id| matches!(rig.answers.get(id), Some(Ok(_)))).count();
        assert!(refused >= 9 && refused + done == ids.len(), "{refused} refused, {done} done of {}", ids.len());
        assert_eq!(rig.nodes[0].replica.status().pending, 0);
        let id = rig.put(0, "again", 1);
        rig.settle();
        assert!(rig.answers[&id].is_ok(), "the caps open again");
    }
}

/// A member whose apply is busy learns of more commits than it can apply: it takes no more requests until it has caught up.
#[test]
fn a_backlog_of_unapplied_entries_refuses_more() {
    let mut rig = Rig::new(3, 3, SEGMENT_BYTES);
    let leader = rig.leader().expect("there is one");
    fill(&mut rig, leader, 300_000);
    let delete = rig.delete(leader, "k", "l");
    let ids: Vec<(usize, u64)> = (0..3)
        .flat_map(|at| (0..4000).map(move |n| (at, n)))
        .map(|(at, n)| (at, rig.put(at, &format!("p{at}-{n}"), 1)))
        .collect();
    rig.settle();
    let status = *rig.nodes[leader].replica.status();
    assert!(!rig.answers.contains_key(&delete), "the delete is still under way");
    assert!(status.committed > status.applied + APPLY_BACKLOG_ENTRIES_MAX, "{status:?}");
    assert!(status.pending < PROPOSALS_PENDING_MAX as u64);
    let refused = rig.put(leader, "refused", 1);
    rig.settle();
    assert_eq!(rig.answers[&refused], Err(Error::TooManyRequests));
    rig.until("everything is applied", |rig| ids.iter().all(|(_, id)| rig.answers.contains_key(id)));
    assert!(ids.iter().all(|(_, id)| rig.answers[id].is_ok()));
    rig.until("all members have it", |rig| (0..3).all(|at| rig.keys(at) == ids.len() as u64));
    let id = rig.put(leader, "taken", 1);
    rig.settle();
    assert!(rig.answers[&id].is_ok());
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % bound
    }

    fn key(&mut self) -> String {
        format!("k{:02}", self.below(40))
    }

    fn ops(&mut self, depth: u64) -> Vec<RequestOp> {
        let (mut ops, mut first) = (Vec::new(), self.below(10));
        for _ in 0..self.below(5) {
            // Every operation has a part of the keys of its own, as etcd demands of a transaction's puts.
            let key = format!("k{first:02}{}", self.below(4));
            first += 1;
            ops.push(op(match self.below(if depth == 0 { 3 } else { 4 }) {
                0 => request_op::Request::Put(put(key, 3)),
                1 => request_op::Request::Range(RangeRequest {
                    key: key.into(),
                    range_end: "k9".into(),
                    ..Default::default()
                }),
                2 => request_op::Request::DeleteRange(DeleteRangeRequest {
                    key: format!("k{first:02}").into(),
                    range_end: if self.below(3) == 0 { "".into() } else { format!("k{:02}", first + 1).into() },
                    prev_kv: self.below(2) == 0,
                }),
                _ => {
                    let (success, failure) = (self.ops(depth - 1), self.ops(depth - 1));
                    request_op::Request::Txn(TxnRequest { compare: Vec::new(), success, failure })
                }
            }));
        }
        ops
    }

    fn request(&mut self) -> internal_raft_request::Request {
        use internal_raft_request::Request as R;
        match self.below(10) {
            0..4 => {
                let key = format!("{}{}", self.key(), self.below(4));
                R::Put(put(key, 3))
            }
            4 => {
                let (key, range_end) = (self.key().into(), self.key().into());
                R::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: self.below(2) == 0 })
            }
            _ => {
                let (success, failure) = (self.ops(2), self.ops(2));
                R::Txn(TxnRequest { compare: Vec::new(), success, failure })
            }
        }
    }
}

/// In one go or in steps of any size: the same answers and the same state.
#[test]
fn steps_change_nothing() {
    for seed in 1..=30u64 {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (mut whole, mut stepped) = (Machine::new(Cluster::new(1)), Machine::new(Cluster::new(1)));
        let mut paused = 0;
        for index in 1..=400 {
            let request = InternalRaftRequest { id: index, request: Some(rng.request()), ..Default::default() };
            let data = request.encode_to_vec().into();
            let entry = raftpb::Entry { r#type: 0, term: 1, index, data };
            let expect = whole.apply(&entry, &|_| true).unwrap().request.unwrap();
            let got = loop {
                assert_eq!(stepped.applied(), index - 1);
                let mut budget_rows = 1 + rng.below(4) as usize;
                if let Some(applied) = stepped.apply_step(&entry, &|_| true, &mut budget_rows).unwrap() {
                    break applied.request.unwrap();
                }
                assert!(stepped.is_mid_entry() && budget_rows == 0);
                paused += 1;
            };
            assert_eq!(got.result, expect.result, "seed {seed}, entry {index}: {request:?}");
            assert!(!stepped.is_mid_entry());
        }
        assert_eq!(stepped.store.view().hash_kv(0), whole.store.view().hash_kv(0), "seed {seed}");
        assert_eq!(stepped.store.counts(), whole.store.counts(), "seed {seed}");
        assert_eq!(stepped.store.census(), whole.store.census(), "seed {seed}");
        assert!(paused > 100, "seed {seed}: only {paused} pauses");
    }
}
