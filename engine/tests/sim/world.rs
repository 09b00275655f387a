//! The world of one run: members, network, clients and time, moved by a queue of events. One thread, one seed; an order of
//! events that depends on anything else is a defect. It watches what must hold at any moment; what must hold of a whole
//! history is judged when the run is over.

use crate::faults;
use crate::member::{Crash, Member};
use crate::network::Network;
use crate::plan::Plan;
use crate::random::Rng;
use crate::verdict;
use crate::workload::{self, Action, Seen, Workload};
use engine::apply::mvcc::KvHash;
use engine::pb::etcdserverpb::RangeRequest;
use engine::pb::raftpb::{Entry, HardState, Message};
use engine::replica::{Effect, Input, Replica, Status};
use prost::Message as _;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::rc::Rc;

/// After the last fault, how long the members have to agree, in nanoseconds of the run.
const SETTLE_NS_MAX: u64 = 60_000_000_000;
/// How often it is looked whether they have.
const SETTLE_LOOK_NS: u64 = 100_000_000;
/// Events in one run, count: more means that the members keep each other busy for nothing.
const EVENTS_MAX: u64 = 2_000_000;
/// After a start that was rightly refused, when the next is made, in nanoseconds.
const START_AGAIN_NS: u64 = 300_000_000;
/// Calls of one client under way at once, count.
const CALLS_PER_CLIENT_MAX: usize = 5;

/// What was found wrong, by the means that found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something acknowledged is gone, or something refused is there.
    Ledger,
    Linearizability,
    RefusedStart,
    HashKv,
    LogMatching,
    TwoLeaders,
    RevisionFell,
    /// No answer, two answers, or an answer to nobody.
    Answers,
    /// A member stopped without reason.
    Stopped,
    /// The members do not come to rest.
    Liveness,
    /// The engine's own asserts.
    Panic,
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub kind: Kind,
    pub why: String,
}

impl Failure {
    pub fn new(kind: Kind, why: String) -> Self {
        Self { kind, why }
    }
}

/// What happened, line by line; empty unless asked for. Shared, so that it is there when the run panics.
#[derive(Clone, Default)]
pub struct Transcript(Option<Rc<RefCell<String>>>);

impl Transcript {
    pub fn on() -> Self {
        Self(Some(Rc::default()))
    }

    pub fn text(&self) -> String {
        self.0.as_ref().map_or_else(String::new, |text| text.borrow().clone())
    }
}

#[expect(clippy::large_enum_variant, reason = "moved once; a box would cost an allocation per message")]
pub enum Event {
    Timer {
        at: usize,
        life: u64,
    },
    Turn {
        at: usize,
        life: u64,
    },
    Deliver(Message),
    Disk {
        at: usize,
        life: u64,
    },
    Client,
    Fault,
    Start {
        at: usize,
    },
    /// A member's disk has space again.
    Space {
        at: usize,
    },
    /// Faults and clients end.
    Heal,
    Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Faults,
    Settling,
    /// Reading everything a last time, as a client.
    LastReads,
    Over,
}

pub struct World {
    pub plan: Plan,
    pub rng: Rng,
    pub now_ns: u64,
    pub phase: Phase,
    pub members: Vec<Member>,
    pub network: Network,
    pub workload: Workload,
    events: BTreeMap<(u64, u64), Event>,
    events_planned: u64,
    /// Orders starts and ends of calls.
    moment: u64,
    failure: Option<Failure>,
    leaders: BTreeMap<u64, u64>,
    hashes: BTreeMap<u64, (KvHash, u64)>,
    /// Checksum of the entry with an index and term, and of the committed one with an index.
    entries: HashMap<(u64, u64), u32>,
    committed: BTreeMap<u64, (u64, u32)>,
    transcript: Transcript,
}

/// What a run was like, if nothing was wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Census {
    pub events: u64,
    pub calls: usize,
    pub answered: usize,
    pub terms: usize,
    pub starts: u64,
    pub refused: usize,
}

