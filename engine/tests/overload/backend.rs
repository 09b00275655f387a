//! The stream of backend operations is complete: what it leaves in a map is a state equal to the one it came from.

use crate::rig::{Rig, TICK_NS};
use engine::apply::cluster::Member;
use engine::apply::mvcc::{RowKey, Store};
use engine::limits::BACKEND_BACKLOG_BYTES_MAX;
use engine::pb::etcdserverpb::{CompactionRequest, RequestOp, TxnRequest, internal_raft_request, request_op};
use engine::replica::{BackendBatch, BackendOp, Bucket, Error};
use std::collections::BTreeMap;

/// A db file as far as it matters here: buckets of sorted keys.
#[derive(Default)]
struct Image {
    rows: BTreeMap<(Bucket, Vec<u8>), Vec<u8>>,
    consistent_index: u64,
}

impl Image {
    fn commit(&mut self, batch: BackendBatch) {
        assert!(batch.consistent_index >= self.consistent_index && batch.term > 0);
        for op in batch.ops {
            match op {
                BackendOp::PutRow(row) => {
                    self.rows.insert((Bucket::Key, row.row_key().as_bytes().to_vec()), row.encoded().to_vec());
                }
                BackendOp::DeleteRow(key) => {
                    let gone = self.rows.remove(&(Bucket::Key, key.as_bytes().to_vec()));
                    assert!(gone.is_some(), "only rows that were put are deleted, once");
                }
                BackendOp::Put { bucket, key, value } => drop(self.rows.insert((bucket, key), value)),
                BackendOp::Delete { bucket, key } => drop(self.rows.remove(&(bucket, key))),
            }
        }
        self.consistent_index = batch.consistent_index;
        assert_eq!(self.get(Bucket::Meta, "consistent_index"), Some(&batch.consistent_index.to_be_bytes()[..]));
        assert_eq!(self.get(Bucket::Meta, "term"), Some(&batch.term.to_be_bytes()[..]));
    }

    fn get(&self, bucket: Bucket, key: &str) -> Option<&[u8]> {
        self.rows.get(&(bucket, key.as_bytes().to_vec())).map(Vec::as_slice)
    }

    fn bucket(&self, bucket: Bucket) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows.iter().filter(move |((b, _), _)| *b == bucket).map(|((_, key), value)| (&key[..], &value[..]))
    }

    fn revision(&self, key: &str) -> Option<i64> {
        self.get(Bucket::Meta, key).map(|bytes| RowKey::parse(bytes).expect("a revision").0)
    }

    fn store(&self) -> Store {
        let mut store = Store::new();
        for (key, value) in self.bucket(Bucket::Key) {
            let (main, sub, tombstone) = RowKey::parse(key).expect("a row key");
            store.restore_row(main, sub, tombstone, value).expect("rows come in order");
        }
        store.restore_compacted(self.revision("finishedCompactRev"), self.revision("scheduledCompactRev"));
        while !store.compact_step(1000) {}
        store.publish();
        store
    }

    fn members(&self) -> Vec<Member> {
        let decode = |(key, value): (&[u8], &[u8])| {
            let (member, _) = Member::from_json(value).expect("a member");
            assert_eq!(key, format!("{:x}", member.id).as_bytes());
            member
        };
        self.bucket(Bucket::Members).map(decode).collect()
    }
}

fn below(state: &mut u64, bound: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 8) % bound
}

fn random_write(rig: &mut Rig, at: usize, random: &mut u64) {
    let key = format!("k{:03}", below(random, 150));
    match below(random, 12) {
        0..7 => drop(rig.put(at, &key, 20)),
        7 => drop(rig.delete(at, &key, "")),
        8 => drop(rig.delete(at, &key, &format!("k{:03}", below(random, 150)))),
        9..11 => {
            let put =
                |n: u64| engine::pb::etcdserverpb::PutRequest { key: format!("k{n:03}").into(), ..Default::default() };
            let first = below(random, 100);
            let success =
                (first..first + 9).map(|n| RequestOp { request: Some(request_op::Request::Put(put(n))) }).collect();
            rig.propose(at, internal_raft_request::Request::Txn(TxnRequest { success, ..Default::default() }));
        }
        _ => {
            let revision = rig.revision(at) - below(random, 50) as i64;
            let compaction = CompactionRequest { revision, ..Default::default() };
            rig.propose(at, internal_raft_request::Request::Compaction(compaction));
        }
    }
}

