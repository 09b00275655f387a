//! The raft role's loop: hands inputs to the replica and carries out its effects. It decides nothing: what happens, and in
//! which order it may be seen, is the replica's business alone.

mod disk;

pub use disk::Disk;

use crate::exchange::{FromRaft, ToRaft};
use crate::ops::metrics::{RaftProbe, ServerProbe};
use crate::published::Published;
use crate::reactor::Reactor;
use engine::disk::AlignedBuf;
use engine::effect::Now;
use engine::replica::{Effect, Event, Input, Replica, Status};
use engine::request_id::RequestIds;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the loop must do after a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// The log is closed; nothing more will come.
    Stopped,
    /// The member must not go on.
    Fatal(String),
}

pub struct Driver {
    replica: Replica,
    disk: Disk,
    published: Arc<Published>,
    probe: Arc<RaftProbe>,
    server: Arc<ServerProbe>,
    /// Shards in this process; an answer's lane names the one it belongs to.
    lanes: u64,
    outbox: Vec<(usize, FromRaft)>,
    status: Status,
    /// The member has become ready since `take_news` was last asked.
    news: bool,
}

impl Driver {
    /// `lanes`: request id lanes of this process (the shards and, last, the replica).
    pub fn new(
        replica: Replica,
        disk: Disk,
        published: Arc<Published>,
        probe: Arc<RaftProbe>,
        server: Arc<ServerProbe>,
        lanes: u64,
    ) -> Self {
        published.set_cluster(replica.cluster());
        if let Some(version) = replica.cluster().version() {
            server.set_cluster_version(version);
        }
        Self {
            replica,
            disk,
            published,
            probe,
            server,
            lanes,
            outbox: Vec::new(),
            status: Status::default(),
            news: false,
        }
    }

    pub fn handle(&mut self, message: ToRaft, mono_ns: u64) {
        let input = match message {
            ToRaft::Propose { id, request } => Input::Propose { id, request },
            ToRaft::Read { id } => Input::Read { id },
        };
        self.replica.handle(input, now(mono_ns));
    }

    pub fn file_done(&mut self, id: u64, result: Result<usize, i32>, buf: Option<AlignedBuf>, mono_ns: u64) {
        if let Some((id, result, buf)) = self.disk.done(id, result, buf, mono_ns, &self.probe) {
            self.replica.handle(Input::FileDone { id, result, buf }, now(mono_ns));
        }
    }

    pub fn stop(&mut self, mono_ns: u64) {
        self.replica.handle(Input::Stop, now(mono_ns));
    }

    /// Lets time pass and carries out every effect. Answers for shards are left in the outbox.
    pub fn run<R: Reactor>(&mut self, reactor: &mut R) -> Flow {
        let mono_ns = reactor.mono_ns();
        if mono_ns >= self.replica.deadline_ns() {
            self.replica.handle(Input::Tick, now(mono_ns));
        }
        self.disk.go_on(reactor);
        while let Some(effect) = self.replica.poll_effect() {
            match effect {
                Effect::File { id, op } => {
                    if let Some((id, result, buf)) = self.disk.start(id, op, mono_ns, reactor) {
                        self.replica.handle(Input::FileDone { id, result, buf }, now(mono_ns));
                    }
                }
                // There is nobody to send to: a cluster of one has no peers, and larger ones are refused at start.
                Effect::Send(message) => unreachable!("a message to {:x} in a cluster of one", message.to),
                Effect::Answer { id, result } => {
                    self.probe.proposals_failed.add(u64::from(result.is_err()));
                    self.outbox.push((self.lane_of(id), FromRaft::Answer { id, result }));
                }
                Effect::ReadReady { id, result } => {
                    self.outbox.push((self.lane_of(id), FromRaft::ReadReady { id, result }))
                }
                Effect::Status(status) => self.publish(status),
                Effect::Event(event) => self.log(&event),
                Effect::Fatal(why) => return Flow::Fatal(why),
                Effect::Stopped => return Flow::Stopped,
            }
        }
        Flow::Continue
    }

    pub fn take_outbox(&mut self) -> &mut Vec<(usize, FromRaft)> {
        &mut self.outbox
    }

    /// True once when there is something that shards on other threads must wake up for: the member became ready.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// When `run` wants to be called at the latest.
    pub fn deadline_ns(&self) -> u64 {
        self.replica.deadline_ns()
    }

