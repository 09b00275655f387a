//! The reactor on io_uring: together with the files in `ring/` the only code that knows the `io-uring` crate. Belongs to
//! the thread that opened it. Every operation in flight owns, in `ops`, all memory the kernel may read or write for it,
//! until its last completion was reaped; nothing here may free such memory earlier, not even when dropped.

mod buffers;
mod file;
mod queue;

use self::buffers::Buffers;
use self::file::{InFlight, Next};
use self::queue::{Completion, Queue};
use super::file::WRITE_BYTES_MAX;
use super::ready::{self, Outcome};
use super::slots::Slots;
use super::spin::Spin;
use super::wake::WakeState;
use super::{
    ACCEPT_PAUSE_NS, ConnId, DurableWrite, FileOp, Handler, ListenerId, Reactor, Settings, Waker, earliest, mono_ns,
    socket,
};
use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd};
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of one SEND, below the kernel's limit of 2 GiB; a larger buffer leaves in several.
const SEND_BYTES_MAX: usize = 1 << 30;

/// How long a dropped reactor waits for the kernel to let go of its memory, in nanoseconds, before it leaks it. Cancelling
/// sockets is immediate; only a stuck disk takes longer.
const DROP_WAIT_NS: u64 = 2_000_000_000;

/// The two highest bits of a completion's user data say what it is; the rest is a slot of `ops` (see `slots.rs`).
const TAG_MASK: u64 = 0b11 << 62;
const TAG_OP: u64 = 0b00 << 62;
/// The linked sync of a write in `ops`.
const TAG_SYNC: u64 = 0b01 << 62;
/// A ring message that could not be delivered; the rest is an index into `targets`.
const TAG_MESSAGE_FAILED: u64 = 0b10 << 62;
/// Nothing to do: cancellations, closed sockets, messages from other rings.
const TAG_IGNORE: u64 = 0b11 << 62;

/// An operation in flight and the memory it uses.
enum Op {
    Accept(ListenerId),
    Recv(ConnId),
    Send {
        conn: ConnId,
        buf: Vec<u8>,
        sent: usize,
    },
    Connect {
        conn: ConnId,
        _addr: Box<SockaddrStorage>,
    },
    File(Box<InFlight>),
    /// Reads our eventfd into `Ring::wake_count`.
    Wake,
}

struct Conn {
    fd: Option<OwnedFd>,
    /// The receive in flight: an id in `ops`.
    recv: Option<u64>,
    recv_wanted: bool,
    /// The peer has closed: nothing more to receive.
    ended: bool,
    sending: bool,
    connecting: bool,
}

struct Listener {
    fd: OwnedFd,
    /// The accept in flight; none while paused.
    accept: Option<u64>,
}

pub struct Ring {
    queue: Queue,
    /// Taken only by `drop`.
    buffers: Option<Buffers>,
    ops: Slots<Op>,
    conns: Slots<Conn>,
    listeners: Vec<Option<Listener>>,
    /// When to try accepting again, on `mono_ns`, after descriptors ran out.
    accept_resume_ns: Option<u64>,
    ready: VecDeque<Outcome>,
    batch: Vec<Completion>,
    wake: Arc<WakeState>,
    woken: bool,
    /// Eight bytes the kernel writes the eventfd's counter to; from `Box::into_raw`, freed by `drop`.
    wake_count: *mut u64,
    /// Reactors a ring message was sent to.
    targets: Vec<Arc<WakeState>>,
    durable_write: DurableWrite,
    spin: Spin,
    /// The kernel binds the ring to the thread that made it.
    thread_bound: PhantomData<*const ()>,
}

