//! One thread's loop over the roles it was given: completions, shard, driver, effects, sends, one enter of the kernel.
//! Both roles on one thread exchange requests and answers without a queue between them.

use crate::driver::{Driver, Flow};
use crate::exchange::{FromRaft, ToRaft};
use crate::mailbox::{Receiver, Sender};
use crate::ops::notify::{State, notify};
use crate::reactor::{self, AnyReactor, ConnId, Handler, ListenerId, Reactor, Waker};
use crate::shard::Shard;
use engine::disk::AlignedBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// How long draining may take before connections are cut, in nanoseconds: the longest a request may wait for its answer
/// with default timings (5 s and two election timeouts).
const DRAIN_NS_MAX: u64 = 7_000_000_000;

/// The end of the process, as all its threads see it.
#[derive(Debug, Default)]
pub struct Lifecycle {
    stopping: AtomicBool,
    /// Shards that have not finished their calls yet; the raft role closes the log after the last of them.
    shards_draining: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
}

impl Lifecycle {
    pub fn new(shards: usize) -> Self {
        Self { shards_draining: AtomicUsize::new(shards), ..Self::default() }
    }

    /// Makes sure the thread behind this waker hears of the end.
    pub fn enlist(&self, waker: Waker) {
        self.wakers.lock().expect("no holder of this lock panics").push(waker);
    }

    /// Starts the orderly end. Calling it again changes nothing.
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.wake_all();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    fn shard_drained(&self) {
        self.shards_draining.fetch_sub(1, SeqCst);
        self.wake_all();
    }

    fn wake_all(&self) {
        for waker in self.wakers.lock().expect("no holder of this lock panics").iter() {
            waker.wake();
        }
    }
}

/// The shard role on this thread, and its way to a raft role on another one.
pub struct ShardSide {
    pub shard: Shard,
    /// Which lane of request ids, and which entry of `RaftSide::shards`, is this shard's.
    pub lane: usize,
    /// None when this thread has the raft role too.
    pub remote: Option<RemoteRaft>,
}

pub struct RemoteRaft {
    pub requests: Sender<ToRaft>,
    pub answers: Receiver<FromRaft>,
}

/// The raft role on this thread, and its ways to shards on others.
pub struct RaftSide {
    pub driver: Driver,
    pub requests: Option<Receiver<ToRaft>>,
    /// By lane; None for the shard on this thread.
    pub shards: Vec<Option<Sender<FromRaft>>>,
}

pub struct Core {
    reactor: AnyReactor,
    shard: Option<ShardSide>,
    raft: Option<RaftSide>,
    lifecycle: Arc<Lifecycle>,
    ending: Ending,
    /// The shard has a long computation under way: turns do not wait.
    scanning: bool,
}

/// How far this thread is with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    Draining {
        until_ns: u64,
    },
    /// The shard here is done (or there is none); the raft role waits for the others.
    Drained,
    ClosingLog,
}

impl Core {
    pub fn new(
        reactor: AnyReactor,
        shard: Option<ShardSide>,
        raft: Option<RaftSide>,
        lifecycle: Arc<Lifecycle>,
    ) -> Self {
        Self { reactor, shard, raft, lifecycle, ending: Ending::No, scanning: false }
    }

    /// Runs until the orderly end (Ok) or until the member must not go on (what happened).
    pub fn run(mut self) -> Result<(), String> {
        loop {
            self.take_mail();
            self.pass_requests();
            match self.run_driver() {
                Flow::Continue => {}
                Flow::Stopped => return Ok(()),
                Flow::Fatal(why) => return Err(why),
            }
            self.pass_answers();
            if let Some(side) = &mut self.shard {
                if side.shard.open_when_ready(&mut self.reactor) && side.lane == 0 {
                    tracing::info!("ready to serve client requests");
                    notify(State::Ready);
                    tracing::info!(
                        traffic = "grpc+http",
                        "serving client traffic insecurely; this is strongly discouraged!"
                    );
                }
                self.scanning = side.shard.scan_on();
                side.shard.flush(&mut self.reactor);
            }
            if self.lifecycle.is_stopping() && self.end_step() {
                return Ok(());
            }
            // Last, so that what there is to do at the start is done before the first wait.
            let deadline_ns = self.deadline_ns();
            let mut turn = Turn { shard: &mut self.shard, raft: &mut self.raft };
            self.reactor.turn(deadline_ns, &mut turn).map_err(|e| format!("the reactor failed: {e}"))?;
        }
    }

    fn deadline_ns(&mut self) -> Option<u64> {
        let raft = self.raft.as_ref().map(|side| side.driver.deadline_ns());
        let drain = match self.ending {
            Ending::Draining { until_ns } => Some(until_ns),
            _ => None,
        };
        let mono_ns = self.reactor.mono_ns();
        let scanning = self.scanning;
        let shard = self.shard.as_mut().map(|side| {
            let tick_ns = side.shard.pass_time(mono_ns);
            if scanning || side.shard.has_requests() { mono_ns } else { tick_ns }
        });
        reactor::earliest(reactor::earliest(raft, drain), shard)
    }

