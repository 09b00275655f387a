//! Replicas on simulated disks and a network without faults. A test may hold file operations back, fill a disk, and let
//! time pass; everything that leaves a replica is kept for it to look at.

use engine::apply::cluster::Member;
use engine::apply::kv::Answer;
use engine::disk::SimDisk;
use engine::effect::{FileOp, Now, OpId};
use engine::pb::etcdserverpb::{self, DeleteRangeRequest, InternalRaftRequest, PutRequest, internal_raft_request};
use engine::pb::raftpb;
use engine::replica::{self, Config, Effect, Error, Event, Input, Replica, Start};
use engine::request_id::RequestIds;
use engine::wal;
use prost::Message as _;
use std::collections::BTreeMap;
use std::path::Path;

pub const TICK_NS: u64 = 100_000_000;
pub const SECOND_NS: u64 = 1_000_000_000;
pub const ELECTION_TICKS: usize = 10;
pub const ELECTION_NS: u64 = ELECTION_TICKS as u64 * TICK_NS;
pub const REQUEST_TIMEOUT_NS: u64 = 7 * SECOND_NS;
const LANES: u64 = 2;
const CLUSTER_ID: u64 = 0xc1;

/// Longest any test waits for something in simulated time.
const PATIENCE_NS: u64 = 120 * SECOND_NS;

pub type Hold = fn(&FileOp) -> bool;

pub struct Node {
    pub disk: SimDisk,
    pub replica: Replica,
    ids: RequestIds,
    /// Operations submitted and not completed; the held ones stay until `release`.
    in_flight: Vec<(OpId, bool)>,
    pub hold: Option<Hold>,
    pub events: Vec<Event>,
    /// When heartbeats left, to anybody.
    pub heartbeats_ns: Vec<u64>,
}

pub struct Rig {
    pub now: Now,
    pub nodes: Vec<Node>,
    network: Vec<raftpb::Message>,
    pub answers: BTreeMap<u64, Result<Answer, Error>>,
    pub reads: BTreeMap<u64, Result<(), Error>>,
    seed: u64,
    segment_bytes: u64,
}

pub fn config(id: u64, seed: u64, segment_bytes: u64) -> Config {
    Config {
        member_id: id,
        name: format!("m{id}"),
        client_urls: vec![format!("http://m{id}:2379")],
        tick_ns: TICK_NS,
        election_ticks: ELECTION_TICKS,
        pre_vote: true,
        request_timeout_ns: REQUEST_TIMEOUT_NS,
        seed,
        id_lanes: LANES,
        wal: wal::Config {
            segment_bytes,
            batch_bytes_max: (segment_bytes / 4).min(1 << 20) as usize,
            zero_piece_bytes: 4 << 10,
            zero_gap_bytes: 8 << 10,
        },
    }
}

fn wal_dir() -> &'static Path {
    Path::new("wal")
}

impl Rig {
    /// `members` replicas, settled until one leads and all have published themselves.
    pub fn new(members: u64, seed: u64, segment_bytes: u64) -> Self {
        let all: Vec<Member> = (1..=members)
            .map(|id| Member {
                id,
                name: format!("m{id}"),
                peer_urls: vec![format!("http://m{id}:2380")],
                ..Member::default()
            })
            .collect();
        let now = Now { mono_ns: 1, unix_ms: 1_700_000_000_000 };
        let nodes = (1..=members).map(|id| {
            let mut disk = SimDisk::new(seed ^ id, wal_dir());
            let start = Start::New { cluster_id: CLUSTER_ID, members: &all };
            let opened = replica::open(config(id, seed, segment_bytes), &mut disk, wal_dir(), start, now).unwrap();
            Node {
                disk,
                replica: opened.replica,
                ids: RequestIds::new(id, now.unix_ms, 0, LANES),
                in_flight: Vec::new(),
                hold: None,
                events: Vec::new(),
                heartbeats_ns: Vec::new(),
            }
        });
        let mut rig = Self {
            now,
            nodes: nodes.collect(),
            network: Vec::new(),
            answers: BTreeMap::new(),
            reads: BTreeMap::new(),
            seed,
            segment_bytes,
        };
        rig.until("all are ready", |rig| rig.nodes.iter().all(|node| node.replica.status().ready));
        rig
    }

    pub fn input(&mut self, at: usize, input: Input) {
        self.nodes[at].replica.handle(input, self.now);
        self.effects(at);
    }

