//! The reactor on epoll, for where io_uring is not to be had (seccomp of containers, sysctl, old kernels). Belongs to the
//! thread that opened it; file operations run on one disk thread (`epoll/disk.rs`). Behaves as `ring.rs` does and passes
//! the same tests: in particular handlers are called from `turn` only, and nothing here blocks outside of the wait.

mod disk;

use self::disk::Disk;
use super::ready::{self, Outcome};
use super::slots::Slots;
use super::spin::Spin;
use super::wake::WakeState;
use super::{
    ACCEPT_PAUSE_NS, ConnId, FileOp, Handler, ListenerId, Reactor, Settings, Waker, earliest, mono_ns, socket,
};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll as Poller, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, SockFlag, SockaddrStorage, accept4, connect, getsockopt, recv, send, sockopt};
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

/// Events taken in one wait, count. What is left over is reported by the next one.
const EVENTS_MAX: usize = 256;

/// Connections accepted from one listener in one turn, count: the others have work too.
const ACCEPTS_PER_TURN_MAX: usize = 64;

/// Receives from one connection in one turn, count: enough to empty a default socket buffer, and a fast sender cannot keep
/// the turn from ending.
const RECVS_PER_TURN_MAX: usize = 8;

/// The two highest bits of an event's number say what it is; the rest is the slot of a connection or a listener.
const TAG_MASK: u64 = 0b11 << 62;
const TAG_CONN: u64 = 0b00 << 62;
const TAG_LISTENER: u64 = 0b01 << 62;
const TAG_WAKE: u64 = 0b10 << 62;

struct Sending {
    buf: Vec<u8>,
    sent: usize,
}

struct Conn {
    fd: Option<OwnedFd>,
    recv_wanted: bool,
    /// The peer has closed: nothing more to receive.
    ended: bool,
    connecting: bool,
    sending: Option<Sending>,
    /// A send that is over but not yet delivered.
    send_ready: bool,
    /// What epoll watches for; empty: not registered at all, since it would report hang-ups for ever.
    watched: EpollFlags,
}

struct Listener {
    fd: OwnedFd,
    paused: bool,
}

/// The epoll descriptor and its last events.
struct Waiter {
    poller: Poller,
    events: Vec<EpollEvent>,
    /// The kernel (or a seccomp profile) lacks epoll_pwait2: timeouts are whole milliseconds, rounded up.
    coarse: bool,
}

pub struct Epoll {
    waiter: Waiter,
    conns: Slots<Conn>,
    listeners: Vec<Option<Listener>>,
    /// When to try accepting again, on `mono_ns`, after descriptors ran out.
    accept_resume_ns: Option<u64>,
    recv_buf: Box<[u8]>,
    ready: VecDeque<Outcome>,
    wake: Arc<WakeState>,
    woken: bool,
    disk: Disk,
    spin: Spin,
    fallback: Option<String>,
    /// As for the ring: one thread, so that nothing starts to depend on more.
    thread_bound: PhantomData<*const ()>,
}

impl Epoll {
    pub(super) fn open(settings: &Settings, fallback: Option<String>) -> io::Result<Self> {
        let poller = Poller::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = WakeState::new(false)?;
        poller.add(wake.event(), EpollEvent::new(EpollFlags::EPOLLIN, TAG_WAKE))?;
        Ok(Self {
            waiter: Waiter { poller, events: vec![EpollEvent::empty(); EVENTS_MAX], coarse: false },
            conns: Slots::new(),
            listeners: Vec::new(),
            accept_resume_ns: None,
            recv_buf: vec![0; settings.recv_buffer_bytes.max(1) as usize].into_boxed_slice(),
            ready: VecDeque::new(),
            disk: Disk::new(settings.durable_write, wake.waker()),
            wake,
            woken: false,
            spin: Spin::new(settings.spin),
            fallback,
            thread_bound: PhantomData,
        })
    }