#[test]
fn replayed_into_a_map_it_is_the_same_state() {
    for seed in 1..=8u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut rig = Rig::new(3, seed, 1 << 20);
        let leader = rig.leader().expect("there is one");
        // From the beginning, or from a state that has a history and compactions behind it.
        for _ in 0..(seed % 4) * 700 {
            random_write(&mut rig, leader, &mut random);
            rig.settle();
        }
        let at = (leader + seed as usize) % 3;
        rig.pass(TICK_NS * 2);
        rig.nodes[at].replica.enable_backend();
        let (mut image, mut batches) = (Image::default(), 0);
        for step in 0..1500 {
            random_write(&mut rig, leader, &mut random);
            if step % 3 == 0 {
                rig.settle();
            }
            if below(&mut random, 20) == 0
                && let Some(batch) = rig.nodes[at].replica.take_backend_batch()
            {
                image.commit(batch);
                batches += 1;
            }
        }
        rig.until("all is applied and compacted", |rig| {
            let applied = |at: usize| rig.nodes[at].replica.status().applied;
            (0..3).all(|at| applied(at) == applied(leader) && !rig.nodes[at].replica.store().is_compacting())
        });
        let replica = &mut rig.nodes[at].replica;
        if let Some(batch) = replica.take_backend_batch() {
            image.commit(batch);
        }
        assert!(batches > 20 && replica.take_backend_batch().is_none());
        let store = image.store();
        assert_eq!(store.revision(), replica.store().revision(), "seed {seed}");
        assert_eq!(store.compacted_revision(), replica.store().compacted_revision(), "seed {seed}");
        assert!(store.compacted_revision() > 0, "seed {seed}: nothing was compacted");
        let hash = |view: engine::apply::mvcc::View| view.hash_kv(0).unwrap().hash;
        assert_eq!(hash(store.view()), hash(replica.store().view()), "seed {seed}");
        assert_eq!(store.live_keys(), replica.store().live_keys(), "seed {seed}");
        assert_eq!(image.consistent_index, replica.status().applied);
        let members: Vec<Member> = replica.cluster().members().cloned().collect();
        assert_eq!(image.members(), members, "seed {seed}");
        assert_eq!(image.get(Bucket::Cluster, "clusterVersion"), Some(&b"3.7.0"[..]));
        assert_eq!(image.get(Bucket::Meta, "confState"), Some(&br#"{"voters":[1,2,3],"auto_leave":false}"#[..]));
    }
}

/// Nobody takes the batches: apply waits, requests are refused, memory stays bounded; then everything goes on.
#[test]
fn a_backlog_that_nobody_takes_refuses_requests() {
    const VALUE_BYTES: usize = 1 << 20;
    let mut rig = Rig::new(1, 5, 64 << 20);
    rig.nodes[0].replica.enable_backend();
    let mut acked = 0;
    loop {
        let id = rig.put(0, &format!("k{acked}"), VALUE_BYTES);
        rig.settle();
        match rig.answers.remove(&id) {
            Some(Ok(_)) => acked += 1,
            Some(Err(Error::TooManyRequests)) => break,
            other => panic!("put {acked}: {other:?}"),
        }
        assert!(acked <= 2 * BACKEND_BACKLOG_BYTES_MAX / VALUE_BYTES);
    }
    assert!(acked >= BACKEND_BACKLOG_BYTES_MAX / VALUE_BYTES - 1, "{acked}");
    assert!(rig.nodes[0].replica.deadline_ns() > rig.now.mono_ns, "waiting is not work");
    let mut image = Image::default();
    image.commit(rig.nodes[0].replica.take_backend_batch().expect("plenty"));
    let id = rig.put(0, "more", 1);
    rig.settle();
    assert!(rig.answers[&id].is_ok());
    image.commit(rig.nodes[0].replica.take_backend_batch().expect("one more"));
    assert_eq!(image.store().live_keys(), acked as u64 + 1);
}
