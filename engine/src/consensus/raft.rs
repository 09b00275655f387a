//! Door: the `raft` crate (raft-rs). Translates between its types and ours and keeps its calling rules in one place:
//! a Ready is taken, made readable and advanced without a step or propose in between; persistence is reported later, in
//! order; the crate's random election timeout is replaced by one drawn from our own seed, so that a run can be repeated.
//!
//! Conf changes keep Go's bytes everywhere outside. Inside the crate an entry carries a raft-rs-numbered equivalent in
//! `data` and the original bytes in `context`, because raft-rs numbers "add learner" 2 where Go has 3.

use super::log::LogStore;
use crate::pb::raftpb;
use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb;
use raft::{Config, RaftState, RawNode, ReadOnlyOption, StateRole};
use std::collections::VecDeque;

/// Bytes of entries in one append message (etcd's maxSizePerMsg). The crate's default of 0 would mean one entry each.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Append messages under way to one follower, count (etcd's maxInflightMsgs).
const MESSAGES_INFLIGHT_MAX: usize = 512;
/// Bytes of committed entries handed out by one Ready: bounds the work between two looks at the clock.
const COMMITTED_BYTES_PER_READY_MAX: u64 = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

/// What consensus starts from: a log's tail and the state at `applied`.
pub struct Boot {
    pub id: u64,
    pub election_ticks: usize,
    pub heartbeat_ticks: usize,
    pub pre_vote: bool,
    pub hard_state: raftpb::HardState,
    /// Entries up to here are in the state machine already.
    pub applied: u64,
    /// Index and term of the entry before the first of `entries`.
    pub prev_index: u64,
    pub prev_term: u64,
    pub entries: Vec<raftpb::Entry>,
    pub conf_state: raftpb::ConfState,
    pub seed: u64,
}

/// Work taken from consensus, in our own types. See `Node::take_ready`.
#[derive(Debug, Default)]
pub struct Ready {
    /// Reported back through `Node::persisted` once everything below is durable.
    pub number: u64,
    pub hard_state: Option<raftpb::HardState>,
    pub entries: Vec<raftpb::Entry>,
    /// Entries, term or vote must be durable before this Ready counts as persisted; a commit index alone need not be.
    pub must_sync: bool,
    /// May leave at once (a leader's).
    pub messages: Vec<raftpb::Message>,
    /// May leave only when this Ready is durable.
    pub messages_after_persist: Vec<raftpb::Message>,
    pub committed: Vec<raftpb::Entry>,
    /// Read requests confirmed by a quorum: context and the index to wait for.
    pub reads: Vec<(u64, u64)>,
}

impl Ready {
    /// Nothing to do but to report it persisted.
    pub fn is_idle(&self) -> bool {
        self.hard_state.is_none()
            && self.entries.is_empty()
            && self.messages.is_empty()
            && self.messages_after_persist.is_empty()
            && self.committed.is_empty()
            && self.reads.is_empty()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// No leader is known, or leadership is being handed over. Nothing was appended.
    Dropped,
}

pub struct Node {
    raw: RawNode<LogStore>,
    rng: XorShift,
    election_ticks: usize,
    /// The timeout we set; when the crate has drawn its own, it differs and is replaced.
    timeout_ticks: usize,
    /// Ready numbers taken and not yet reported durable.
    unpersisted: VecDeque<u64>,
}

impl Node {
    pub fn new(boot: Boot) -> Result<Self, String> {
        let config = Config {
            id: boot.id,
            election_tick: boot.election_ticks,
            heartbeat_tick: boot.heartbeat_ticks,
            applied: boot.applied,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: MESSAGES_INFLIGHT_MAX,
            check_quorum: true,
            pre_vote: boot.pre_vote,
            read_only_option: ReadOnlyOption::Safe,
            max_committed_size_per_ready: COMMITTED_BYTES_PER_READY_MAX,
            ..Config::default()
        };
        let mut hard_state = eraftpb::HardState::default();
        (hard_state.term, hard_state.vote, hard_state.commit) =
            (boot.hard_state.term, boot.hard_state.vote, boot.hard_state.commit);
        let mut conf_state = eraftpb::ConfState::default();
        conf_state.set_voters(boot.conf_state.voters.clone());
        conf_state.set_learners(boot.conf_state.learners.clone());
        let entries = boot.entries.into_iter().map(entry_in).collect::<Result<Vec<_>, _>>()?;
        let store = LogStore::new(boot.prev_index, boot.prev_term, entries, RaftState { hard_state, conf_state });
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, store, &logger).map_err(|e| format!("consensus refuses to start: {e}"))?;
        let mut node = Self {
            raw,
            rng: XorShift::new(boot.seed ^ boot.id),
            election_ticks: boot.election_ticks,
            timeout_ticks: 0,
            unpersisted: VecDeque::new(),
        };
        node.pin_timeout();
        Ok(node)
    }