impl Ring {
    pub(super) fn open(settings: &Settings) -> io::Result<Self> {
        let queue = Queue::open(settings.entries)?;
        let wake = WakeState::new(true)?;
        let buffers = Buffers::register(&queue, settings.recv_buffers, settings.recv_buffer_bytes)?;
        wake.set_ring(Some(queue.fd()));
        let mut ring = Self {
            queue,
            buffers: Some(buffers),
            ops: Slots::new(),
            conns: Slots::new(),
            listeners: Vec::new(),
            accept_resume_ns: None,
            ready: VecDeque::new(),
            batch: Vec::new(),
            wake,
            woken: false,
            wake_count: Box::into_raw(Box::new(0)),
            targets: Vec::new(),
            durable_write: settings.durable_write,
            spin: Spin::new(settings.spin),
            thread_bound: PhantomData,
        };
        ring.arm_wake();
        Ok(ring)
    }

    /// Queues an entry whose memory, if any, is owned by `ops[id]`.
    fn submit(&mut self, id: u64, entry: Entry) {
        assert!(self.ops.contains(id), "an operation owns its memory before it is submitted");
        // SAFETY: all an entry points to is on the heap and owned by `ops[id]` (or is `wake_count`), which is removed only
        // at its last completion; `drop` waits for that or leaks.
        unsafe { self.queue.push(&entry.user_data(TAG_OP | id)) }
    }

    fn arm_wake(&mut self) {
        let id = self.ops.insert(Op::Wake);
        let entry = opcode::Read::new(Fd(self.wake.event_fd()), self.wake_count.cast(), 8).build();
        self.submit(id, entry);
    }

    fn arm_accept(&mut self, listener: ListenerId) {
        let id = self.ops.insert(Op::Accept(listener));
        let slot = self.listeners[listener.0 as usize].as_mut().expect("armed only while listening");
        assert!(slot.accept.is_none(), "one accept at a time");
        slot.accept = Some(id);
        let entry = opcode::AcceptMulti::new(Fd(slot.fd.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        self.submit(id, entry);
    }

    fn arm_recv(&mut self, conn: ConnId) {
        let id = self.ops.insert(Op::Recv(conn));
        let state = self.conns.get_mut(conn.0).expect("armed only while open");
        assert!(state.recv.is_none() && !state.ended, "one receive at a time, none after the end");
        state.recv = Some(id);
        let fd = state.fd.as_ref().expect("an open connection has a socket").as_raw_fd();
        self.submit(id, opcode::RecvMulti::new(Fd(fd), buffers::GROUP).build());
    }

    /// Submits what is left of the buffer of `ops[id]`.
    fn submit_send(&mut self, id: u64) {
        let Some(Op::Send { conn, buf, sent }) = self.ops.get(id) else { panic!("a send owns its buffer") };
        let state = self.conns.get(conn.0).expect("sends only go out on open connections");
        let fd = state.fd.as_ref().expect("an open connection has a socket").as_raw_fd();
        let rest = &buf[*sent..];
        let entry = opcode::Send::new(Fd(fd), rest.as_ptr(), rest.len().min(SEND_BYTES_MAX) as u32)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        self.submit(id, entry);
    }

    fn submit_file(&mut self, id: u64) {
        let Some(Op::File(op)) = self.ops.get(id) else { panic!("a file operation owns its memory") };
        match op.entries() {
            (first, None) => self.submit(id, first),
            // SAFETY: as in `submit`: both entries point into `ops[id]`, which is kept until both have completed.
            (first, Some(sync)) => unsafe {
                let sync = sync.user_data(TAG_SYNC | id);
                self.queue.push_linked(Flags::IO_LINK, first.user_data(TAG_OP | id), sync);
            },
        }
    }

    /// Cancels one operation; its completion still comes.
    fn cancel(&mut self, id: u64) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(TAG_OP | id)).build();
        // SAFETY: a cancellation points to no memory.
        unsafe { self.queue.push(&entry.flags(Flags::SKIP_SUCCESS).user_data(TAG_IGNORE)) }
    }

