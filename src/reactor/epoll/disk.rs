//! The epoll reactor's disk: one thread that carries out file operations in order and wakes the reactor. `Disk` belongs to
//! the reactor's thread and starts the thread with the first operation (threads without a log never have one). The queues
//! are bounded and can never be full: what exceeds `IN_FLIGHT_MAX` waits on the reactor's side, where its owner's own
//! limits bound it.

use crate::reactor::file;
use crate::reactor::ready::Outcome;
use crate::reactor::wake::Waker;
use crate::reactor::{DurableWrite, FileOp};
use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Operations handed to the disk thread and not yet taken back, count. It does one at a time; a few hundred keep it busy
/// while the reactor is elsewhere.
const IN_FLIGHT_MAX: usize = 256;

type Work = (u64, FileOp);

pub(super) struct Disk {
    durable_write: DurableWrite,
    waker: Waker,
    /// Waiting for a place in the queue.
    backlog: VecDeque<Work>,
    in_flight: usize,
    thread: Option<Thread>,
}

struct Thread {
    work: Sender<Work>,
    shared: Arc<Shared>,
    handle: JoinHandle<()>,
}

struct Shared {
    done: ArrayQueue<Outcome>,
    /// Set when the reactor goes away: what is queued is dropped, what is running ends.
    stop: AtomicBool,
}

impl Disk {
    pub(super) fn new(durable_write: DurableWrite, waker: Waker) -> Self {
        Self { durable_write, waker, backlog: VecDeque::new(), in_flight: 0, thread: None }
    }

    pub(super) fn start(&mut self, id: u64, op: FileOp) {
        self.backlog.push_back((id, op));
        self.feed();
    }

    /// Moves what has ended into `ready`, and gives the thread what waited for a place. Called once in every turn; the
    /// thread's wakes see to it that there is one.
    pub(super) fn finished(&mut self, ready: &mut VecDeque<Outcome>) {
        if let Some(thread) = &self.thread {
            while let Some(outcome) = thread.shared.done.pop() {
                self.in_flight -= 1;
                ready.push_back(outcome);
            }
        }
        self.feed();
        if self.thread.is_none() {
            // The thread could not be started: no operation can be carried out.
            ready.extend(self.backlog.drain(..).map(|(id, op)| {
                let buf = if let FileOp::Write { buf, .. } = op { Some(buf) } else { None };
                Outcome::FileDone { id, result: Err(libc::EAGAIN), buf }
            }));
        }
    }

    fn feed(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        if self.thread.is_none() {
            self.thread = Thread::start(self.durable_write, self.waker.clone());
        }
        let Some(thread) = &self.thread else {
            // Answered by the next turn, which must not wait.
            self.waker.wake();
            return;
        };
        while self.in_flight < IN_FLIGHT_MAX {
            let Some(work) = self.backlog.pop_front() else { break };
            assert!(thread.work.try_send(work).is_ok(), "the queue has room for all that may be in flight");
            self.in_flight += 1;
        }
    }
}

impl Thread {
    fn start(durable_write: DurableWrite, waker: Waker) -> Option<Self> {
        let (work, queue) = bounded(IN_FLIGHT_MAX);
        let shared = Arc::new(Shared { done: ArrayQueue::new(IN_FLIGHT_MAX), stop: AtomicBool::new(false) });
        let theirs = Arc::clone(&shared);
        let run = move || run(&queue, &theirs, durable_write, &waker);
        let handle = std::thread::Builder::new().name("disk".into()).spawn(run).ok()?;
        Some(Self { work, shared, handle })
    }
}

fn run(queue: &Receiver<Work>, shared: &Shared, durable_write: DurableWrite, waker: &Waker) {
    for (id, op) in queue {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let (result, buf) = file::run(op, durable_write);
        let pushed = shared.done.push(Outcome::FileDone { id, result, buf });
        assert!(pushed.is_ok(), "the queue has room for all that may be in flight");
        waker.wake();
    }
}

impl Drop for Disk {
    /// Waits for the operation that is running: its buffer and descriptor are in use until it ends.
    fn drop(&mut self) {
        if let Some(Thread { work, shared, handle }) = self.thread.take() {
            shared.stop.store(true, Ordering::Relaxed);
            drop(work);
            // A panic there has been reported by the panic hook; there is nothing left to do about it here.
            let _ = handle.join();
        }
    }
}