pub fn run(plan: Plan, transcript: Transcript) -> Result<Census, Failure> {
    let mut world = World::new(plan, transcript);
    world.begin();
    let mut events = 0;
    while world.failure.is_none() && world.phase != Phase::Over {
        let Some(((at_ns, _), event)) = world.events.pop_first() else { break };
        world.now_ns = at_ns;
        world.dispatch(event);
        events += 1;
        if events > EVENTS_MAX {
            world.fail(Kind::Liveness, format!("more than {EVENTS_MAX} events"));
        }
    }
    if let Some(failure) = world.failure.take() {
        return Err(failure);
    }
    verdict::judge(&mut world)?;
    Ok(Census {
        events,
        calls: world.workload.history.len(),
        answered: world.workload.history.iter().filter(|op| op.seen.is_some()).count(),
        terms: world.leaders.len(),
        starts: world.members.iter().map(|m| m.life).sum(),
        refused: world.members.iter().filter(|m| m.is_out).count(),
    })
}

impl World {
    fn new(plan: Plan, transcript: Transcript) -> Self {
        Self {
            rng: Rng::new(plan.seed),
            now_ns: 0,
            phase: Phase::Faults,
            members: (1..=plan.members as u64).map(|id| Member::new(id, plan.seed)).collect(),
            network: Network::new(&plan),
            workload: Workload::new(&plan),
            events: BTreeMap::new(),
            events_planned: 0,
            moment: 0,
            failure: None,
            leaders: BTreeMap::new(),
            hashes: BTreeMap::new(),
            entries: HashMap::new(),
            committed: BTreeMap::new(),
            transcript,
            plan,
        }
    }