    pub fn tick(&mut self) {
        self.raw.tick();
        self.pin_timeout();
    }

    /// Starts an election now. A sole voter may call it as soon as its boot entries are applied; before that the crate
    /// would quietly do nothing.
    pub fn campaign(&mut self) {
        // The only error is a message from a higher term, which a local hup is not.
        let _ = self.raw.campaign();
        self.pin_timeout();
    }

    /// Appends these payloads as normal entries in one step: a turn's proposals cost one pass through the crate.
    pub fn propose(&mut self, payloads: Vec<Bytes>) -> Result<(), ProposeError> {
        let entries = payloads.into_iter().map(|data| eraftpb::Entry { data, ..Default::default() });
        let mut message = eraftpb::Message::default();
        message.set_msg_type(eraftpb::MessageType::MsgPropose);
        message.from = self.raw.raft.id;
        message.entries = entries.collect();
        self.raw.raft.step(message).map_err(|_| ProposeError::Dropped)
    }

    /// Steps a message from another member. Kinds that no peer may send, and kinds unknown to us, are dropped.
    pub fn step(&mut self, message: raftpb::Message) {
        if let Ok(message) = message_in(message) {
            // Errors here mean "not for us now" (unknown peer, lower term): dropping is the protocol's answer.
            let _ = self.raw.step(message);
            self.pin_timeout();
        }
    }

    /// Asks for a quorum's confirmation of our commit index. raft-rs silently drops the request before the first commit
    /// of a term, so the caller repeats it until `Ready::reads` answers.
    pub fn read_index(&mut self, context: u64) {
        self.raw.read_index(context.to_be_bytes().to_vec());
    }

    /// Hands leadership to the voter that is furthest of those heard of lately; its id, or None when there is none. Until it
    /// has taken over, or an election timeout is gone, this leader accepts no proposals.
    pub fn hand_over(&mut self) -> Option<u64> {
        let (id, voters) = (self.raw.raft.id, self.raw.raft.prs().conf().voters());
        let alive = |peer: &(&u64, &raft::Progress)| *peer.0 != id && peer.1.recent_active && voters.contains(*peer.0);
        let (&heir, _) = self.raw.raft.prs().iter().filter(alive).max_by_key(|(other, p)| (p.matched, **other))?;
        self.raw.transfer_leader(heir);
        Some(heir)
    }

    /// Stops leading without a successor: the others elect one when they miss the heartbeats.
    pub fn step_down(&mut self) {
        assert!(self.raw.raft.state == StateRole::Leader, "only a leader can step down");
        let term = self.raw.raft.term;
        self.raw.raft.become_follower(term, 0);
        self.pin_timeout();
    }

    pub fn report_unreachable(&mut self, member_id: u64) {
        self.raw.report_unreachable(member_id);
    }

    /// The next piece of work, or None. Entries are readable by consensus when this returns. At most `committed_max`
    /// committed entries are in it; with 0 it may be empty although there is more to come.
    pub fn take_ready(&mut self, committed_max: usize) -> Option<Ready> {
        if !self.raw.has_ready() {
            return None;
        }
        self.raw.store().set_handout_max(committed_max);
        let mut taken = self.raw.ready();
        self.raw.store().set_handout_max(usize::MAX);
        assert!(taken.snapshot().is_empty(), "a snapshot arrived although this build sends and accepts none");
        let mut ready = Ready { number: taken.number(), ..Ready::default() };
        ready.must_sync = taken.must_sync();
        ready.hard_state = taken.hs().map(|h| raftpb::HardState { term: h.term, vote: h.vote, commit: h.commit });
        ready.messages = taken.take_messages().into_iter().map(message_out).collect();
        ready.messages_after_persist = taken.take_persisted_messages().into_iter().map(message_out).collect();
        ready.committed = taken.take_committed_entries().into_iter().map(entry_out).collect();
        ready.reads = taken.read_states().iter().filter_map(|r| Some((context_id(&r.request_ctx)?, r.index))).collect();
        let entries = taken.take_entries();
        self.raw.mut_store().append(&entries);
        ready.entries = entries.into_iter().map(entry_out).collect();
        self.raw.advance_append_async(taken);
        self.unpersisted.push_back(ready.number);
        Some(ready)
    }

