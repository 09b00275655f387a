//! Runs that are told what to do, step by step: what the simulator found once and must stay proven, whatever becomes of its
//! seeds. One member alone, since that is enough for each.

use crate::member::{Crash, Member};
use crate::plan::Plan;
use crate::random::Rng;
use crate::workload::encode;
use engine::disk::{EIO, ENOSPC, Fault, OpKind};
use engine::pb::etcdserverpb::{PutRequest, internal_raft_request::Request};
use engine::pb::raftpb::{Message, MessageType};
use engine::replica::{self, Effect, Input, Replica};

/// Turns in which a member must have done what is waited for, count: each is a tick.
const TURNS_MAX: usize = 2_000;

struct Alone {
    plan: Plan,
    member: Member,
    now_ns: u64,
    answered: Vec<u64>,
    /// Told that there is no room.
    refused: Vec<u64>,
    has_stopped: bool,
}

impl Alone {
    fn new(members: usize) -> Self {
        let mut plan = Plan::new(1, members);
        (plan.wal.segment_bytes, plan.wal.batch_bytes_max) = (8192, 4096);
        Self {
            plan,
            member: Member::new(1, 1),
            now_ns: 0,
            answered: Vec::new(),
            refused: Vec::new(),
            has_stopped: false,
        }
    }

    fn start(&mut self) {
        let runs = self.member.start(&self.plan, false, self.now_ns, &mut Rng::new(1)).expect("starts");
        assert!(runs);
    }

    fn input(&mut self, input: Input) {
        let now = self.member.now(self.now_ns);
        self.member.replica.as_mut().expect("runs").handle(input, now);
    }

    fn effects(&mut self) {
        while let Some(effect) = self.member.replica.as_mut().and_then(Replica::poll_effect) {
            match effect {
                Effect::File { id, op } => self.member.disk.submit(id, op),
                Effect::Answer { id, result: Ok(_) } => self.answered.push(id),
                Effect::Answer { id, result: Err(replica::Error::NoSpace) } => self.refused.push(id),
                Effect::Answer { id, result: Err(error) } => panic!("{id:x}: {error:?}"),
                Effect::Fatal(why) => panic!("{why}"),
                Effect::Stopped => self.has_stopped = true,
                Effect::Send(_) | Effect::Status(_) | Effect::Event(_) | Effect::ReadReady { .. } => {}
            }
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS_MAX {
            self.effects();
            if done(self) {
                return;
            }
            while let Some((id, result, buf)) = self.member.disk.complete() {
                self.input(Input::FileDone { id, result, buf });
                self.effects();
            }
            self.now_ns += crate::plan::TICK_NS;
            self.input(Input::Tick);
        }
        panic!("{what} did not come");
    }

    fn put(&mut self) -> u64 {
        let id = self.member.ids.next_id();
        let put = PutRequest { key: "k".into(), value: vec![b'v'; 1000].into(), ..Default::default() };
        self.input(Input::Propose { id, request: encode(id, Request::Put(put)) });
        id
    }

    fn ready(&mut self) {
        self.until("ready", |alone| alone.member.replica.as_ref().is_some_and(|r| r.status().ready));
    }
}

/// Found as: a member that lost power between the creation of its log and the first write into it was one of no cluster.
#[test]
fn a_member_that_loses_power_before_its_first_write_comes_back_as_itself() {
    for members in [1, 5] {
        let mut alone = Alone::new(members);
        alone.start();
        alone.member.crash(Crash::Power);
        alone.start();
        let known = alone.member.replica.as_ref().expect("runs").cluster().members().count();
        assert_eq!(known, members);
    }
}

/// Found as: nobody tried again to make the next segment, so that the log hung at the end of this one.
#[test]
fn the_log_goes_on_when_a_full_disk_has_space_again() {
    for errno in [EIO, ENOSPC] {
        let mut alone = Alone::new(1);
        alone.start();
        alone.member.disk.fail(Fault { kind: OpKind::Create, skip: 0, errno });
        alone.ready();
        let ids: Vec<u64> = (0..40).map(|_| alone.put()).collect();
        alone.until("answers", |alone| alone.answered.len() + alone.refused.len() == ids.len());
        // Room is found at the next try, a second later at most; from then on writes are taken again.
        let before = alone.answered.len();
        alone.until("a write after that", |alone| {
            alone.put();
            alone.answered.len() > before
        });
    }
}

/// Found as: an append from a leader reached a member whose log was being closed, and it panicked.
#[test]
fn a_member_that_is_stopping_ignores_its_peers() {
    let mut alone = Alone::new(3);
    alone.start();
    alone.effects();
    alone.input(Input::Stop);
    let heartbeat =
        Message { r#type: MessageType::Heartbeat as i32, to: 1, from: 2, term: 9, commit: 3, ..Message::default() };
    alone.input(Input::Message(heartbeat));
    alone.until("the end", |alone| alone.has_stopped);
}
