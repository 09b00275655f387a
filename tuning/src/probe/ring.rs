//! io_uring: may we use it, and which of the operations we need are there? Tries a small ring of its own and closes it
//! again. Must never hang: every wait has a limit.

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{Builder, opcode, squeue};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

/// Entries of the rings made to try things out.
const RING_ENTRIES: u32 = 8;
/// Longest wait for an operation whose outcome should be there at once, in seconds; for a machine that is very busy.
const WAIT_S_MAX: u64 = 2;
/// Completions looked at while waiting for one of them.
const COMPLETIONS_MAX: usize = 8;

/// What the reactor cannot do without.
const REQUIRED: &[(u8, &str)] = &[
    (opcode::AcceptMulti::CODE, "ACCEPT"),
    (opcode::RecvMulti::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::Read::CODE, "READ"),
    // Takes RWF_DSYNC in its flags ever since there is io_uring.
    (opcode::Write::CODE, "WRITE"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::MsgRingData::CODE, "MSG_RING"),
    (opcode::Fallocate::CODE, "FALLOCATE"),
    (opcode::OpenAt::CODE, "OPENAT"),
    (opcode::RenameAt::CODE, "RENAMEAT"),
    (opcode::UnlinkAt::CODE, "UNLINKAT"),
    (opcode::Close::CODE, "CLOSE"),
];

/// What a ring of this kernel can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// One accept request serves all connections of a listener (kernel 5.19).
    pub accept_multishot: bool,
    /// One receive request serves a connection's life, into buffers of a provided ring (kernel 6.0).
    pub recv_multishot: bool,
    /// IORING_SETUP_SINGLE_ISSUER (kernel 6.0).
    pub single_issuer: bool,
    /// IORING_SETUP_DEFER_TASKRUN, which needs the former (kernel 6.1).
    pub defer_taskrun: bool,
    /// IORING_SETUP_COOP_TASKRUN (kernel 5.19), the next best where DEFER_TASKRUN is missing.
    pub coop_taskrun: bool,
    /// IORING_OP_FTRUNCATE (kernel 6.9); without it the reactor truncates files by a plain system call.
    pub ftruncate: bool,
    /// Required operations that are missing, by name.
    pub missing_ops: Vec<&'static str>,
}

impl Ring {
    fn missing(&self) -> Vec<&'static str> {
        let mut missing = self.missing_ops.clone();
        let multishots =
            [(self.accept_multishot, "multishot ACCEPT"), (self.recv_multishot, "multishot RECV with a buffer ring")];
        missing.extend(multishots.iter().filter(|row| !row.0).map(|row| row.1));
        missing
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoUring {
    /// Everything that is required is there.
    Available(Ring),
    /// Not to be used. `errno` when a ring could not even be made; `reason` is one sentence for the log.
    Unavailable { errno: Option<i32>, reason: String },
}

impl IoUring {
    pub fn is_available(&self) -> bool {
        matches!(self, IoUring::Available(_))
    }
}

/// What falling back costs, as the end of each reason.
const COST: &str =
    "falling back to epoll and a disk thread, which takes more CPU per request and adds a thread switch to every write";

/// Tries io_uring out.
pub fn io_uring() -> IoUring {
    let unavailable = |error: &io::Error| {
        let errno = error.raw_os_error();
        IoUring::Unavailable {
            errno,
            reason: format!("io_uring is not available ({}): {COST}", explain(errno, sysctl())),
        }
    };
    let ring = match io_uring::IoUring::<squeue::Entry, io_uring::cqueue::Entry>::builder().build(RING_ENTRIES) {
        Ok(ring) => ring,
        Err(error) => return unavailable(&error),
    };
    let mut probe = io_uring::Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut probe) {
        return unavailable(&error);
    }
    drop(ring);
    let builds = |set: fn(&mut Builder<squeue::Entry, io_uring::cqueue::Entry>)| {
        let mut builder = io_uring::IoUring::builder();
        set(&mut builder);
        builder.build(RING_ENTRIES).is_ok()
    };
    let mut found = Ring {
        single_issuer: builds(|builder| _ = builder.setup_single_issuer()),
        defer_taskrun: builds(|builder| _ = builder.setup_single_issuer().setup_defer_taskrun()),
        coop_taskrun: builds(|builder| _ = builder.setup_coop_taskrun()),
        ftruncate: probe.is_supported(opcode::Ftruncate::CODE),
        missing_ops: REQUIRED.iter().filter(|row| !probe.is_supported(row.0)).map(|row| row.1).collect(),
        ..Ring::default()
    };
    let trial = try_multishots(&mut found);
    let missing = found.missing();
    if missing.is_empty() {
        return IoUring::Available(found);
    }
    let why = trial.err().map(|error| format!(" (trial: {error})")).unwrap_or_default();
    let reason = format!("io_uring of this kernel lacks {}{why}: {COST}", missing.join(", "));
    IoUring::Unavailable { errno: None, reason }
}