    pub(super) fn fallback_reason(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Makes epoll watch for what the connection wants now.
    fn watch(&mut self, conn: ConnId) {
        let Some(state) = self.conns.get_mut(conn.0) else { return };
        let Some(fd) = &state.fd else { return };
        let mut wanted = EpollFlags::empty();
        wanted.set(EpollFlags::EPOLLIN, state.recv_wanted && !state.ended && !state.connecting);
        wanted.set(EpollFlags::EPOLLOUT, state.connecting || state.sending.is_some());
        if wanted == state.watched {
            return;
        }
        let mut event = EpollEvent::new(wanted, TAG_CONN | conn.0);
        let result = if wanted.is_empty() {
            self.waiter.poller.delete(fd)
        } else if state.watched.is_empty() {
            self.waiter.poller.add(fd, event)
        } else {
            self.waiter.poller.modify(fd, &mut event)
        };
        match result {
            Ok(()) => state.watched = wanted,
            // Out of memory or of epoll watches. The connection cannot go on; the next turn tells its owner.
            Err(errno) => {
                let errno = errno as i32;
                state.watched = EpollFlags::empty();
                state.ended = true;
                self.ready.push_back(if state.connecting {
                    Outcome::Connected { conn, errno }
                } else {
                    Outcome::Closed { conn, errno }
                });
            }
        }
    }

    fn watch_listener(&mut self, index: usize, on: bool) {
        let Some(listener) = self.listeners[index].as_mut() else { return };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, TAG_LISTENER | index as u64);
        let result =
            if on { self.waiter.poller.add(&listener.fd, event) } else { self.waiter.poller.delete(&listener.fd) };
        listener.paused = !on;
        if on && result.is_err() {
            listener.paused = true;
            self.accept_resume_ns = Some(mono_ns() + ACCEPT_PAUSE_NS);
        }
    }

    fn resume_accepting(&mut self) {
        if self.accept_resume_ns.is_none_or(|at_ns| at_ns > mono_ns()) {
            return;
        }
        self.accept_resume_ns = None;
        for index in 0..self.listeners.len() {
            if self.listeners[index].as_ref().is_some_and(|listener| listener.paused) {
                self.watch_listener(index, true);
            }
        }
    }