    /// Closes a socket, cancelling first what is in flight on it. Hard-linked: the close runs whatever the cancellation
    /// found.
    fn close_socket(&mut self, fd: OwnedFd, in_flight: bool) {
        let fd = fd.into_raw_fd();
        let close = opcode::Close::new(Fd(fd)).build().flags(Flags::SKIP_SUCCESS).user_data(TAG_IGNORE);
        // SAFETY: neither entry points to memory, and the descriptor is ours to give away.
        unsafe {
            if in_flight {
                let cancel = opcode::AsyncCancel2::new(CancelBuilder::fd(Fd(fd)).all()).build().user_data(TAG_IGNORE);
                self.queue.push_linked(Flags::IO_HARDLINK, cancel, close);
            } else {
                self.queue.push(&close);
            }
        }
        if self.accept_resume_ns.is_some() {
            // A descriptor comes free: the accept is queued behind the close.
            self.accept_resume_ns = Some(0);
        }
    }

    fn resume_accepting(&mut self) {
        if self.accept_resume_ns.is_none_or(|at_ns| at_ns > mono_ns()) {
            return;
        }
        self.accept_resume_ns = None;
        for index in 0..self.listeners.len() {
            if self.listeners[index].as_ref().is_some_and(|l| l.accept.is_none()) {
                self.arm_accept(ListenerId(index as u32));
            }
        }
    }

    /// Submits, and waits unless there is something to do already.
    fn wait(&mut self, deadline_ns: Option<u64>) -> io::Result<()> {
        let idle = self.ready.is_empty() && !self.wake.is_notified() && !self.queue.has_completions();
        let now_ns = deadline_ns.map_or(0, |_| mono_ns());
        let left_ns = deadline_ns.map(|at_ns| at_ns.saturating_sub(now_ns));
        if !idle || left_ns == Some(0) || self.spin(deadline_ns)? || !self.wake.try_sleep() {
            let result = if self.queue.needs_enter() { self.queue.enter(0, None) } else { Ok(()) };
            // A plain look first: most turns are not woken, and a swap costs more.
            self.woken |= self.wake.is_notified() && self.wake.rise();
            return result;
        }
        let result = self.queue.enter(1, left_ns.map(Duration::from_nanos));
        self.woken |= self.wake.rise();
        result
    }

    /// Polls before blocking, if set so. True if there is something to do.
    fn spin(&mut self, deadline_ns: Option<u64>) -> io::Result<bool> {
        if !self.spin.enabled() {
            return Ok(false);
        }
        if self.queue.needs_enter() {
            self.queue.enter(0, None)?;
        }
        let (queue, wake) = (&mut self.queue, &self.wake);
        Ok(self.spin.run(deadline_ns, || queue.poll() || wake.is_notified()))
    }

    fn complete<H: Handler>(&mut self, completion: Completion, handler: &mut H) {
        let id = completion.user_data & !TAG_MASK;
        match completion.user_data & TAG_MASK {
            TAG_IGNORE => {}
            TAG_MESSAGE_FAILED => self.targets[id as usize].poke(),
            TAG_SYNC => self.file_completed(id, completion, true, handler),
            _ => match self.ops.get(id).expect("a completion belongs to an operation in flight") {
                Op::Accept(listener) => self.accept_completed(id, *listener, completion, handler),
                Op::Recv(conn) => self.recv_completed(id, *conn, completion, handler),
                Op::Send { .. } => self.send_completed(id, completion, handler),
                Op::Connect { .. } => self.connect_completed(id, completion, handler),
                Op::File(_) => self.file_completed(id, completion, false, handler),
                Op::Wake => {
                    // Whether anybody woke us is in the state; the event only ended the wait.
                    self.ops.remove(id);
                    self.arm_wake();
                }
            },
        }
    }