    fn take_mail(&mut self) {
        if let Some(side) = &mut self.shard
            && let Some(remote) = &mut side.remote
        {
            side.shard.look_at_clock();
            while let Some(message) = remote.answers.pop() {
                side.shard.answer(message);
            }
        }
        if let Some(side) = &mut self.raft
            && let Some(requests) = &mut side.requests
        {
            let mono_ns = self.reactor.mono_ns();
            while let Some(message) = requests.pop() {
                side.driver.handle(message, mono_ns);
            }
        }
    }

    fn pass_requests(&mut self) {
        let Some(side) = &mut self.shard else { return };
        let outbox = std::mem::take(side.shard.take_outbox());
        if outbox.is_empty() {
            return;
        }
        match (&mut side.remote, &mut self.raft) {
            (Some(remote), _) => {
                for message in outbox {
                    // The shard admits no more calls than the queue has slots, so it cannot be full.
                    assert!(remote.requests.push(message).is_ok(), "a shard sent more requests than it had slots for");
                }
                remote.requests.flush(&mut self.reactor);
            }
            (None, Some(raft)) => {
                let mono_ns = self.reactor.mono_ns();
                for message in outbox {
                    raft.driver.handle(message, mono_ns);
                }
            }
            (None, None) => unreachable!("a shard without a way to the raft role"),
        }
    }

    fn run_driver(&mut self) -> Flow {
        match &mut self.raft {
            Some(side) => side.driver.run(&mut self.reactor),
            None => Flow::Continue,
        }
    }

    fn pass_answers(&mut self) {
        let Some(raft) = &mut self.raft else { return };
        let local = self.shard.as_ref().map(|side| side.lane);
        if let Some(side) = &mut self.shard {
            side.shard.look_at_clock();
        }
        for (lane, message) in std::mem::take(raft.driver.take_outbox()) {
            match &mut raft.shards[lane] {
                Some(sender) => {
                    assert!(sender.push(message).is_ok(), "an answer without the slot its request reserved");
                }
                None => {
                    assert!(local == Some(lane), "an answer for lane {lane}, which is nobody's");
                    if let Some(side) = &mut self.shard {
                        side.shard.answer(message);
                    }
                }
            }
        }
        for sender in raft.shards.iter_mut().flatten() {
            sender.flush(&mut self.reactor);
        }
        if raft.driver.take_news() {
            self.lifecycle.wake_all();
        }
    }

    /// One step towards the end; true when this thread is done.
    fn end_step(&mut self) -> bool {
        let mono_ns = self.reactor.mono_ns();
        if self.ending == Ending::No {
            self.ending = Ending::Draining { until_ns: mono_ns + DRAIN_NS_MAX };
            match &mut self.shard {
                Some(side) => {
                    side.shard.drain(&mut self.reactor);
                    side.shard.flush(&mut self.reactor);
                }
                None => self.ending = Ending::Drained,
            }
        }
        if let (Ending::Draining { until_ns }, Some(side)) = (self.ending, &self.shard)
            && (side.shard.is_drained() || mono_ns >= until_ns)
        {
            self.ending = Ending::Drained;
            self.lifecycle.shard_drained();
        }
        if self.ending != Ending::Drained {
            return false;
        }
        match &mut self.raft {
            None => true,
            Some(side) => {
                if self.lifecycle.shards_draining.load(SeqCst) == 0 {
                    side.driver.stop(mono_ns);
                    self.ending = Ending::ClosingLog;
                    // The log closes through effects; ask for the first of them now, not at the next deadline.
                    self.reactor.waker().wake();
                }
                false
            }
        }
    }
}

/// Hands a turn's completions to the roles.
struct Turn<'a> {
    shard: &'a mut Option<ShardSide>,
    raft: &'a mut Option<RaftSide>,
}

impl Turn<'_> {
    fn shard(&mut self) -> &mut Shard {
        &mut self.shard.as_mut().expect("connections exist only where a shard accepts them").shard
    }
}

impl Handler for Turn<'_> {
    fn accepted(&mut self, _listener: ListenerId, conn: ConnId) {
        self.shard().accepted(conn);
    }

    fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        self.shard().received(conn, bytes);
    }

    fn closed(&mut self, conn: ConnId, error: Option<i32>) {
        self.shard().closed(conn, error);
    }

    fn sent(&mut self, conn: ConnId, buf: Vec<u8>, result: Result<(), i32>) {
        self.shard().sent(conn, buf, result);
    }

    fn connected(&mut self, _conn: ConnId, _result: Result<(), i32>) {
        unreachable!("nothing connects outward yet");
    }

    fn file_done(&mut self, id: u64, result: Result<usize, i32>, buf: Option<AlignedBuf>) {
        let side = self.raft.as_mut().expect("file operations are the raft role's");
        side.driver.file_done(id, result, buf, reactor::mono_ns());
    }

    fn woken(&mut self) {
        // Mail is looked for after every turn.
    }
}