    /// Everything up to this Ready is durable. May make more work ready (commits).
    pub fn persisted(&mut self, number: u64) {
        while self.unpersisted.front().is_some_and(|&n| n <= number) {
            self.unpersisted.pop_front();
        }
        self.raw.on_persist_ready(number);
    }

    /// Entries up to `index` are in the state machine.
    pub fn applied(&mut self, index: u64) {
        self.raw.advance_apply_to(index);
    }

    /// Drops entries up to `index` from memory (not from disk).
    pub fn compact(&mut self, index: u64) {
        self.raw.mut_store().compact(index);
    }

    /// Index of the oldest entry held in memory.
    pub fn first_held(&self) -> u64 {
        self.raw.store().first_held()
    }

    /// Applies a committed conf change (Go's numbering) and answers the new configuration.
    pub fn apply_conf_change(&mut self, change: &raftpb::ConfChange) -> raftpb::ConfState {
        let state = self
            .raw
            .apply_conf_change(&conf_change_in(change))
            .unwrap_or_else(|e| panic!("a committed conf change cannot be applied: {e}"));
        raftpb::ConfState { voters: state.voters.clone(), learners: state.learners.clone(), ..Default::default() }
    }

    pub fn role(&self) -> Role {
        match self.raw.raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        }
    }

    /// Member id of the leader, 0 when none is known.
    pub fn leader(&self) -> u64 {
        self.raw.raft.leader_id
    }

    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    pub fn committed(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    pub fn last_index(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    /// True when this leader has committed an entry of its own term: from then on its commit index is authoritative.
    pub fn committed_in_term(&self) -> bool {
        self.raw.raft.commit_to_current_term()
    }

    pub fn is_voter(&self) -> bool {
        self.raw.raft.prs().conf().voters().contains(self.raw.raft.id)
    }

    pub fn is_sole_voter(&self) -> bool {
        let voters = self.raw.raft.prs().conf().voters();
        voters.ids().iter().count() == 1 && self.is_voter()
    }

    /// The crate draws a random timeout from the operating system at every reset; put one from our seed in its place.
    fn pin_timeout(&mut self) {
        if self.raw.raft.randomized_election_timeout() != self.timeout_ticks {
            self.timeout_ticks = self.election_ticks + self.rng.below(self.election_ticks as u64) as usize;
            self.raw.raft.set_randomized_election_timeout(self.timeout_ticks);
        }
    }
}

fn context_id(context: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(context.try_into().ok()?))
}