    fn accept<H: Handler>(&mut self, index: usize, handler: &mut H) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let Some(listener) = self.listeners[index].as_ref() else { return };
            match accept4(listener.fd.as_raw_fd(), flags) {
                Ok(fd) => {
                    // SAFETY: a successful accept made this descriptor for us.
                    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                    let conn = ConnId(self.conns.insert(Conn::new(Some(fd), false)));
                    self.watch(conn);
                    handler.accepted(ListenerId(index as u32), conn);
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::ECONNABORTED | Errno::EINTR) => continue,
                // Out of descriptors or memory; anything unknown is treated so as well, never retried in a loop.
                Err(_) => {
                    self.watch_listener(index, false);
                    self.accept_resume_ns = Some(mono_ns() + ACCEPT_PAUSE_NS);
                    return;
                }
            }
        }
    }

    fn recv<H: Handler>(&mut self, conn: ConnId, handler: &mut H) {
        for _ in 0..RECVS_PER_TURN_MAX {
            let Some(state) = self.conns.get_mut(conn.0) else { return };
            let Some(fd) = state.fd.as_ref().filter(|_| state.recv_wanted && !state.ended) else { return };
            match recv(fd.as_raw_fd(), &mut self.recv_buf, MsgFlags::empty()) {
                Ok(0) => {
                    state.ended = true;
                    self.watch(conn);
                    return handler.closed(conn, None);
                }
                Ok(len) => {
                    handler.received(conn, &self.recv_buf[..len]);
                    if len < self.recv_buf.len() {
                        return; // Most likely empty; if not, epoll reports it again.
                    }
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => continue,
                Err(errno) => {
                    state.ended = true;
                    self.watch(conn);
                    return handler.closed(conn, Some(errno as i32));
                }
            }
        }
    }

    /// Sends as much as the socket takes. When the buffer is through, or broken, it waits in `ready`.
    fn push(&mut self, conn: ConnId) {
        let Some(state) = self.conns.get_mut(conn.0) else { return };
        let (Some(fd), Some(sending)) = (&state.fd, &mut state.sending) else { return };
        let result = loop {
            let rest = &sending.buf[sending.sent..];
            if rest.is_empty() {
                break Ok(());
            }
            match send(fd.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(0) => break Err(libc::EPIPE),
                Ok(sent) => sending.sent += sent,
                Err(Errno::EAGAIN) => return self.watch(conn),
                Err(Errno::EINTR) => continue,
                Err(errno) => break Err(errno as i32),
            }
        };
        let Sending { buf, .. } = state.sending.take().expect("looked at above");
        state.send_ready = true;
        self.ready.push_back(Outcome::Sent { conn, buf, result });
        self.watch(conn);
    }

    fn connected<H: Handler>(&mut self, conn: ConnId, handler: &mut H) {
        let Some(state) = self.conns.get_mut(conn.0) else { return };
        let fd = state.fd.as_ref().expect("a connecting one has a socket");
        match getsockopt(fd, sockopt::SocketError).unwrap_or(libc::EBADF) {
            0 => {
                state.connecting = false;
                self.watch(conn);
                handler.connected(conn, Ok(()));
            }
            errno => {
                self.close(conn);
                handler.connected(conn, Err(errno));
            }
        }
    }

    fn conn_event<H: Handler>(&mut self, conn: ConnId, events: EpollFlags, handler: &mut H) {
        let Some(state) = self.conns.get(conn.0) else { return };
        let broken = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        if state.connecting {
            return self.connected(conn, handler);
        }
        if events.intersects(EpollFlags::EPOLLOUT | broken) {
            self.push(conn);
        }
        if events.intersects(EpollFlags::EPOLLIN | broken) {
            self.recv(conn, handler);
        }
    }

    /// Waits unless there is something to do already. The count of events taken.
    fn wait(&mut self, deadline_ns: Option<u64>) -> io::Result<usize> {
        let idle = self.ready.is_empty() && !self.wake.is_notified();
        let left_ns = deadline_ns.map(|at_ns| at_ns.saturating_sub(mono_ns()));
        if !idle || left_ns == Some(0) {
            let result = self.waiter.poll(Some(0));
            self.woken |= self.wake.is_notified() && self.wake.rise();
            return result;
        }
        if let Some(count) = self.spin(deadline_ns)? {
            self.woken |= self.wake.is_notified() && self.wake.rise();
            return Ok(count);
        }
        let result = if self.wake.try_sleep() { self.waiter.poll(left_ns) } else { self.waiter.poll(Some(0)) };
        self.woken |= self.wake.rise();
        result
    }

    /// Polls before blocking, if set so. The count of events if it found something to do.
    fn spin(&mut self, deadline_ns: Option<u64>) -> io::Result<Option<usize>> {
        if !self.spin.enabled() {
            return Ok(None);
        }
        let (waiter, wake) = (&mut self.waiter, &self.wake);
        let mut outcome = Ok(0);
        let found = self.spin.run(deadline_ns, || {
            outcome = waiter.poll(Some(0));
            wake.is_notified() || !matches!(outcome, Ok(0))
        });
        outcome.map(|count| found.then_some(count))
    }
}