/// `kernel.io_uring_disabled`, where the kernel has it.
fn sysctl() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

pub(super) fn explain(errno: Option<i32>, disabled: Option<u32>) -> String {
    let Some(errno) = errno.map(Errno::from_raw) else {
        return "unknown error".to_string();
    };
    let why = match (errno, disabled) {
        (Errno::EPERM, Some(2)) => "the sysctl kernel.io_uring_disabled is 2",
        (Errno::EPERM, Some(1)) => {
            "the sysctl kernel.io_uring_disabled is 1 and this process is not in kernel.io_uring_group, or a seccomp filter denies it"
        }
        (Errno::EPERM | Errno::EACCES, _) => {
            "denied by a seccomp filter, as container runtimes install by default, or by a security module"
        }
        (Errno::ENOSYS, _) => "this kernel is built without it or too old, or a seccomp filter hides it",
        (Errno::ENOMEM, _) => "too little lockable memory: raise RLIMIT_MEMLOCK",
        (Errno::EMFILE | Errno::ENFILE, _) => "too many open files: raise RLIMIT_NOFILE",
        _ => errno.desc(),
    };
    format!("{errno:?}: {why}")
}

/// A page for the kernel to read and write. In the first half one buffer descriptor (struct io_uring_buf), in the
/// second half the buffer.
#[repr(C, align(4096))]
struct Page([u8; 4096]);

const BUFFER_OFFSET: usize = 2048;
const BUFFER_BYTES: u32 = 64;
const BUFFER_GROUP: u16 = 0;

impl Page {
    fn new() -> Box<Self> {
        let mut page = Box::new(Page([0; 4096]));
        let buffer_address = page.0.as_ptr() as u64 + BUFFER_OFFSET as u64;
        page.0[0..8].copy_from_slice(&buffer_address.to_ne_bytes());
        page.0[8..12].copy_from_slice(&BUFFER_BYTES.to_ne_bytes());
        // Bytes 12..14 are the buffer's number, 0. The tail of the ring overlays the last two bytes of the first
        // descriptor: one buffer is there to be taken.
        page.0[14..16].copy_from_slice(&1u16.to_ne_bytes());
        page
    }
}

/// The multishot forms have no operation code of their own to ask about: accepts one connection and receives one byte
/// from it. Over an abstract Unix address: loopback may be down or filtered, and connecting would then block.
fn try_multishots(found: &mut Ring) -> io::Result<()> {
    const ACCEPT: u64 = 1;
    const RECV: u64 = 2;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Binding to no name makes the kernel choose a free one: containers that share a network have the same process ids.
    bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
    listen(&socket, Backlog::new(1)?)?;
    let listener = UnixListener::from(socket);
    let address = listener.local_addr()?;
    let mut client = UnixStream::connect_addr(&address)?;
    let mut ring = io_uring::IoUring::builder().build(RING_ENTRIES)?;
    submit(&mut ring, &opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build().user_data(ACCEPT))?;
    let (result, is_armed) = wait(&mut ring, ACCEPT)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    let accepted = unsafe { OwnedFd::from_raw_fd(result) };
    found.accept_multishot = is_armed;

    // The kernel may write to this page until the receive has ended, and that can be after the ring was closed. So the
    // page is given up for good: 4 KiB, once per process.
    let page: &'static Page = Box::leak(Page::new());
    // SAFETY: one descriptor at a page-aligned address, in memory that is never freed.
    unsafe { ring.submitter().register_buf_ring_with_flags(page.0.as_ptr() as u64, 1, BUFFER_GROUP, 0)? };
    client.write_all(b"x")?;
    let recv = opcode::RecvMulti::new(Fd(accepted.as_raw_fd()), BUFFER_GROUP).build().user_data(RECV);
    submit(&mut ring, &recv)?;
    let (result, is_armed) = wait(&mut ring, RECV)?;
    found.recv_multishot = result == 1 && is_armed;
    Ok(())
}

fn submit(ring: &mut io_uring::IoUring, entry: &squeue::Entry) -> io::Result<()> {
    // SAFETY: what the entries of this file point to (a registered buffer ring) is never freed; they carry no other
    // pointer.
    unsafe { ring.submission().push(entry) }.map_err(|_| io::Error::other("submission queue full"))?;
    ring.submit().map(drop)
}

/// The next completion of this request: its result, an error if negative, and whether more are to come.
fn wait(ring: &mut io_uring::IoUring, user_data: u64) -> io::Result<(i32, bool)> {
    let limit = Timespec::new().sec(WAIT_S_MAX);
    for _ in 0..COMPLETIONS_MAX {
        if let Some(entry) = ring.completion().next() {
            if entry.user_data() != user_data {
                continue;
            }
            if entry.result() < 0 {
                return Err(io::Error::from_raw_os_error(-entry.result()));
            }
            return Ok((entry.result(), io_uring::cqueue::more(entry.flags())));
        }
        ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&limit))?;
    }
    Err(io::Error::from_raw_os_error(libc::ETIME))
}
