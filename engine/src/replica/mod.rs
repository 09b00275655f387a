//! The replica: consensus, log writer and apply composed into one machine. Inputs go in through `handle`, effects come
//! out of `poll_effect` until None; there is no other way in or out, so a simulator and a server run the same code.
//!
//! Order of things, and why: a turn's inputs are all handled before the first effect is polled, so that its proposals are
//! one consensus step and one log write. Answers leave only after the store has published their revision, and an entry is
//! committed only when a quorum (this member included) has it durable.

mod backend;
mod backlog;
mod early;
mod open;
mod proposals;
mod reads;
mod space;
mod stall;

pub use backend::{BackendBatch, BackendOp, Bucket};
pub use open::{OpenError, Opened, Start, open};

use crate::apply::{Applied, Machine, Request, kv};
use crate::canary::{Canaries, Canary};
use crate::consensus::{self, Node, Role};
use crate::disk::AlignedBuf;
use crate::effect::{FileOp, FileResult, Now, OpId};
use crate::limits;
use crate::pb::{etcdserverpb, membershippb, raftpb};
use crate::request_id::RequestIds;
use crate::wal;
use backend::Backend;
use backlog::Backlog;
use bytes::Bytes;
use proposals::Proposals;
use prost::Message as _;
use reads::Reads;
use space::{Change, Space, Verdict};
use stall::{Duty, Stall};
use std::collections::VecDeque;

/// The version this member claims in the log (the cluster version is its major and minor with patch 0).
pub const CLUSTER_VERSION: &str = "3.7.0";

#[derive(Clone, Debug)]
pub struct Config {
    pub member_id: u64,
    pub name: String,
    pub client_urls: Vec<String>,
    /// Length of a raft tick: the heartbeat interval.
    pub tick_ns: u64,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
    pub pre_vote: bool,
    /// A sole voter campaigns as soon as it starts, instead of waiting for an election timeout (etcd's
    /// `--initial-election-tick-advance`).
    pub campaign_at_once: bool,
    /// How long a proposal or a waiting read may take: 5 s + 2 election timeouts in etcd.
    pub request_timeout_ns: u64,
    /// Seed of everything that looks random in here.
    pub seed: u64,
    /// Lanes of request ids in this process; the replica uses the last one, shards the others.
    pub id_lanes: u64,
    pub wal: wal::Config,
    /// A known bug to put back in.
    #[cfg(feature = "canaries")]
    pub canary: Option<Canary>,
}

impl Config {
    #[cfg(feature = "canaries")]
    fn canaries(&self) -> Canaries {
        Canaries::new(self.canary)
    }