impl Waiter {
    /// Waits for events, at most `timeout_ns` nanoseconds (none: for ever). The count of events.
    fn poll(&mut self, timeout_ns: Option<u64>) -> io::Result<usize> {
        if self.coarse || timeout_ns == Some(0) {
            return self.poll_ms(timeout_ns);
        }
        let timeout = timeout_ns.map(|ns| libc::timespec {
            tv_sec: libc::time_t::try_from(ns / 1_000_000_000).unwrap_or(libc::time_t::MAX),
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        });
        // By number: C libraries older than the system call (Linux 5.11) do not name it.
        // SAFETY: `events` is an array of that many `epoll_event` (EpollEvent is transparent over it) to write to; the
        // timeout outlives the call; no signal mask is given.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.poller.0.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
                std::ptr::null::<libc::sigset_t>(),
                size_of::<u64>(),
            )
        };
        if let Ok(count) = usize::try_from(count) {
            return Ok(count);
        }
        match Errno::last() {
            Errno::EINTR => Ok(0),
            Errno::ENOSYS | Errno::EPERM => {
                self.coarse = true;
                self.poll_ms(timeout_ns)
            }
            errno => Err(errno.into()),
        }
    }

    fn poll_ms(&mut self, timeout_ns: Option<u64>) -> io::Result<usize> {
        let timeout_ms = timeout_ns.map_or(-1, |ns| i32::try_from(ns.div_ceil(1_000_000)).unwrap_or(i32::MAX));
        let timeout = EpollTimeout::try_from(timeout_ms).expect("-1 or a count");
        match self.poller.wait(&mut self.events, timeout) {
            Ok(count) => Ok(count),
            Err(Errno::EINTR) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Conn {
    fn new(fd: Option<OwnedFd>, connecting: bool) -> Self {
        let watched = EpollFlags::empty();
        Self { fd, recv_wanted: true, ended: false, connecting, sending: None, send_ready: false, watched }
    }
}

impl Reactor for Epoll {
    fn listen(&mut self, socket: OwnedFd) -> ListenerId {
        socket::prepare_listener(&socket, true);
        let index = self.listeners.len();
        self.listeners.push(Some(Listener { fd: socket, paused: true }));
        self.watch_listener(index, true);
        ListenerId(u32::try_from(index).expect("few listeners"))
    }

    fn stop_listening(&mut self, listener: ListenerId) {
        // Dropping the only descriptor of a socket takes it out of epoll.
        drop(self.listeners.get_mut(listener.0 as usize).and_then(Option::take));
    }

    fn connect(&mut self, addr: SocketAddr) -> ConnId {
        let (fd, result) = match socket::stream_for_connect(&addr, true) {
            Ok(fd) => {
                let result = connect(fd.as_raw_fd(), &SockaddrStorage::from(addr));
                (Some(fd), result)
            }
            Err(errno) => (None, Err(errno)),
        };
        let conn = ConnId(self.conns.insert(Conn::new(fd, true)));
        match result {
            // Even when it is up already: writability reports it, from `turn`.
            Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => self.watch(conn),
            Err(errno) => self.ready.push_back(Outcome::Connected { conn, errno: errno as i32 }),
        }
        conn
    }

    fn send(&mut self, conn: ConnId, buf: Vec<u8>) {
        let Some(state) = self.conns.get_mut(conn.0) else { return };
        assert!(state.sending.is_none() && !state.send_ready, "one send at a time on a connection");
        assert!(!state.connecting, "nothing is sent before the connection is up");
        state.sending = Some(Sending { buf, sent: 0 });
        self.push(conn);
    }

    fn receive(&mut self, conn: ConnId, on: bool) {
        if let Some(state) = self.conns.get_mut(conn.0) {
            state.recv_wanted = on;
            self.watch(conn);
        }
    }

    fn close(&mut self, conn: ConnId) {
        if self.conns.remove(conn.0).is_some() && self.accept_resume_ns.is_some() {
            // A descriptor came free.
            self.accept_resume_ns = Some(0);
        }
    }

    fn file(&mut self, id: u64, op: FileOp) {
        self.disk.start(id, op);
    }

    fn waker(&self) -> Waker {
        self.wake.waker()
    }

    fn wake(&mut self, target: &Waker) {
        target.wake();
    }

    fn turn<H: Handler>(&mut self, deadline_ns: Option<u64>, handler: &mut H) -> io::Result<()> {
        self.resume_accepting();
        let count = self.wait(earliest(deadline_ns, self.accept_resume_ns))?;
        for index in 0..count {
            let event = self.waiter.events[index];
            let id = event.data() & !TAG_MASK;
            match event.data() & TAG_MASK {
                TAG_WAKE => self.wake.drain(),
                TAG_LISTENER => self.accept(id as usize, handler),
                _ => self.conn_event(ConnId(id), event.events(), handler),
            }
        }
        self.disk.finished(&mut self.ready);
        for outcome in &self.ready {
            if let Outcome::Sent { conn, .. } = outcome
                && let Some(state) = self.conns.get_mut(conn.0)
            {
                state.send_ready = false;
            }
        }
        ready::deliver(&mut self.ready, &mut self.conns, handler);
        if std::mem::take(&mut self.woken) {
            handler.woken();
        }
        Ok(())
    }

    fn mono_ns(&self) -> u64 {
        mono_ns()
    }

    fn name(&self) -> &'static str {
        "epoll"
    }
}