    fn lane_of(&self, id: u64) -> usize {
        RequestIds::lane_of(id, self.lanes) as usize
    }

    fn publish(&mut self, status: Status) {
        if status.cluster_generation != self.status.cluster_generation {
            self.published.set_cluster(self.replica.cluster());
        }
        self.news |= status.ready && !self.status.ready;
        self.published.set_status(&status);
        let probe = &self.probe;
        probe.has_leader.set(i64::from(status.leader != 0));
        probe.is_leader.set(i64::from(status.is_leader));
        probe.is_learner.set(i64::from(status.is_learner));
        probe.log_full.set(i64::from(status.log_full));
        probe.disk_stalled.set(i64::from(status.disk_stalled));
        probe.proposals_committed.set(status.committed as i64);
        probe.proposals_applied.set(status.applied as i64);
        probe.proposals_pending.set(status.pending as i64);
        let (store, counts) = (self.replica.store(), self.replica.store().counts());
        probe.current_revision.set(store.revision());
        probe.compact_revision.set(store.compacted_revision());
        probe.puts.set(counts.puts);
        probe.deletes.set(counts.deletes);
        probe.txns.set(counts.txns);
        probe.put_bytes.set(counts.put_bytes as i64);
        probe.keys.set(store.live_keys() as i64);
        // Until there is a db file, what it would hold is all there is to its size.
        probe.db_bytes.set(store.bytes() as i64);
        probe.db_bytes_in_use.set(store.bytes() as i64);
        self.status = status;
    }

    fn log(&self, event: &Event) {
        let member = format!("{:x}", self.published.identity.member_id);
        match event {
            Event::BecameLeader { term } => tracing::info!("{member} became leader at term {term}"),
            Event::LeaderChanged { from, to, term } => {
                self.probe.leader_changes_seen.add(u64::from(*to != 0));
                match (*from, *to) {
                    (0, to) => tracing::info!("raft.node: {member} elected leader {to:x} at term {term}"),
                    (from, 0) => tracing::info!("raft.node: {member} lost leader {from:x} at term {term}"),
                    (from, to) => {
                        tracing::info!("raft.node: {member} changed leader from {from:x} to {to:x} at term {term}");
                    }
                }
            }
            Event::Published => {
                tracing::info!("local-member-id" = member, "published local member to cluster through raft");
            }
            Event::ClusterVersion { version, initial } => {
                self.server.set_cluster_version(version);
                let minor = version.strip_suffix(".0").unwrap_or(version);
                let text = if *initial { "set initial cluster version" } else { "updated cluster version" };
                tracing::info!("local-member-id" = member, "cluster-version" = minor, "{text}");
            }
            Event::LogSpaceShort { errno } => {
                let error = std::io::Error::from_raw_os_error(*errno).to_string();
                tracing::warn!(error, retry = "1s", "cannot allocate the next WAL segment; going on in the last one");
            }
            Event::LogFull => tracing::error!("the disk is full: writes are refused until the WAL can grow"),
            Event::LogSpaceRestored => tracing::info!("the next WAL segment is allocated; writes are taken again"),
            Event::DiskStalled => {
                let text = "the WAL has waited for the disk for an election timeout; requests will time out";
                tracing::error!(local_member_id = member, "{text}");
            }
            Event::DiskRecovered => {
                tracing::info!(local_member_id = member, "the disk has taken the waiting WAL write")
            }
            Event::HandedOver { to } => {
                tracing::warn!(
                    local_member_id = member,
                    transferee_id = format!("{to:x}"),
                    "leadership transfer starting"
                );
            }
            Event::SteppedDown => tracing::warn!(local_member_id = member, "stopped leading: nobody took over"),
            Event::MemberAdded { id } => {
                tracing::info!("local-member-id" = member, "added-peer-id" = format!("{id:x}"), "added member");
            }
            Event::MemberRemoved { id } => {
                tracing::info!(
                    "local-member-id" = member,
                    "removed-remote-peer-id" = format!("{id:x}"),
                    "removed member"
                );
            }
        }
    }
}

/// The engine's clock: the reactor's monotonic time and the wall clock.
pub fn now(mono_ns: u64) -> Now {
    // A wall clock before 1970 is a machine without one; the engine only uses it to make ids differ between starts.
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    Now { mono_ns, unix_ms }
}