    #[cfg(not(feature = "canaries"))]
    fn canaries(&self) -> Canaries {
        Canaries::default()
    }
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is moved once; a box would cost an allocation per message")]
pub enum Input {
    /// Nothing but the time: call when `deadline_ns` has passed.
    Tick,
    /// A whole encoded InternalRaftRequest whose header carries `id`. Ends in exactly one `Effect::Answer` with that id.
    Propose {
        id: u64,
        request: Bytes,
    },
    /// A linearizable read that found the read gate closed. Ends in exactly one `Effect::ReadReady`.
    Read {
        id: u64,
    },
    /// From another member, already checked to be for this one.
    Message(raftpb::Message),
    /// A message to this member could not be delivered.
    Unreachable {
        member_id: u64,
    },
    FileDone {
        id: OpId,
        result: FileResult,
        buf: Option<AlignedBuf>,
    },
    /// Write what is still only in memory (the commit index), then close the log: ends in `Effect::Stopped`.
    Stop,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is moved once; a box would cost an allocation per message")]
pub enum Effect {
    File {
        id: OpId,
        op: FileOp,
    },
    Send(raftpb::Message),
    /// The proposal's entry was applied and published, or will not be.
    Answer {
        id: u64,
        result: Result<kv::Answer, Error>,
    },
    /// The store now holds everything acked before the read came: read and answer.
    ReadReady {
        id: u64,
        result: Result<(), Error>,
    },
    /// What others may know about this member has changed. Comes before the answers that depend on it.
    Status(Status),
    /// Something the operator should find in the log.
    Event(Event),
    /// The member must stop now: its log can no longer be trusted to hold what it acks.
    Fatal(String),
    Stopped,
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Found while applying; every member finds the same.
    Apply(kv::Error),
    TooManyRequests,
    /// The log has no room for it and the next segment cannot be allocated.
    NoSpace,
    /// Not done in time; it may still be done later.
    Timeout,
    /// Leadership moved while a read waited.
    LeaderChanged,
    Stopped,
    /// Consensus refused the proposal (leadership is being handed over).
    Dropped,
}

/// What shards and operators may know without asking the raft role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub term: u64,
    /// Member id, 0 when unknown.
    pub leader: u64,
    pub is_leader: bool,
    pub is_learner: bool,
    pub committed: u64,
    pub applied: u64,
    /// Linearizable reads may be served from the published store without asking anybody (design D12).
    pub read_gate_open: bool,
    /// This member has published itself: clients may be served.
    pub ready: bool,
    /// Proposals accepted and not yet answered.
    pub pending: u64,
    /// Requests are refused: the disk has no space for the next segment of the log.
    pub log_full: bool,
    /// The log waits for the disk longer than it may; requests time out.
    pub disk_stalled: bool,
    /// Bumped whenever membership or the cluster version changed.
    pub cluster_generation: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    LeaderChanged {
        from: u64,
        to: u64,
        term: u64,
    },
    BecameLeader {
        term: u64,
    },
    Published,
    ClusterVersion {
        version: String,
        initial: bool,
    },
    MemberAdded {
        id: u64,
    },
    MemberRemoved {
        id: u64,
    },
    /// The next segment of the log cannot be allocated (an errno); requests go on while this one has room.
    LogSpaceShort {
        errno: i32,
    },
    /// There is no room left for requests.
    LogFull,
    /// There is a next segment again.
    LogSpaceRestored,
    /// The log has waited for the disk for an election timeout. A leader of several gives up leading.
    DiskStalled,
    DiskRecovered,
    /// Asked this member to take over.
    HandedOver {
        to: u64,
    },
    SteppedDown,
}

/// What is left of one step of apply.
struct ApplyStep {
    rows: usize,
    bytes: usize,
}

impl Default for ApplyStep {
    fn default() -> Self {
        Self { rows: limits::APPLY_STEP_ROWS, bytes: limits::APPLY_STEP_BYTES_MAX }
    }
}

/// A Ready whose records are in the log but not yet durable.
struct Unpersisted {
    ready_number: u64,
    durable_at: wal::Seq,
    messages: Vec<raftpb::Message>,
}

pub struct Replica {
    config: Config,
    node: Node,
    log: wal::Writer,
    machine: Machine,
    early: early::Early,
    proposals: Proposals,
    reads: Reads,
    space: Space,
    stall: Stall,
    /// Bytes that entries given to consensus in this turn will take in the log.
    stepped_bytes: u64,
    ids: RequestIds,
    now: Now,
    next_tick_ns: u64,
    unpersisted: VecDeque<Unpersisted>,
    /// The newest append that had to be durable; a Ready that needs nothing new waits for this one.
    last_sync: wal::Seq,
    /// Index of the newest conf change in the log: the read gate is closed until it is applied.
    conf_change_index: u64,
    backlog: Backlog,
    /// None until somebody wants the stream.
    backend: Option<Box<Backend>>,
    /// Index and term of the newest entry that is published: what others may know of.
    applied: u64,
    applied_term: u64,
    /// Applied and not yet published, because an entry after it is under way.
    unshown: Option<(u64, u64)>,
    /// Answers that leave when what they speak of is published.
    answers: Vec<(u64, Result<kv::Answer, kv::Error>)>,
    publish: Step,
    set_version: Step,
    status: Status,
    effects: VecDeque<Effect>,
    dirty: bool,
    /// Asked to stop: nothing new is begun, what is under way is still written and answered.
    stopping: bool,
    /// The log is being closed: nothing more may go into it.
    closing: bool,
    /// Failed or stopped: nothing goes in or comes out any more.
    halted: bool,
}

/// Progress of something the replica proposes on its own behalf and repeats until it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Wanted,
    Proposed { id: u64 },
    Done,
}