fn entry_in(entry: raftpb::Entry) -> Result<eraftpb::Entry, String> {
    let mut inner = eraftpb::Entry { term: entry.term, index: entry.index, data: entry.data, ..Default::default() };
    match raftpb::EntryType::try_from(entry.r#type) {
        Ok(raftpb::EntryType::Normal) => {}
        Ok(raftpb::EntryType::ConfChange) => {
            let change = raftpb::ConfChange::decode(inner.data.clone())
                .map_err(|e| format!("entry {}: unreadable conf change: {e}", entry.index))?;
            inner.set_entry_type(eraftpb::EntryType::EntryConfChange);
            let renumbered = conf_change_in(&change);
            let renumbered = raftpb::ConfChange {
                id: renumbered.id,
                r#type: renumbered.get_change_type() as i32,
                node_id: renumbered.node_id,
                context: Bytes::new(),
            };
            inner.context = std::mem::replace(&mut inner.data, renumbered.encode_to_vec().into());
        }
        _ => return Err(format!("entry {}: entry type {} is not used by etcd", entry.index, entry.r#type)),
    }
    Ok(inner)
}

fn entry_out(mut entry: eraftpb::Entry) -> raftpb::Entry {
    let kind = match entry.get_entry_type() {
        eraftpb::EntryType::EntryNormal => raftpb::EntryType::Normal,
        // The crate replaces a second pending conf change by an empty normal entry, which keeps a stale context.
        eraftpb::EntryType::EntryConfChange => {
            entry.data = std::mem::take(&mut entry.context);
            raftpb::EntryType::ConfChange
        }
        eraftpb::EntryType::EntryConfChangeV2 => unreachable!("no conf change of version 2 is ever let in"),
    };
    raftpb::Entry { r#type: kind as i32, term: entry.term, index: entry.index, data: entry.data }
}

fn conf_change_in(change: &raftpb::ConfChange) -> eraftpb::ConfChange {
    let mut inner = eraftpb::ConfChange { id: change.id, node_id: change.node_id, ..Default::default() };
    let kind = match raftpb::ConfChangeType::try_from(change.r#type) {
        Ok(raftpb::ConfChangeType::AddNode) => eraftpb::ConfChangeType::AddNode,
        Ok(raftpb::ConfChangeType::RemoveNode) => eraftpb::ConfChangeType::RemoveNode,
        Ok(raftpb::ConfChangeType::AddLearnerNode) => eraftpb::ConfChangeType::AddLearnerNode,
        // An update changes nothing for raft; node 0 is the crate's no-op.
        Ok(raftpb::ConfChangeType::UpdateNode) | Err(_) => {
            inner.node_id = 0;
            eraftpb::ConfChangeType::AddNode
        }
    };
    inner.set_change_type(kind);
    inner
}

/// Message kinds a peer may send. Local ones and those of newer raft libraries are dropped.
fn message_in(message: raftpb::Message) -> Result<eraftpb::Message, ()> {
    use raftpb::MessageType as T;
    let kind = match T::try_from(message.r#type) {
        Ok(T::Prop) => eraftpb::MessageType::MsgPropose,
        Ok(T::App) => eraftpb::MessageType::MsgAppend,
        Ok(T::AppResp) => eraftpb::MessageType::MsgAppendResponse,
        Ok(T::Vote) => eraftpb::MessageType::MsgRequestVote,
        Ok(T::VoteResp) => eraftpb::MessageType::MsgRequestVoteResponse,
        Ok(T::Heartbeat) => eraftpb::MessageType::MsgHeartbeat,
        Ok(T::HeartbeatResp) => eraftpb::MessageType::MsgHeartbeatResponse,
        Ok(T::TransferLeader) => eraftpb::MessageType::MsgTransferLeader,
        Ok(T::TimeoutNow) => eraftpb::MessageType::MsgTimeoutNow,
        Ok(T::ReadIndex) if message.entries.len() == 1 => eraftpb::MessageType::MsgReadIndex,
        Ok(T::ReadIndexResp) if message.entries.len() == 1 => eraftpb::MessageType::MsgReadIndexResp,
        Ok(T::PreVote) => eraftpb::MessageType::MsgRequestPreVote,
        Ok(T::PreVoteResp) => eraftpb::MessageType::MsgRequestPreVoteResponse,
        _ => return Err(()),
    };
    let mut inner = eraftpb::Message {
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
        ..Default::default()
    };
    inner.set_msg_type(kind);
    inner.entries = message.entries.into_iter().map(entry_in).collect::<Result<Vec<_>, _>>().map_err(|_| ())?.into();
    Ok(inner)
}

/// The crate's own fields (priority, commit term, snapshot requests) stay behind: Go would misread some of them.
fn message_out(message: eraftpb::Message) -> raftpb::Message {
    use raftpb::MessageType as T;
    let kind = match message.get_msg_type() {
        eraftpb::MessageType::MsgHup => T::Hup,
        eraftpb::MessageType::MsgBeat => T::Beat,
        eraftpb::MessageType::MsgPropose => T::Prop,
        eraftpb::MessageType::MsgAppend => T::App,
        eraftpb::MessageType::MsgAppendResponse => T::AppResp,
        eraftpb::MessageType::MsgRequestVote => T::Vote,
        eraftpb::MessageType::MsgRequestVoteResponse => T::VoteResp,
        eraftpb::MessageType::MsgSnapshot => T::Snap,
        eraftpb::MessageType::MsgHeartbeat => T::Heartbeat,
        eraftpb::MessageType::MsgHeartbeatResponse => T::HeartbeatResp,
        eraftpb::MessageType::MsgUnreachable => T::Unreachable,
        eraftpb::MessageType::MsgSnapStatus => T::SnapStatus,
        eraftpb::MessageType::MsgCheckQuorum => T::CheckQuorum,
        eraftpb::MessageType::MsgTransferLeader => T::TransferLeader,
        eraftpb::MessageType::MsgTimeoutNow => T::TimeoutNow,
        eraftpb::MessageType::MsgReadIndex => T::ReadIndex,
        eraftpb::MessageType::MsgReadIndexResp => T::ReadIndexResp,
        eraftpb::MessageType::MsgRequestPreVote => T::PreVote,
        eraftpb::MessageType::MsgRequestPreVoteResponse => T::PreVoteResp,
    };
    raftpb::Message {
        r#type: kind as i32,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.entries.into_iter().map(entry_out).collect(),
        // Votes carry raft-rs's commit for its own fast path; Go sends zero there.
        commit: if matches!(kind, T::Vote | T::PreVote) { 0 } else { message.commit },
        snapshot: None,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
    }
}

/// A small deterministic generator; quality matters little for spreading election timeouts.
struct XorShift(u64);

impl XorShift {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}