    fn begin(&mut self) {
        let plan = format!("{:?}", self.plan);
        self.note(format_args!("{plan}"));
        for at in 0..self.members.len() {
            self.plan_event(0, Event::Start { at });
        }
        for _ in 0..self.plan.clients {
            self.plan_event(500_000_000, Event::Client);
        }
        self.plan_event(self.plan.fault_gap_ns_max / 2, Event::Fault);
        self.plan_event(self.plan.end_ns, Event::Heal);
    }

    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        if let Some(text) = &self.transcript.0 {
            writeln!(text.borrow_mut(), "{:>12} {what}", self.now_ns / 1000).expect("memory");
        }
    }

    pub fn fail(&mut self, kind: Kind, why: String) {
        self.note(format_args!("FAILED {kind:?}: {why}"));
        self.failure.get_or_insert(Failure { kind, why });
    }

    pub fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    pub fn plan_event(&mut self, in_ns: u64, event: Event) {
        self.events_planned += 1;
        self.events.insert((self.now_ns + in_ns, self.events_planned), event);
    }

    fn moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    fn dispatch(&mut self, event: Event) {
        let target = match &event {
            Event::Timer { at, life } | Event::Turn { at, life } | Event::Disk { at, life } => {
                if self.members[*at].life != *life {
                    return;
                }
                Some(*at)
            }
            Event::Deliver(message) => Some(message.to as usize - 1),
            _ => None,
        };
        if let Some(until_ns) = target.map(|at| self.members[at].paused_until_ns).filter(|ns| *ns > self.now_ns) {
            let late_ns = self.rng.below(1_000_000);
            return self.plan_event(until_ns - self.now_ns + late_ns, event);
        }
        match event {
            Event::Timer { at, .. } => {
                self.members[at].timer_ns = None;
                self.input(at, Input::Tick);
            }
            Event::Turn { at, .. } => {
                self.members[at].turn_planned = false;
                self.effects(at);
            }
            Event::Deliver(message) => {
                // What travels is bytes: encode and decode as the wire would.
                let message = Message::decode(message.encode_to_vec().as_slice()).expect("just encoded");
                self.input(message.to as usize - 1, Input::Message(message));
            }
            Event::Disk { at, .. } => {
                if let Some((id, result, buf)) = self.members[at].disk.complete() {
                    self.input(at, Input::FileDone { id, result, buf });
                }
            }
            Event::Client => self.client(),
            Event::Fault => faults::happen(self),
            Event::Start { at } => self.start(at),
            Event::Space { at } => self.members[at].set_full(false),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    pub fn input(&mut self, at: usize, input: Input) {
        let member = &mut self.members[at];
        let now = member.now(self.now_ns);
        let Some(replica) = &mut member.replica else { return };
        replica.handle(input, now);
        if self.rng.percent(60) {
            self.effects(at);
        } else if !self.members[at].turn_planned {
            // A turn takes in more before its effects are looked at.
            self.members[at].turn_planned = true;
            let (in_ns, life) = (self.rng.below(300_000), self.members[at].life);
            self.plan_event(in_ns, Event::Turn { at, life });
        }
    }

    fn effects(&mut self, at: usize) {
        while let Some(effect) = self.members[at].replica.as_mut().and_then(Replica::poll_effect) {
            if let Some((left, crash)) = &mut self.members[at].crash_in {
                if *left == 0 {
                    let crash = *crash;
                    return self.crash(at, crash);
                }
                *left -= 1;
            }
            self.effect(at, effect);
        }
        self.plan_timer(at);
    }

    fn effect(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::File { id, op } => {
                let member = &mut self.members[at];
                member.disk.submit(id, op);
                let stall_ns = member.stalled_until_ns.saturating_sub(self.now_ns);
                let (life, in_ns) = (member.life, 10_000 + self.rng.below(self.plan.disk_ns_max));
                self.plan_event(stall_ns + in_ns, Event::Disk { at, life });
            }
            Effect::Send(message) => self.send(at, message),
            Effect::Answer { id, result } => {
                self.note(format_args!("m{} answers {id:x}: {result:?}", at + 1));
                let moment = self.moment();
                if !self.workload.end(id, moment, result.map(|answer| workload::seen_of(&answer))) {
                    self.fail(Kind::Answers, format!("m{} answers {id:x}, for which nobody waits", at + 1));
                }
            }
            Effect::ReadReady { id, result: Ok(()) } => self.read(at, id),
            Effect::ReadReady { id, result: Err(error) } => {
                self.note(format_args!("m{} cannot read for {id:x}: {error:?}", at + 1));
                let moment = self.moment();
                if !self.workload.end(id, moment, Err(error)) {
                    self.fail(Kind::Answers, format!("m{} fails the read {id:x}, for which nobody waits", at + 1));
                }
            }
            Effect::Status(status) => self.status(at, status),
            Effect::Event(event) => self.note(format_args!("m{} {event:?}", at + 1)),
            Effect::Fatal(why) if self.members[at].io_error => {
                self.note(format_args!("m{} stops: {why}", at + 1));
                self.crash(at, Crash::Process);
            }
            Effect::Fatal(why) => self.fail(Kind::Stopped, format!("m{} stops: {why}", at + 1)),
            Effect::Stopped => {
                self.note(format_args!("m{} has stopped", at + 1));
                self.crash(at, Crash::Process);
            }
        }
    }

    fn send(&mut self, at: usize, message: Message) {
        let fate = self.network.fate(&message, self.now_ns, &mut self.rng);
        let reported = fate[0].is_none() && self.rng.percent(50);
        if reported && self.members[at].is_up() {
            let (member_id, now) = (message.to, self.members[at].now(self.now_ns));
            let replica = self.members[at].replica.as_mut().expect("up");
            replica.handle(Input::Unreachable { member_id }, now);
        }
        for in_ns in fate.into_iter().flatten() {
            self.plan_event(in_ns, Event::Deliver(message.clone()));
        }
    }

    fn status(&mut self, at: usize, status: Status) {
        let member = &mut self.members[at];
        member.status = status;
        let Some(replica) = &member.replica else { return };
        // The effect may be older than the store by now: both are looked at as they are.
        let (applied, mut reader) = (replica.status().applied, replica.reader());
        let revision = reader.pin().revision();
        let before = std::mem::replace(&mut member.revision, revision);
        if revision < before {
            self.fail(Kind::RevisionFell, format!("revision of m{} fell from {before} to {revision}", at + 1));
        }
        if status.is_leader {
            let id = at as u64 + 1;
            let known = *self.leaders.entry(status.term).or_insert(id);
            if known != id {
                self.fail(Kind::TwoLeaders, format!("m{known} and m{id} both lead in term {}", status.term));
            }
        }
        // Hashing is work: at some indices, the same for all.
        if applied % 3 == 0 {
            let hash = reader.pin().hash_of_rows();
            let (known, id) = *self.hashes.entry(applied).or_insert((hash, at as u64 + 1));
            if known != hash {
                let why = format!("at index {applied} m{id} has {known:?} and m{} {hash:?}", at + 1);
                self.fail(Kind::HashKv, why);
            }
        }
    }

    pub fn crash(&mut self, at: usize, crash: Crash) {
        self.note(format_args!("m{} ends: {crash:?}", at + 1));
        self.members[at].crash(crash);
        let id = self.members[at].id;
        self.workload.forget(|request| request >> 48 == id);
        let in_ns = 10_000_000 + self.rng.below(2_000_000_000);
        self.plan_event(in_ns, Event::Start { at });
    }

    fn start(&mut self, at: usize) {
        if self.members[at].is_up() || self.members[at].is_out {
            return;
        }
        // What the log holds is looked at now and then; not always, since reading it repairs it.
        let fit = !self.members[at].damaged && !self.members[at].is_full;
        if self.members[at].life > 0 && fit && self.rng.percent(30) {
            let plan = self.plan.clone();
            match self.members[at].read_log(&plan) {
                Ok((entries, state)) => self.match_log(at, &entries, state),
                Err(failure) if failure.why.contains("no write-ahead log") => {}
                Err(failure) => return self.fail(failure.kind, failure.why),
            }
        }
        let faults = self.phase == Phase::Faults;
        match self.members[at].start(&self.plan, faults, self.now_ns, &mut self.rng) {
            Ok(true) => {
                self.note(format_args!("m{} starts", at + 1));
                self.effects(at);
            }
            Ok(false) => {
                self.note(format_args!("m{} refuses to start, rightly", at + 1));
                self.plan_event(START_AGAIN_NS, Event::Start { at });
            }
            Err(failure) => self.fail(failure.kind, failure.why),
        }
    }

    /// Log matching: same index and term, same entry; and one committed entry per index, for all members and times.
    pub fn match_log(&mut self, at: usize, entries: &[Entry], state: HardState) {
        for entry in entries {
            let crc = crc32c::crc32c(&entry.encode_to_vec());
            if *self.entries.entry((entry.index, entry.term)).or_insert(crc) != crc {
                let why = format!("m{}: entry {} of term {} is another elsewhere", at + 1, entry.index, entry.term);
                return self.fail(Kind::LogMatching, why);
            }
        }
        let mut last = BTreeMap::new();
        for entry in entries.iter().filter(|e| e.index <= state.commit) {
            last.insert(entry.index, (entry.term, crc32c::crc32c(&entry.encode_to_vec())));
        }
        for (index, entry) in last {
            if *self.committed.entry(index).or_insert(entry) != entry {
                let why = format!("m{}: committed entry {index} is another elsewhere", at + 1);
                return self.fail(Kind::LogMatching, why);
            }
        }
    }

    fn plan_timer(&mut self, at: usize) {
        let member = &self.members[at];
        let Some(replica) = &member.replica else { return };
        let due_ns = replica.deadline_ns().max(self.now_ns + 1);
        if member.timer_ns.is_some_and(|planned_ns| planned_ns <= due_ns) {
            return;
        }
        let life = member.life;
        self.members[at].timer_ns = Some(due_ns);
        self.plan_event(due_ns - self.now_ns, Event::Timer { at, life });
    }

    fn client(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let in_ns = 1_000_000 + self.rng.below(self.plan.op_gap_ns_max);
        self.plan_event(in_ns, Event::Client);
        let at = self.rng.index(self.members.len());
        let calls = if self.rng.percent(self.plan.burst_percent) { self.plan.calls_per_burst } else { 1 };
        for _ in 0..calls {
            if self.members[at].is_up() && self.workload.waiting() < CALLS_PER_CLIENT_MAX * self.plan.clients {
                let (action, request) = self.workload.next(&mut self.rng);
                self.call(at, action, request);
            }
        }
    }

    fn call(
        &mut self,
        at: usize,
        action: Action,
        request: Option<engine::pb::etcdserverpb::internal_raft_request::Request>,
    ) {
        let id = self.members[at].ids.next_id();
        self.note(format_args!("m{} is asked {id:x}: {action:?}", at + 1));
        let moment = self.moment();
        self.workload.begin(id, action, moment);
        match request {
            Some(request) => self.input(at, Input::Propose { id, request: workload::encode(id, request) }),
            // A shard that finds the gate open reads at once.
            None if self.members[at].status.read_gate_open => self.read(at, id),
            None => self.input(at, Input::Read { id }),
        }
    }

    fn read(&mut self, at: usize, id: u64) {
        let Some(replica) = &self.members[at].replica else { return };
        let Some(key) = self.workload.key_read(id) else {
            return self.fail(Kind::Answers, format!("m{} may read for {id:x}, for which nobody waits", at + 1));
        };
        let request = match key {
            Some(key) => RangeRequest { key: key.into(), ..Default::default() },
            None => RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() },
        };
        let range = replica.reader().range(&request, usize::MAX).expect("the current revision is never compacted");
        let seen = Seen::Read { revision: range.revision, rows: range.kvs.iter().map(Into::into).collect() };
        self.note(format_args!("m{} reads for {id:x}: {seen:?}", at + 1));
        let moment = self.moment();
        self.workload.end(id, moment, Ok(seen));
    }

    fn heal(&mut self) {
        self.note(format_args!("all is well from here on"));
        self.phase = Phase::Settling;
        self.network.heal();
        for at in 0..self.members.len() {
            let member = &mut self.members[at];
            (member.crash_in, member.stalled_until_ns) = (None, 0);
            member.set_full(false);
            member.paused_until_ns = member.paused_until_ns.min(self.now_ns);
        }
        self.plan_event(SETTLE_LOOK_NS, Event::Look);
    }

    /// All who can be up are, have answered everybody, and have applied the same.
    fn is_settled(&self) -> bool {
        let mut applied = self.members.iter().filter(|m| !m.is_out).map(|m| {
            let status = m.replica.as_ref().map(|r| *r.status());
            status.filter(|s| s.ready && s.pending == 0).map(|s| (s.applied, s.term))
        });
        let first = applied.next().flatten();
        first.is_some() && applied.all(|other| other == first) && self.workload.is_idle()
    }

    fn look(&mut self) {
        if self.members.iter().all(|m| m.is_out) {
            self.phase = Phase::Over;
        } else if !self.is_settled() {
            if self.now_ns > self.plan.end_ns + SETTLE_NS_MAX {
                let states: Vec<_> = self.members.iter().map(|m| m.replica.as_ref().map(|r| *r.status())).collect();
                let waiting = self.workload.waiting();
                let why = format!("no rest after {SETTLE_NS_MAX} ns: {waiting} calls wait, members: {states:?}");
                self.fail(Kind::Liveness, why);
            }
        } else if self.phase == Phase::Settling {
            self.phase = Phase::LastReads;
            for at in 0..self.members.len() {
                if self.members[at].is_up() {
                    self.call(at, Action::Read { key: None }, None);
                }
            }
        } else {
            self.phase = Phase::Over;
        }
        self.plan_event(SETTLE_LOOK_NS, Event::Look);
    }
}
