//! What the raft role lets every shard know without a question: consensus status and membership.
//! Written by the driver alone, but for the room that shards share; read by shards, health and metrics on any thread. Each
//! number is an atomic of its own, so two of them may be of two moments; only the read gate is ordered with the store.

use crate::room::Room;
use engine::apply::cluster::Cluster;
use engine::pb::etcdserverpb;
use engine::replica::Status;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// Ids that never change while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster_id: u64,
    pub member_id: u64,
}

/// Membership as clients see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterView {
    /// By member id.
    pub members: Vec<etcdserverpb::Member>,
    /// `major.minor.0`; None until decided.
    pub version: Option<String>,
}

#[derive(Debug)]
pub struct Published {
    pub identity: Identity,
    pub room: Room,
    term: AtomicU64,
    leader: AtomicU64,
    is_leader: AtomicBool,
    is_learner: AtomicBool,
    committed: AtomicU64,
    applied: AtomicU64,
    pending: AtomicU64,
    log_full: AtomicBool,
    disk_stalled: AtomicBool,
    read_gate_open: AtomicBool,
    ready: AtomicBool,
    cluster: Mutex<Arc<ClusterView>>,
}

impl Published {
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            room: Room::default(),
            term: AtomicU64::new(0),
            leader: AtomicU64::new(0),
            is_leader: AtomicBool::new(false),
            is_learner: AtomicBool::new(false),
            committed: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            log_full: AtomicBool::new(false),
            disk_stalled: AtomicBool::new(false),
            read_gate_open: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            cluster: Mutex::default(),
        }
    }

    pub fn set_status(&self, status: &Status) {
        self.term.store(status.term, Relaxed);
        self.leader.store(status.leader, Relaxed);
        self.is_leader.store(status.is_leader, Relaxed);
        self.is_learner.store(status.is_learner, Relaxed);
        self.committed.store(status.committed, Relaxed);
        self.applied.store(status.applied, Relaxed);
        self.pending.store(status.pending, Relaxed);
        self.log_full.store(status.log_full, Relaxed);
        self.disk_stalled.store(status.disk_stalled, Relaxed);
        // A shard that sees the gate open must also see the store root that was published before it: the store's own
        // publication is ordered before this, and the gate is the last to be written and the first to be read.
        self.read_gate_open.store(status.read_gate_open, SeqCst);
        self.ready.store(status.ready, SeqCst);
    }

    pub fn set_cluster(&self, cluster: &Cluster) {
        let members = cluster.members().map(|m| etcdserverpb::Member {
            id: m.id,
            name: m.name.clone(),
            peer_urls: m.peer_urls.clone(),
            client_urls: m.client_urls.clone(),
            is_learner: m.is_learner,
        });
        let view = ClusterView { members: members.collect(), version: cluster.version().map(str::to_owned) };
        *self.cluster.lock().expect("no holder of this lock panics") = Arc::new(view);
    }

    pub fn cluster(&self) -> Arc<ClusterView> {
        self.cluster.lock().expect("no holder of this lock panics").clone()
    }

    pub fn term(&self) -> u64 {
        self.term.load(Relaxed)
    }

    /// Member id of the leader, 0 when unknown.
    pub fn leader(&self) -> u64 {
        self.leader.load(Relaxed)
    }

    pub fn is_leader(&self) -> bool {
        self.is_leader.load(Relaxed)
    }

    pub fn is_learner(&self) -> bool {
        self.is_learner.load(Relaxed)
    }

    pub fn committed(&self) -> u64 {
        self.committed.load(Relaxed)
    }

    pub fn applied(&self) -> u64 {
        self.applied.load(Relaxed)
    }

    /// Proposals accepted and not yet answered.
    pub fn pending(&self) -> u64 {
        self.pending.load(Relaxed)
    }

    /// Writes are refused: the log has no room and cannot grow.
    pub fn log_full(&self) -> bool {
        self.log_full.load(Relaxed)
    }

    /// The log waits for the disk longer than it may.
    pub fn disk_stalled(&self) -> bool {
        self.disk_stalled.load(Relaxed)
    }

    /// Linearizable reads may be served from the store as it is now.
    pub fn read_gate_open(&self) -> bool {
        self.read_gate_open.load(SeqCst)
    }

    /// Clients may be served.
    pub fn ready(&self) -> bool {
        self.ready.load(SeqCst)
    }
}
