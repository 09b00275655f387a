//! The reactor: sockets, file operations, timers and wakes of one thread, behind one narrow trait.
//! `ring` (io_uring) and `epoll` (with one disk thread) behave alike and pass the same tests. A reactor belongs to the
//! thread that made it; only `Waker` crosses threads. It decides nothing: it queues what it is told, and `turn` submits
//! everything queued, waits, and hands each completion to the `Handler`.

mod any;
mod epoll;
mod file;
mod ready;
mod ring;
mod slots;
pub mod socket;
mod spin;
mod wake;

pub use any::{AnyReactor, Kind, open};
pub use wake::Waker;

use engine::disk::AlignedBuf;
use std::ffi::CString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

/// How a durable write reaches the medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DurableWrite {
    /// One request: the write carries RWF_DSYNC. Measured cheapest.
    #[default]
    Dsync,
    /// A plain write, then fdatasync: for file systems where the first is slow.
    Fdatasync,
}

/// What can be set on a reactor.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long to poll for completions before blocking; zero is off, the default. Lowers latency by the cost of a wake
    /// where the thread has a core of its own.
    pub spin: Duration,
    pub durable_write: DurableWrite,
    /// Submission entries of the ring, count, rounded up to a power of two. More operations than this may be in flight;
    /// it only says how many one system call submits.
    pub entries: u32,
    /// Receive buffers of the ring, count, rounded up to a power of two. They are shared by all connections and given back
    /// after each `Handler::received`, so they need to cover one turn only.
    pub recv_buffers: u16,
    /// Bytes of one receive buffer, and of the epoll reactor's single one.
    pub recv_buffer_bytes: u32,
}

/// Submission entries, count: a turn rarely queues more than a few operations for each of a hundred busy connections.
pub const RING_ENTRIES_DEFAULT: u32 = 1024;

/// Receive buffers, count: more than the connections that have something to say in one turn; 4 MiB in all.
pub const RECV_BUFFERS_DEFAULT: u16 = 256;

/// Bytes of a receive buffer: HTTP/2's default largest frame is 16 KiB.
pub const RECV_BUFFER_BYTES_DEFAULT: u32 = 16 << 10;

/// How long accepting pauses when descriptors have run out, in nanoseconds, unless a connection is closed earlier. Long
/// enough not to burn a core on a full process, short against any client's patience.
pub const ACCEPT_PAUSE_NS: u64 = 100_000_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            spin: Duration::ZERO,
            durable_write: DurableWrite::default(),
            entries: RING_ENTRIES_DEFAULT,
            recv_buffers: RECV_BUFFERS_DEFAULT,
            recv_buffer_bytes: RECV_BUFFER_BYTES_DEFAULT,
        }
    }
}

/// Names a connection: a slot and a generation, so that a stale id never reaches a newer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId(pub u64);

/// Names a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u32);

/// A file operation on descriptors. The driver's disk turns `engine::effect::FileOp` into these.
#[derive(Debug)]
pub enum FileOp {
    /// Whole-buffer write. `durable` as the reactor's `DurableWrite` setting says: RWF_DSYNC in one request, or a write
    /// linked with fdatasync. A short write is an error (`EIO`), never silently continued.
    Write {
        fd: RawFd,
        offset: u64,
        buf: AlignedBuf,
        durable: bool,
    },
    Fdatasync {
        fd: RawFd,
    },
    Fsync {
        fd: RawFd,
    },
    /// fallocate with these mode bits.
    Allocate {
        fd: RawFd,
        mode: i32,
        offset: u64,
        len: u64,
    },
    /// Opens relative to `dir`; the completion's number is the new descriptor.
    OpenAt {
        dir: RawFd,
        path: CString,
        flags: i32,
        mode: u32,
    },
    RenameAt {
        dir: RawFd,
        from: CString,
        to: CString,
    },
    UnlinkAt {
        dir: RawFd,
        path: CString,
    },
    Truncate {
        fd: RawFd,
        len: u64,
    },
    Close {
        fd: RawFd,
    },
}

/// What a turn delivers. Calls come on the reactor's thread, in completion order; a handler must not block.
pub trait Handler {
    /// A connection was accepted; receiving is already armed, TCP_NODELAY set.
    fn accepted(&mut self, listener: ListenerId, conn: ConnId);
    /// Bytes arrived. The slice lives in the reactor's buffers and is only valid during the call.
    fn received(&mut self, conn: ConnId, bytes: &[u8]);
    /// The peer closed its side or the connection failed (errno). Nothing more comes for it; the owner must still call
    /// `Reactor::close`. A send in flight still completes through `sent`.
    fn closed(&mut self, conn: ConnId, error: Option<i32>);
    /// The whole buffer given to `Reactor::send` left, or the connection broke; the buffer comes back for reuse.
    fn sent(&mut self, conn: ConnId, buf: Vec<u8>, result: Result<(), i32>);
    /// An outgoing connection (`Reactor::connect`) is up, or failed with an errno.
    fn connected(&mut self, conn: ConnId, result: Result<(), i32>);
    /// A file operation ended: bytes written or descriptor opened, or an errno. A written buffer comes back.
    fn file_done(&mut self, id: u64, result: Result<usize, i32>, buf: Option<AlignedBuf>);
    /// Somebody woke this thread through its `Waker` since the last turn (any number of wakes give one call).
    fn woken(&mut self);
}

pub trait Reactor {
    /// Accepts on `socket` (already bound and listening) until `stop_listening`. When descriptors run out, accepting pauses
    /// and resumes by itself.
    fn listen(&mut self, socket: OwnedFd) -> ListenerId;
    fn stop_listening(&mut self, listener: ListenerId);
    /// Starts an outgoing connection; ends in `Handler::connected`, receiving is armed on success. One that failed is
    /// forgotten, its id is stale by then.
    fn connect(&mut self, addr: std::net::SocketAddr) -> ConnId;
    /// Sends the whole buffer. At most one send per connection may be in flight; a second one is a programmer error. On a
    /// stale id the buffer is dropped and nothing follows, as after `close`.
    fn send(&mut self, conn: ConnId, buf: Vec<u8>);
    /// Stops or resumes receiving (on from the start): pushes back on a peer that sends faster than its bytes can be used.
    /// What was taken from the socket before may still be delivered after stopping; the peer's close is not noticed then.
    fn receive(&mut self, conn: ConnId, on: bool);
    /// Ends the connection and forgets it: no `received` or `closed` follows. A send in flight is cancelled and its
    /// buffer dropped. Does nothing on a stale id.
    fn close(&mut self, conn: ConnId);
    fn file(&mut self, id: u64, op: FileOp);
    /// Wakes this reactor from any thread.
    fn waker(&self) -> Waker;
    /// Wakes another reactor from this one: cheaper than `Waker::wake` where the kernel can send ring messages.
    fn wake(&mut self, target: &Waker);
    /// Submits what is queued, waits until something completes or `deadline_ns` (on the `mono_ns` clock) passes, and
    /// delivers all completions that are ready. `None` waits without limit; a deadline in the past does not wait. It may
    /// return early with nothing to deliver (a signal, a late wake).
    fn turn<H: Handler>(&mut self, deadline_ns: Option<u64>, handler: &mut H) -> io::Result<()>;
    /// CLOCK_MONOTONIC in nanoseconds.
    fn mono_ns(&self) -> u64;
    /// `io_uring` or `epoll`, for the log.
    fn name(&self) -> &'static str;
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn mono_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    assert_eq!(result, 0, "every Linux has CLOCK_MONOTONIC");
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The earlier of two deadlines, where `None` is never.
pub fn earliest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