impl Replica {
    fn assemble(config: Config, node: Node, log: wal::Writer, machine: Machine, applied_term: u64, now: Now) -> Self {
        let ids = RequestIds::new(config.member_id, now.unix_ms, config.id_lanes - 1, config.id_lanes);
        let mut replica = Self {
            proposals: Proposals::new(config.request_timeout_ns),
            reads: Reads::new(config.request_timeout_ns),
            space: Space::default(),
            // A disk that takes longer than an election timeout costs a leader its job: the others would have elected
            // somebody by then if it had died.
            stall: Stall::new(config.tick_ns * config.election_ticks as u64, config.tick_ns),
            stepped_bytes: 0,
            ids,
            now,
            next_tick_ns: now.mono_ns + config.tick_ns,
            unpersisted: VecDeque::new(),
            last_sync: log.durable(),
            conf_change_index: 0,
            backlog: Backlog::default(),
            backend: None,
            applied: machine.applied(),
            applied_term,
            unshown: None,
            answers: Vec::new(),
            publish: Step::Wanted,
            set_version: Step::Wanted,
            status: Status::default(),
            effects: VecDeque::new(),
            early: early::Early::default(),
            dirty: true,
            stopping: false,
            closing: false,
            halted: false,
            config,
            node,
            log,
            machine,
        };
        if replica.machine.cluster.version().is_some() {
            replica.set_version = Step::Done;
        }
        if replica.config.campaign_at_once && replica.node.is_sole_voter() {
            replica.node.campaign();
        }
        replica
    }

    /// The store's reader, to be cloned for every shard.
    pub fn reader(&self) -> crate::apply::mvcc::Reader {
        self.machine.store.reader()
    }

    pub fn cluster(&self) -> &crate::apply::cluster::Cluster {
        &self.machine.cluster
    }

    /// The store, for metrics.
    pub fn store(&self) -> &crate::apply::mvcc::Store {
        &self.machine.store
    }

    pub fn status(&self) -> &Status {
        &self.status
    }

    /// When to call `handle(Input::Tick)` at the latest, on the `mono_ns` clock: now, while there are entries to apply or a
    /// compaction has rows to look at, so that both go on in small steps between the work of others.
    pub fn deadline_ns(&self) -> u64 {
        let waits = self.backend_is_full();
        let behind = self.backend.as_ref().is_some_and(|backend| backend.is_behind(&self.machine.store));
        let busy = behind || (!waits && (self.machine.store.is_compacting() || !self.backlog.is_empty()));
        if busy { self.now.mono_ns } else { self.next_tick_ns }
    }

    pub fn handle(&mut self, input: Input, now: Now) {
        assert!(now.mono_ns >= self.now.mono_ns, "time fell from {} to {}", self.now.mono_ns, now.mono_ns);
        self.now = now;
        self.dirty = true;
        if self.halted {
            return;
        }
        match input {
            Input::Tick => {}
            Input::Propose { id, .. } if self.stopping => self.answer(id, Err(Error::Stopped)),
            // Who gave up is no longer counted as pending, but its record still waits for the disk.
            Input::Propose { id, .. } if self.log.pending_bytes() >= limits::LOG_PENDING_BYTES_MAX => {
                self.answer(id, Err(Error::TooManyRequests));
            }
            Input::Propose { id, .. } if self.space.is_full() => self.answer(id, Err(Error::NoSpace)),
            Input::Propose { id, .. } if self.is_behind() || self.backend_is_full() => {
                self.answer(id, Err(Error::TooManyRequests))
            }
            Input::Propose { id, request } => {
                if let Err(error) = self.proposals.admit(id, request, now.mono_ns) {
                    self.answer(id, Err(error));
                }
            }
            Input::Read { id } => {
                if let Err(error) = self.reads.admit(id, now.mono_ns) {
                    self.effects.push_back(Effect::ReadReady { id, result: Err(error) });
                }
            }
            // Lost, as far as the sender knows: what it brings would keep the log from ever being closed.
            Input::Message(_) if self.stopping => {}
            Input::Message(message) => self.step(message),
            Input::Unreachable { member_id } => self.node.report_unreachable(member_id),
            Input::FileDone { id, result, buf } => {
                if let Err(fatal) = self.log.handle(id, result, buf) {
                    self.fail(fatal.to_string());
                }
            }
            Input::Stop => self.stopping = true,
        }
        self.pass_time();
    }