    fn accept_completed<H: Handler>(&mut self, id: u64, listener: ListenerId, c: Completion, handler: &mut H) {
        // SAFETY: a successful accept made this descriptor for us.
        let accepted = (c.result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(c.result) });
        if !c.more() {
            self.ops.remove(id);
        }
        let Some(slot) = self.listeners[listener.0 as usize].as_mut() else {
            return; // Stopped listening: dropping the socket closes it.
        };
        if !c.more() {
            slot.accept = None;
        }
        if let Some(fd) = accepted {
            let conn = ConnId(self.conns.insert(Conn::accepted(fd)));
            self.arm_recv(conn);
            handler.accepted(listener, conn);
        } else if !matches!(-c.result, libc::ECONNABORTED | libc::EINTR | libc::EAGAIN) {
            // Out of descriptors or memory; anything unknown is treated so as well, never retried in a loop.
            self.accept_resume_ns = Some(mono_ns() + ACCEPT_PAUSE_NS);
            return;
        }
        if !c.more() {
            self.arm_accept(listener);
        }
    }

    fn recv_completed<H: Handler>(&mut self, id: u64, conn: ConnId, c: Completion, handler: &mut H) {
        if !c.more() {
            self.ops.remove(id);
        }
        let state = self.conns.get_mut(conn.0);
        if let Some(buffer) = c.buffer() {
            let buffers = self.buffers.as_mut().expect("there until dropped");
            let len = usize::try_from(c.result).unwrap_or(0);
            let bytes = buffers.take(buffer, len);
            if state.is_some() && len > 0 {
                handler.received(conn, bytes);
            }
            buffers.recycle(buffer);
        }
        let Some(state) = state else { return };
        if !c.more() {
            state.recv = None;
        }
        match -c.result {
            0 => {
                state.ended = true;
                handler.closed(conn, None);
            }
            // ENOBUFS: all buffers were full; those of this batch have been given back by now. ECANCELED: `receive`.
            ..0 | libc::ENOBUFS | libc::EINTR | libc::EAGAIN | libc::ECANCELED => {
                if !c.more() && state.recv_wanted {
                    self.arm_recv(conn);
                }
            }
            errno => {
                state.ended = true;
                handler.closed(conn, Some(errno));
            }
        }
    }

    fn send_completed<H: Handler>(&mut self, id: u64, c: Completion, handler: &mut H) {
        let Some(Op::Send { conn, buf, sent }) = self.ops.get_mut(id) else { panic!("a send owns its buffer") };
        let conn = *conn;
        if !self.conns.contains(conn.0) {
            self.ops.remove(id);
            return;
        }
        let result = match -c.result {
            ..=0 => {
                *sent += c.result as usize;
                assert!(*sent <= buf.len(), "the kernel sends what it was given");
                if *sent == buf.len() {
                    Ok(())
                } else if c.result == 0 {
                    Err(libc::EPIPE)
                } else {
                    return self.submit_send(id);
                }
            }
            libc::EINTR | libc::EAGAIN => return self.submit_send(id),
            errno => Err(errno),
        };
        let Some(Op::Send { buf, .. }) = self.ops.remove(id) else { panic!("a send owns its buffer") };
        self.conns.get_mut(conn.0).expect("looked up above").sending = false;
        handler.sent(conn, buf, result);
    }

    fn connect_completed<H: Handler>(&mut self, id: u64, c: Completion, handler: &mut H) {
        let Some(Op::Connect { conn, .. }) = self.ops.remove(id) else { panic!("a connect owns its address") };
        let Some(state) = self.conns.get_mut(conn.0) else { return };
        state.connecting = false;
        if c.result == 0 {
            if state.recv_wanted {
                self.arm_recv(conn);
            }
            handler.connected(conn, Ok(()));
        } else {
            let fd = self.conns.remove(conn.0).and_then(|state| state.fd);
            self.close_socket(fd.expect("a connecting one has a socket"), false);
            handler.connected(conn, Err(-c.result));
        }
    }

    fn file_completed<H: Handler>(&mut self, id: u64, c: Completion, of_sync: bool, handler: &mut H) {
        let Some(Op::File(op)) = self.ops.get_mut(id) else { panic!("a file operation owns its memory") };
        match op.complete(c, of_sync) {
            Next::Wait => {}
            Next::Retry => self.submit_file(id),
            Next::Done(result) => {
                let Some(Op::File(op)) = self.ops.remove(id) else { panic!("a file operation owns its memory") };
                handler.file_done(op.id, result, op.into_buf());
            }
        }
    }
}