    fn effects(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        while let Some(effect) = node.replica.poll_effect() {
            match effect {
                Effect::File { id, op } => {
                    let held = node.hold.is_some_and(|hold| hold(&op));
                    node.disk.submit(id, op);
                    node.in_flight.push((id, held));
                }
                Effect::Send(message) => {
                    if message.r#type == raftpb::MessageType::Heartbeat as i32 {
                        node.heartbeats_ns.push(self.now.mono_ns);
                    }
                    self.network.push(message);
                }
                Effect::Answer { id, result } => {
                    assert!(self.answers.insert(id, result).is_none(), "{id:x} is answered twice");
                }
                Effect::ReadReady { id, result } => {
                    assert!(self.reads.insert(id, result).is_none(), "read {id:x} is answered twice");
                }
                Effect::Event(event) => node.events.push(event),
                Effect::Fatal(why) => panic!("m{} stopped: {why}", at + 1),
                Effect::Status(_) | Effect::Stopped => {}
            }
        }
    }

    /// Everything that can happen without time passing. Bounded: a group that never falls silent is a bug.
    pub fn settle(&mut self) {
        for at in 0..self.nodes.len() {
            self.effects(at);
        }
        for _ in 0..1_000_000 {
            if !self.network.is_empty() {
                let message = self.network.remove(0);
                self.input(message.to as usize - 1, Input::Message(message));
                continue;
            }
            let Some((at, slot)) = self.free_operation() else { return };
            let (id, _) = self.nodes[at].in_flight.remove(slot);
            let (id, result, buf) = self.nodes[at].disk.complete_one(id).expect("it is in flight");
            self.input(at, Input::FileDone { id, result, buf });
        }
        panic!("the group does not fall silent");
    }

    fn free_operation(&self) -> Option<(usize, usize)> {
        let free = |node: &Node| node.in_flight.iter().position(|(_, held)| !held);
        self.nodes.iter().enumerate().find_map(|(at, node)| Some((at, free(node)?)))
    }

    /// Operations of this member that are being held back.
    pub fn held(&self, at: usize) -> usize {
        self.nodes[at].in_flight.iter().filter(|(_, held)| *held).count()
    }

    /// Lets held operations go on, and later ones pass.
    pub fn release(&mut self, at: usize) {
        self.nodes[at].hold = None;
        self.nodes[at].in_flight.iter_mut().for_each(|(_, held)| *held = false);
    }

    /// Lets this much time pass, in steps small enough for every deadline.
    pub fn pass(&mut self, ns: u64) {
        let end_ns = self.now.mono_ns + ns;
        self.settle();
        while self.now.mono_ns < end_ns {
            self.now.mono_ns += TICK_NS / 10;
            self.now.unix_ms += TICK_NS / 10_000_000;
            for at in 0..self.nodes.len() {
                if self.nodes[at].replica.deadline_ns() <= self.now.mono_ns {
                    self.input(at, Input::Tick);
                }
            }
            self.settle();
        }
    }

    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end_ns = self.now.mono_ns + PATIENCE_NS;
        self.settle();
        while !done(self) {
            assert!(self.now.mono_ns < end_ns, "seed {}: it never happens that {what}", self.seed);
            self.pass(TICK_NS / 10);
        }
    }

    pub fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.replica.status().is_leader)
    }

    pub fn propose(&mut self, at: usize, request: internal_raft_request::Request) -> u64 {
        let id = self.nodes[at].ids.next_id();
        let request = InternalRaftRequest {
            header: Some(etcdserverpb::RequestHeader { id, ..Default::default() }),
            request: Some(request),
            ..Default::default()
        };
        self.nodes[at].replica.handle(Input::Propose { id, request: request.encode_to_vec().into() }, self.now);
        id
    }

    /// A put that is only handed in; `settle` or time makes it go on.
    pub fn put(&mut self, at: usize, key: &str, value_bytes: usize) -> u64 {
        let put =
            PutRequest { key: key.to_owned().into(), value: vec![b'v'; value_bytes].into(), ..Default::default() };
        self.propose(at, internal_raft_request::Request::Put(put))
    }

    pub fn delete(&mut self, at: usize, key: &str, range_end: &str) -> u64 {
        let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
        let delete = DeleteRangeRequest { key, range_end, ..Default::default() };
        self.propose(at, internal_raft_request::Request::DeleteRange(delete))
    }

    pub fn read(&mut self, at: usize) -> u64 {
        let id = self.nodes[at].ids.next_id();
        self.input(at, Input::Read { id });
        id
    }

    pub fn revision(&self, at: usize) -> i64 {
        self.nodes[at].replica.reader().pin().revision()
    }

    pub fn keys(&self, at: usize) -> u64 {
        self.nodes[at].replica.store().live_keys()
    }

    /// The member loses power and starts again.
    pub fn power_cut(&mut self, at: usize) {
        let id = at as u64 + 1;
        self.network.clear();
        let node = &mut self.nodes[at];
        (node.in_flight, node.hold) = (Vec::new(), None);
        node.disk.crash();
        self.now.unix_ms += 1000;
        let config = config(id, self.seed ^ self.now.mono_ns, self.segment_bytes);
        let opened = replica::open(config, &mut node.disk, wal_dir(), Start::Restart, self.now).unwrap();
        node.replica = opened.replica;
        node.ids = RequestIds::new(id, self.now.unix_ms, 0, LANES);
    }
}