    /// The next thing to do, until None. Effects may be carried out in any order, except that `Status` and `Answer` are
    /// already true when they are polled.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.dirty {
            self.dirty = false;
            self.pump();
        }
        if let Some(effect) = self.effects.pop_front() {
            return Some(effect);
        }
        if self.halted {
            return None;
        }
        self.log.poll_effect().map(|(id, op)| Effect::File { id, op })
    }

    fn pass_time(&mut self) {
        if self.now.mono_ns < self.next_tick_ns {
            return;
        }
        if !self.stopping {
            self.node.tick();
        }
        // A thread that was held up ticks once, not once for every tick it missed: a burst of ticks would start an
        // election before the heartbeats waiting in the socket are read.
        self.next_tick_ns = self.now.mono_ns + self.config.tick_ns;
        for id in self.proposals.expire(self.now.mono_ns) {
            self.answer(id, Err(Error::Timeout));
        }
        for id in self.reads.expire(self.now.mono_ns) {
            self.effects.push_back(Effect::ReadReady { id, result: Err(Error::Timeout) });
        }
        if self.reads.retry_due(self.now.mono_ns) && !self.status.read_gate_open {
            self.ask_read_index();
        }
    }

    /// Takes work from consensus until there is none, moving it into the log, the network and the state machine.
    fn pump(&mut self) {
        if self.halted {
            return;
        }
        self.watch_space();
        self.watch_disk();
        let mut step = ApplyStep::default();
        while !self.closing {
            self.propose_own();
            self.propose_waiting();
            self.release_persisted();
            // A log that is being closed takes nothing more in, whatever peers still send.
            if self.stopping {
                break;
            }
            let idle = match self.node.take_ready(self.backlog.room()) {
                Some(ready) => self.take(ready),
                None => true,
            };
            self.stepped_bytes = 0;
            let applied = self.apply(&mut step);
            if idle && !applied {
                break;
            }
        }
        // Closed only when consensus has nothing more to say: a completed write makes commits, and they are records too.
        // On a full disk that moment would never come.
        let settled = self.unpersisted.is_empty() || self.log.next_segment_error().is_some();
        if self.stopping && !self.closing && settled {
            self.closing = true;
            self.log.close();
        }
        self.compact();
        self.update_status();
        self.settle_reads();
        if self.closing && self.log.is_closed() && !self.halted {
            self.halted = true;
            for id in self.proposals.drain() {
                self.answer(id, Err(Error::Stopped));
            }
            for id in self.reads.drain() {
                self.effects.push_back(Effect::ReadReady { id, result: Err(Error::Stopped) });
            }
            self.effects.push_back(Effect::Stopped);
        }
    }

    /// Carries out what consensus wants; true when that was nothing.
    fn take(&mut self, ready: consensus::Ready) -> bool {
        let idle = ready.is_idle();
        for entry in &ready.entries {
            if entry.r#type == raftpb::EntryType::ConfChange as i32 {
                self.conf_change_index = self.conf_change_index.max(entry.index);
            }
        }
        if ready.hard_state.is_some() || !ready.entries.is_empty() {
            let seq = self.log.append(ready.hard_state, &ready.entries);
            if ready.must_sync {
                self.last_sync = seq;
            }
        }
        self.effects.extend(ready.messages.into_iter().map(Effect::Send));
        self.wait_until_persisted(ready.number, ready.messages_after_persist);
        for (context, index) in ready.reads {
            self.reads.confirmed(context, index);
        }
        self.publish_early(&ready.entries);
        if !ready.committed.is_empty() {
            self.backlog.push(ready.committed);
        }
        idle
    }

    fn wait_until_persisted(&mut self, ready_number: u64, messages: Vec<raftpb::Message>) {
        let durable_at = self.last_sync;
        if self.unpersisted.len() >= limits::UNPERSISTED_READYS_MAX
            && let Some(newest) = self.unpersisted.back_mut()
        {
            (newest.ready_number, newest.durable_at) = (ready_number, durable_at);
            let room = limits::WAITING_MESSAGES_MAX.saturating_sub(newest.messages.len());
            newest.messages.extend(messages.into_iter().take(room));
            return;
        }
        self.unpersisted.push_back(Unpersisted { ready_number, durable_at, messages });
    }

    fn release_persisted(&mut self) {
        let durable = self.log.durable();
        let unchecked = self.config.canaries().has(Canary::AckBeforeSync);
        let mut number = None;
        while self.unpersisted.front().is_some_and(|u| u.durable_at <= durable || unchecked) {
            let Some(unpersisted) = self.unpersisted.pop_front() else { break };
            self.effects.extend(unpersisted.messages.into_iter().map(Effect::Send));
            number = Some(unpersisted.ready_number);
        }
        if let Some(number) = number {
            self.node.persisted(number);
        }
    }

    /// Applies committed entries as far as the step goes, and shows them. True when that may have made more work for
    /// consensus; false when there is nothing to apply or the rest is for the next step.
    fn apply(&mut self, step: &mut ApplyStep) -> bool {
        if self.backlog.is_empty() {
            self.collect_rows();
            return false;
        }
        let mut applied = false;
        while step.rows > 0 && step.bytes > 0 && !self.backend_is_full() {
            let Some(entry) = self.backlog.front() else { break };
            let (index, term, bytes) = (entry.index, entry.term, entry.data.len());
            step.rows -= 1;
            let applied_now = match self.early.take(index) {
                Some(done) => Ok(Some(done)),
                None => self.machine.apply_step(entry, &|id| self.proposals.is_pending(id), &mut step.rows),
            };
            match applied_now {
                Err(error) => {
                    self.fail(error.to_string());
                    return false;
                }
                Ok(None) => break,
                Ok(Some(done)) => self.settle(done),
            }
            self.backlog.pop();
            step.bytes = step.bytes.saturating_sub(bytes);
            (self.unshown, applied) = (Some((index, term)), true);
        }
        self.collect_rows();
        self.show();
        applied
    }

    fn collect_rows(&mut self) {
        if let Some(backend) = &mut self.backend {
            backend.rows(&self.machine.store);
        }
    }

    fn compact(&mut self) {
        if !self.machine.store.is_compacting() || self.machine.is_mid_entry() || self.backend_is_full() {
            return;
        }
        match &mut self.backend {
            Some(backend) => {
                // Rows first: what is dropped must have been put before.
                backend.rows(&self.machine.store);
                if !backend.is_behind(&self.machine.store) {
                    backend.compact_step(&mut self.machine.store, limits::COMPACTION_STEP_ROWS);
                }
            }
            None => drop(self.machine.store.compact_step(limits::COMPACTION_STEP_ROWS)),
        }
        self.machine.store.publish();
    }

    /// From now on backend operations are collected, the state as it is now first. They must be taken from then on.
    pub fn enable_backend(&mut self) {
        self.backend = Some(Box::new(Backend::new(&self.machine.store, &self.machine.cluster)));
    }

    /// Backend operations since the last batch, up to an entry's end; None when there are none, or when a long entry is
    /// under way.
    pub fn take_backend_batch(&mut self) -> Option<BackendBatch> {
        let backend = self.backend.as_mut()?;
        if self.machine.is_mid_entry() || self.unshown.is_some() || backend.is_behind(&self.machine.store) {
            return None;
        }
        self.dirty = true;
        backend.take(self.applied, self.applied_term)
    }

    /// Apply waits for somebody to take a batch. Not in the middle of an entry, which no batch may end in.
    fn backend_is_full(&self) -> bool {
        self.backend.as_ref().is_some_and(|backend| backend.is_full()) && !self.machine.is_mid_entry()
    }

    /// Takes in what an entry did beside changing the state.
    fn settle(&mut self, Applied { conf_change, request }: Applied) {
        if let Some(backend) = &mut self.backend {
            backend.compaction(&self.machine.store);
            if let Some(change) = &conf_change {
                backend.conf_change(&self.machine.cluster, change.node_id);
            }
            if request.as_ref().is_some_and(|request| request.cluster_changed) {
                backend.cluster(&self.machine.cluster);
            }
        }
        if let Some(change) = conf_change {
            self.node.apply_conf_change(&change);
            self.status.cluster_generation += 1;
            let id = change.node_id;
            self.effects.push_back(Effect::Event(match change.r#type {
                t if t == raftpb::ConfChangeType::RemoveNode as i32 => Event::MemberRemoved { id },
                _ => Event::MemberAdded { id },
            }));
        }
        if let Some(request) = request {
            self.settle_own(&request);
            if self.proposals.complete(request.id)
                && let Some(result) = request.result.transpose()
            {
                self.answers.push((request.id, result));
            }
        }
    }

    /// Makes what was applied visible, then lets its answers go. Not in the middle of an entry, of which nothing may be seen.
    fn show(&mut self) {
        if self.machine.is_mid_entry() {
            return;
        }
        let Some((index, term)) = self.unshown.take() else { return };
        self.machine.store.publish();
        (self.applied, self.applied_term) = (index, term);
        self.node.applied(index);
        self.update_status();
        for (id, result) in std::mem::take(&mut self.answers) {
            self.answer(id, result.map_err(Error::Apply));
        }
        // In strides: dropping one entry per entry applied would touch the log's front every time.
        let keep_from = index.saturating_sub(limits::LOG_CATCH_UP_ENTRIES);
        if keep_from >= self.node.first_held() + limits::LOG_COMPACT_STRIDE_ENTRIES {
            self.node.compact(keep_from);
        }
    }

    /// Apply is so far behind that new requests would only wait: etcd's rule.
    fn is_behind(&self) -> bool {
        self.node.committed().saturating_sub(self.machine.applied()) > limits::APPLY_BACKLOG_ENTRIES_MAX
    }

    /// Publishing this member and deciding the cluster version are proposals of the replica itself.
    fn settle_own(&mut self, request: &Request) {
        let mine = Step::Proposed { id: request.id };
        if self.publish == mine {
            self.publish = Step::Done;
            self.effects.push_back(Effect::Event(Event::Published));
        }
        if let Some(version) = &request.cluster_version {
            let initial = self.set_version != Step::Done;
            self.set_version = Step::Done;
            self.effects.push_back(Effect::Event(Event::ClusterVersion { version: version.clone(), initial }));
        }
        if request.cluster_changed {
            self.status.cluster_generation += 1;
        }
    }

    fn propose_own(&mut self) {
        use etcdserverpb::internal_raft_request::Request as R;
        if self.stopping || self.node.leader() == 0 {
            return;
        }
        if self.publish == Step::Wanted {
            let attributes = membershippb::Attributes {
                name: self.config.name.clone(),
                client_urls: self.config.client_urls.clone(),
            };
            let request = membershippb::ClusterMemberAttrSetRequest {
                member_id: self.config.member_id,
                member_attributes: Some(attributes),
            };
            self.publish = self.propose_as_self(R::ClusterMemberAttrSet(request));
        }
        let leads = self.node.role() == Role::Leader && self.applied_term == self.node.term();
        if self.set_version == Step::Wanted && self.publish == Step::Done && leads {
            let request = membershippb::ClusterVersionSetRequest { ver: CLUSTER_VERSION.into() };
            self.set_version = self.propose_as_self(R::ClusterVersionSet(request));
        }
    }

    fn propose_as_self(&mut self, request: etcdserverpb::internal_raft_request::Request) -> Step {
        let id = self.ids.next_id();
        let header = Some(etcdserverpb::RequestHeader { id, ..Default::default() });
        let request = etcdserverpb::InternalRaftRequest { id: 0, request: Some(request), header };
        match self.proposals.admit_own(id, request.encode_to_vec().into(), self.now.mono_ns) {
            Ok(()) => Step::Proposed { id },
            Err(_) => Step::Wanted,
        }
    }

    /// With no leader, proposals wait (as in etcd) until there is one or their time is up.
    ///
    /// While the disk stands still nothing is proposed: what could not become durable here would only pile up.
    fn propose_waiting(&mut self) {
        if self.node.leader() == 0 || self.stopping || self.stall.is_late() {
            return;
        }
        let mut batch = self.take_fitting();
        batch.extend(self.proposals.take_own());
        if batch.is_empty() {
            return;
        }
        let (ids, payloads): (Vec<u64>, Vec<Bytes>) = batch.into_iter().unzip();
        if self.node.propose(payloads).is_err() {
            for id in ids {
                self.proposals.complete(id);
                self.answer(id, Err(Error::Dropped));
            }
        }
    }

    /// Clients' proposals for which the log has room. Those for which there never will be are refused.
    fn take_fitting(&mut self) -> Vec<(u64, Bytes)> {
        let Some(first_bytes) = self.proposals.next_log_bytes() else { return Vec::new() };
        let room_bytes = self.room(first_bytes).bytes;
        let batch = self.proposals.take_fitting(room_bytes);
        if let Some(bytes) = self.proposals.next_log_bytes() {
            let left_bytes = room_bytes.saturating_sub(proposals::log_bytes_of(&batch));
            if self.judge(bytes, left_bytes) == Verdict::Full {
                for id in self.proposals.refuse_unproposed() {
                    self.answer(id, Err(Error::NoSpace));
                }
            }
        }
        batch
    }

    /// Room in the log, less what consensus was given and the log was not yet.
    fn room(&self, entry_bytes: u64) -> wal::Room {
        let room = self.log.room(entry_bytes);
        wal::Room { bytes: room.bytes.saturating_sub(self.stepped_bytes), ..room }
    }

    fn judge(&mut self, bytes: u64, room_bytes: u64) -> Verdict {
        let was_full = self.space.is_full();
        let verdict = self.space.judge(bytes, room_bytes);
        if self.space.is_full() && !was_full {
            self.effects.push_back(Effect::Event(Event::LogFull));
        }
        verdict
    }

    fn watch_space(&mut self) {
        match self.space.watch(&mut self.log, self.now.mono_ns) {
            None => {}
            Some(Change::Short(errno)) => self.effects.push_back(Effect::Event(Event::LogSpaceShort { errno })),
            Some(Change::Restored) => self.effects.push_back(Effect::Event(Event::LogSpaceRestored)),
        }
    }

    /// A leader whose disk stands still holds everybody up while its heartbeats look healthy: it must go, unless it is alone.
    fn watch_disk(&mut self) {
        let was_late = self.stall.is_late();
        self.stall.watch(&self.log, self.now.mono_ns);
        if was_late != self.stall.is_late() {
            let event = if was_late { Event::DiskRecovered } else { Event::DiskStalled };
            self.effects.push_back(Effect::Event(event));
        }
        if self.node.role() != Role::Leader || self.node.is_sole_voter() {
            return;
        }
        match self.stall.duty() {
            Duty::Nothing => {}
            Duty::HandOver => {
                if let Some(to) = self.node.hand_over() {
                    self.stall.handed_over();
                    self.effects.push_back(Effect::Event(Event::HandedOver { to }));
                }
            }
            Duty::StepDown => {
                self.node.step_down();
                self.effects.push_back(Effect::Event(Event::SteppedDown));
            }
        }
    }

    /// Takes a message, unless it brings entries that the log has no room for: those are lost on the way, as far as raft
    /// knows, and come again. What raft itself writes may use the reserve.
    fn step(&mut self, message: raftpb::Message) {
        if message.entries.is_empty() {
            return self.node.step(message);
        }
        if self.log.pending_bytes() > limits::LOG_PENDING_BYTES_MAX {
            return;
        }
        let bytes: u64 = message.entries.iter().map(|entry| proposals::log_bytes(&entry.data)).sum();
        let room = self.room(bytes);
        let normal = raftpb::EntryType::Normal as i32;
        let own = message.entries.iter().all(|entry| entry.data.is_empty() || entry.r#type != normal);
        let room_bytes = if own { room.bytes + room.reserve_bytes } else { room.bytes };
        if (own && bytes <= room_bytes) || self.judge(bytes, room_bytes) == Verdict::Fits {
            self.stepped_bytes += bytes;
            self.node.step(message);
        }
    }

    fn update_status(&mut self) {
        let before = self.status;
        let leads = self.node.role() == Role::Leader;
        self.status.term = self.node.term();
        self.status.leader = self.node.leader();
        self.status.is_leader = leads;
        self.status.is_learner = !self.node.is_voter();
        self.status.committed = self.node.committed();
        self.status.applied = self.applied;
        // The cluster version is decided in the next batch; waiting for it spares clients a server that knows none.
        self.status.ready = self.publish == Step::Done && self.machine.cluster.version().is_some();
        self.status.log_full = self.space.is_full();
        self.status.disk_stalled = self.stall.is_late();
        self.status.pending = self.proposals.len() as u64;
        self.status.read_gate_open = leads
            && self.node.is_sole_voter()
            && self.applied_term == self.status.term
            && self.applied >= self.conf_change_index;
        if self.status == before {
            return;
        }
        if before.leader != self.status.leader {
            let (from, to, term) = (before.leader, self.status.leader, self.status.term);
            if leads && !before.is_leader {
                self.effects.push_back(Effect::Event(Event::BecameLeader { term }));
            }
            self.effects.push_back(Effect::Event(Event::LeaderChanged { from, to, term }));
            if from != 0 {
                for id in self.reads.drain() {
                    self.effects.push_back(Effect::ReadReady { id, result: Err(Error::LeaderChanged) });
                }
            }
        }
        self.effects.push_back(Effect::Status(self.status));
    }

    fn settle_reads(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let ready = if self.status.read_gate_open {
            self.reads.drain()
        } else {
            if self.reads.wants_round() && self.node.leader() != 0 {
                self.ask_read_index();
                self.dirty = true;
            }
            self.reads.take_applied(self.applied)
        };
        for id in ready {
            self.effects.push_back(Effect::ReadReady { id, result: Ok(()) });
        }
    }

    fn ask_read_index(&mut self) {
        // The crate drops the request before the first commit of a term; `retry_due` brings it back.
        let context = self.ids.next_id();
        if self.reads.start_round(context, self.now.mono_ns) {
            self.node.read_index(context);
            if self.config.canaries().has(Canary::ReadIndexBeforeCommit) && self.node.role() == Role::Leader {
                self.reads.confirmed(context, self.node.committed());
            }
        }
    }

    fn answer(&mut self, id: u64, result: Result<kv::Answer, Error>) {
        if RequestIds::lane_of(id, self.config.id_lanes) == self.config.id_lanes - 1 {
            // The replica's own proposal: what was not done, whatever the reason, is still wanted.
            for step in [&mut self.publish, &mut self.set_version] {
                if result.is_err() && *step == (Step::Proposed { id }) {
                    *step = Step::Wanted;
                }
            }
            return;
        }
        self.effects.push_back(Effect::Answer { id, result });
    }

    fn fail(&mut self, why: String) {
        if !self.halted {
            self.halted = true;
            self.effects.push_back(Effect::Fatal(why));
        }
    }
}