impl Conn {
    fn accepted(fd: OwnedFd) -> Self {
        Self { fd: Some(fd), recv: None, recv_wanted: true, ended: false, sending: false, connecting: false }
    }

    fn connecting(fd: Option<OwnedFd>) -> Self {
        Self { fd, recv: None, recv_wanted: true, ended: false, sending: false, connecting: true }
    }
}

impl Reactor for Ring {
    fn listen(&mut self, socket: OwnedFd) -> ListenerId {
        socket::prepare_listener(&socket, false);
        let id = ListenerId(u32::try_from(self.listeners.len()).expect("few listeners"));
        self.listeners.push(Some(Listener { fd: socket, accept: None }));
        self.arm_accept(id);
        id
    }

    fn stop_listening(&mut self, listener: ListenerId) {
        let slot = self.listeners.get_mut(listener.0 as usize).and_then(Option::take);
        if let Some(Listener { fd, accept }) = slot {
            self.close_socket(fd, accept.is_some());
        }
    }

    fn connect(&mut self, addr: SocketAddr) -> ConnId {
        let (fd, errno) = match socket::stream_for_connect(&addr, false) {
            Ok(fd) => (Some(fd), None),
            Err(errno) => (None, Some(errno as i32)),
        };
        let raw = fd.as_ref().map_or(-1, OwnedFd::as_raw_fd);
        let conn = ConnId(self.conns.insert(Conn::connecting(fd)));
        if let Some(errno) = errno {
            self.ready.push_back(Outcome::Connected { conn, errno });
            return conn;
        }
        let addr = Box::new(SockaddrStorage::from(addr));
        let entry = opcode::Connect::new(Fd(raw), addr.as_ptr(), addr.len()).build();
        let id = self.ops.insert(Op::Connect { conn, _addr: addr });
        self.submit(id, entry);
        conn
    }

    fn send(&mut self, conn: ConnId, buf: Vec<u8>) {
        let Some(state) = self.conns.get_mut(conn.0) else { return };
        assert!(!state.sending, "one send at a time on a connection");
        assert!(!state.connecting, "nothing is sent before the connection is up");
        state.sending = true;
        let id = self.ops.insert(Op::Send { conn, buf, sent: 0 });
        self.submit_send(id);
    }

    fn receive(&mut self, conn: ConnId, on: bool) {
        let Some(state) = self.conns.get_mut(conn.0) else { return };
        if state.recv_wanted == on {
            return;
        }
        state.recv_wanted = on;
        match state.recv {
            Some(id) if !on => self.cancel(id),
            // Still in flight: cancelled, and armed again by its last completion; or the cancellation missed.
            Some(_) => {}
            None if on && !state.ended && !state.connecting => self.arm_recv(conn),
            None => {}
        }
    }

    fn close(&mut self, conn: ConnId) {
        let Some(state) = self.conns.remove(conn.0) else { return };
        let in_flight = state.recv.is_some() || state.sending || state.connecting;
        if let Some(fd) = state.fd {
            self.close_socket(fd, in_flight);
        }
    }

    fn file(&mut self, id: u64, op: FileOp) {
        if let FileOp::Write { buf, .. } = &op
            && buf.len() > WRITE_BYTES_MAX
        {
            let FileOp::Write { buf, .. } = op else { unreachable!("matched above") };
            self.ready.push_back(Outcome::FileDone { id, result: Err(libc::EINVAL), buf: Some(buf) });
            return;
        }
        if matches!(op, FileOp::Truncate { .. }) && !self.queue.can_truncate() {
            // Before Linux 6.9. Rare (recovery and tools), so blocking for it is bearable.
            let (result, buf) = super::file::run(op, self.durable_write);
            self.ready.push_back(Outcome::FileDone { id, result, buf });
            return;
        }
        let op = Op::File(Box::new(InFlight::new(id, op, self.durable_write)));
        let slot = self.ops.insert(op);
        self.submit_file(slot);
    }

    fn waker(&self) -> Waker {
        self.wake.waker()
    }

