//! The reactor: sockets, file operations, timers and wakes of one thread, behind one narrow trait.
//! `ring` (io_uring) and `epoll` (with one disk thread) behave alike and pass the same tests. A reactor belongs to the
//! thread that made it; only `Waker` crosses threads. It decides nothing: it queues what it is told, and `turn` submits
//! everything queued, waits, and hands each completion to the `Handler`.

use engine::disk::AlignedBuf;
use std::ffi::CString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

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
    /// Starts an outgoing connection; ends in `Handler::connected`, receiving is armed on success.
    fn connect(&mut self, addr: std::net::SocketAddr) -> ConnId;
    /// Sends the whole buffer. At most one send per connection may be in flight; a second one is a programmer error.
    fn send(&mut self, conn: ConnId, buf: Vec<u8>);
    /// Ends the connection and forgets it: no `received` or `closed` follows. A send in flight is cancelled and its
    /// buffer dropped.
    fn close(&mut self, conn: ConnId);
    fn file(&mut self, id: u64, op: FileOp);
    /// Wakes this reactor from any thread.
    fn waker(&self) -> Waker;
    /// Wakes another reactor from this one: cheaper than `Waker::wake` where the kernel can send ring messages.
    fn wake(&mut self, target: &Waker);
    /// Submits what is queued, waits until something completes or `deadline_ns` (on the `mono_ns` clock) passes, and
    /// delivers all completions that are ready. `None` waits without limit; a deadline in the past does not wait.
    fn turn<H: Handler>(&mut self, deadline_ns: Option<u64>, handler: &mut H) -> io::Result<()>;
    /// CLOCK_MONOTONIC in nanoseconds.
    fn mono_ns(&self) -> u64;
    /// `io_uring` or `epoll`, for the log.
    fn name(&self) -> &'static str;
}

/// Wakes a reactor from another thread. Cloning is cheap. A wake that finds the thread awake costs one atomic operation.
#[derive(Clone, Debug)]
pub struct Waker {}