    fn wake(&mut self, target: &Waker) {
        let state = target.state();
        if !state.notify() {
            return;
        }
        let Some(ring) = state.ring() else { return state.poke() };
        let index = match self.targets.iter().position(|known| Arc::ptr_eq(known, state)) {
            Some(index) => index,
            None => {
                self.targets.push(Arc::clone(state));
                self.targets.len() - 1
            }
        };
        // Success needs no completion here: it would end our own wait for nothing.
        let entry = opcode::MsgRingData::new(Fd(ring), 0, TAG_IGNORE, None).build();
        let entry = entry.flags(Flags::SKIP_SUCCESS).user_data(TAG_MESSAGE_FAILED | index as u64);
        // SAFETY: the message carries numbers only.
        unsafe { self.queue.push(&entry) }
    }

    fn turn<H: Handler>(&mut self, deadline_ns: Option<u64>, handler: &mut H) -> io::Result<()> {
        self.resume_accepting();
        self.wait(earliest(deadline_ns, self.accept_resume_ns))?;
        ready::deliver(&mut self.ready, &mut self.conns, handler);
        let mut batch = std::mem::take(&mut self.batch);
        self.queue.reap(&mut batch);
        for completion in batch.drain(..) {
            self.complete(completion, handler);
        }
        self.batch = batch;
        if std::mem::take(&mut self.woken) {
            handler.woken();
        }
        Ok(())
    }

    fn mono_ns(&self) -> u64 {
        mono_ns()
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }
}

impl Ring {
    /// Takes in a completion nobody wants any more: only its memory and descriptors matter.
    fn discard(&mut self, c: Completion) {
        let id = c.user_data & !TAG_MASK;
        let of_sync = c.user_data & TAG_MASK == TAG_SYNC;
        if !of_sync && c.user_data & TAG_MASK != TAG_OP {
            return;
        }
        let last = match self.ops.get_mut(id) {
            Some(Op::File(op)) => {
                let opens = matches!(op.op, FileOp::OpenAt { .. });
                if opens && c.result >= 0 {
                    close_stray(c.result);
                }
                !matches!(op.complete(c, of_sync), Next::Wait)
            }
            Some(Op::Accept(_)) => {
                if c.result >= 0 {
                    close_stray(c.result);
                }
                !c.more()
            }
            _ => !c.more(),
        };
        if last {
            self.ops.remove(id);
        }
    }
}

fn close_stray(fd: RawFd) {
    // SAFETY: the kernel opened this descriptor for an operation whose owner is gone, so nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

impl Drop for Ring {
    /// The kernel may write to receive buffers, the wake counter and (reading) send and write buffers until the last
    /// completion. So: cancel everything, wait, and if something cannot be cancelled in time (a write on a stuck disk),
    /// leak the memory rather than free it under the kernel's hands: closing the ring does not wait for it.
    fn drop(&mut self) {
        self.wake.set_ring(None);
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any().all()).build().user_data(TAG_IGNORE);
        // SAFETY: a cancellation points to no memory.
        unsafe { self.queue.push(&cancel) };
        let end_ns = mono_ns() + DROP_WAIT_NS;
        let mut batch = std::mem::take(&mut self.batch);
        while !self.ops.is_empty() && mono_ns() < end_ns {
            let left = Duration::from_nanos(end_ns.saturating_sub(mono_ns()));
            if self.queue.enter(1, Some(left)).is_err() {
                break;
            }
            self.queue.reap(&mut batch);
            for completion in batch.drain(..) {
                self.discard(completion);
            }
        }
        let buffers = self.buffers.take().expect("taken only here");
        if self.ops.is_empty() {
            buffers.unregister(&self.queue);
            // SAFETY: made by `Box::into_raw` in `open`; the read into it has completed.
            drop(unsafe { Box::from_raw(self.wake_count) });
        } else {
            std::mem::forget(buffers);
            std::mem::forget(std::mem::replace(&mut self.ops, Slots::new()));
        }
    }
}
