//! Door to the kernel's ring: set-up by probe, submission, waiting, reaping. Owned by one `Ring` on one thread. It keeps no
//! memory for operations: whoever pushes an entry keeps what it points to until the completion has been reaped.

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, opcode};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Completion entries for each submission entry, count: multishot operations complete many times, and a full completion
/// queue costs allocations in the kernel.
const COMPLETIONS_PER_SUBMISSION: u32 = 4;

/// Most submission entries the kernel allows, count.
const ENTRIES_MAX: u32 = 32768;

/// Times a full submission queue is offered to the kernel, count. It refuses only when out of memory; after as many yields
/// the machine is beyond help.
const SUBMIT_ATTEMPTS_MAX: u32 = 100_000;

/// What the kernel says about an operation.
#[derive(Clone, Copy)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// More completions of this operation follow.
    pub(super) fn more(&self) -> bool {
        io_uring::cqueue::more(self.flags)
    }

    /// The provided buffer this completion filled.
    pub(super) fn buffer(&self) -> Option<u16> {
        io_uring::cqueue::buffer_select(self.flags)
    }
}

pub(super) struct Queue {
    ring: IoUring,
    no_iowait: bool,
    truncate: bool,
    /// Completions taken from the kernel to make room for submissions; they come before what it holds now.
    stash: Vec<Completion>,
}

/// What every kernel we run on must have. Multishot receive has no opcode of its own: it came with SEND_ZC in 6.0.
const OPCODES_NEEDED: [(u8, &str); 14] = [
    (opcode::AcceptMulti::CODE, "ACCEPT"),
    (opcode::RecvMulti::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::Fallocate::CODE, "FALLOCATE"),
    (opcode::OpenAt::CODE, "OPENAT"),
    (opcode::RenameAt::CODE, "RENAMEAT"),
    (opcode::UnlinkAt::CODE, "UNLINKAT"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::AsyncCancel2::CODE, "ASYNC_CANCEL"),
    (opcode::SendZc::CODE, "multishot RECV"),
];

impl Queue {
    /// The best set-up this kernel takes: deferred task work (6.1), cooperative task work (5.19), neither.
    pub(super) fn open(entries: u32) -> io::Result<Self> {
        let ring = Self::build(entries, |b| {
            b.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        })
        .or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Self::build(entries, |b| {
                b.setup_coop_taskrun().setup_taskrun_flag();
            }),
            _ => Err(error),
        })
        .or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Self::build(entries, |_| {}),
            _ => Err(error),
        })?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if let Some((_, name)) = OPCODES_NEEDED.iter().find(|(code, _)| !probe.is_supported(*code)) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("the kernel lacks {name}")));
        }
        let params = ring.params();
        if !(params.is_feature_nodrop() && params.is_feature_ext_arg() && params.is_feature_skip_cqe_on_success()) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel's io_uring is too old"));
        }
        let no_iowait = params.is_feature_no_iowait();
        let truncate = probe.is_supported(opcode::Ftruncate::CODE);
        Ok(Self { ring, no_iowait, truncate, stash: Vec::new() })
    }

    fn build(entries: u32, flags: impl Fn(&mut io_uring::Builder)) -> io::Result<IoUring> {
        let entries = entries.clamp(2, ENTRIES_MAX).next_power_of_two();
        let mut builder = IoUring::builder();
        builder.setup_cqsize(entries * COMPLETIONS_PER_SUBMISSION).setup_submit_all().dontfork();
        flags(&mut builder);
        builder.build(entries)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    pub(super) fn can_truncate(&self) -> bool {
        self.truncate
    }

    /// Registers a ring of provided buffers.
    ///
    /// # Safety
    /// `addr` must point to `count` entries that stay valid until `unregister_buffers` or until this queue is gone.
    pub(super) unsafe fn register_buffers(&self, addr: u64, count: u16, group: u16) -> io::Result<()> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(addr, count, group, 0) }
    }

    pub(super) fn unregister_buffers(&self, group: u16) -> io::Result<()> {
        self.ring.submitter().unregister_buf_ring(group)
    }

    /// Queues one operation; enters the kernel only when the queue is full.
    ///
    /// # Safety
    /// What the entry points to must stay valid, and unmoved, until its last completion was reaped.
    pub(super) unsafe fn push(&mut self, entry: &Entry) {
        self.make_room(1);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.ring.submission().push(entry) }.expect("room was made");
    }

    /// Queues two operations of which the second starts after the first: they go in one submission, or the kernel would
    /// not see the link.
    ///
    /// # Safety
    /// As `push`, for both.
    pub(super) unsafe fn push_linked(&mut self, link: Flags, first: Entry, second: Entry) {
        self.make_room(2);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.ring.submission().push_multiple(&[first.flags(link), second]) }.expect("room was made");
    }

    fn make_room(&mut self, wanted: usize) {
        for _ in 0..SUBMIT_ATTEMPTS_MAX {
            let queue = self.ring.submission();
            if queue.capacity() - queue.len() >= wanted {
                return;
            }
            drop(queue);
            match self.ring.submit() {
                Ok(submitted) if submitted > 0 => continue,
                // EBUSY and EAGAIN: no memory for completions or requests. Taking what has completed frees both.
                _ => {
                    let mut stash = std::mem::take(&mut self.stash);
                    self.take(&mut stash);
                    self.stash = stash;
                    std::thread::yield_now();
                }
            }
        }
        panic!("io_uring takes no submissions");
    }

    /// Is there anything a turn could deliver without waiting?
    pub(super) fn has_completions(&mut self) -> bool {
        !self.stash.is_empty() || !self.ring.completion().is_empty() || self.ring.submission().cq_overflow()
    }

    /// Does the kernel have to be entered: something to submit, task work to run, an overflow to flush?
    pub(super) fn needs_enter(&mut self) -> bool {
        let queue = self.ring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Completions or task work seen without entering the kernel.
    pub(super) fn poll(&mut self) -> bool {
        !self.ring.completion().is_empty() || self.ring.submission().taskrun()
    }

    /// Submits everything queued and waits for `want` completions, at most `timeout`.
    pub(super) fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        let to_submit = self.ring.submission().len() as u32;
        let timespec = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            args = args.timespec(timespec);
        }
        // GETEVENTS even when not waiting: deferred task work runs only then.
        let mut flags = EnterFlags::EXT_ARG | EnterFlags::GETEVENTS;
        if self.no_iowait && want > 0 {
            // An idle server would otherwise look like one that waits for its disk.
            flags |= EnterFlags::NO_IOWAIT;
        }
        // SAFETY: `args`, with EXT_ARG the matching argument, and the timespec in it outlive the call; `to_submit` entries
        // were pushed under the promise of `push`.
        let result = unsafe { self.ring.submitter().enter(to_submit, want, flags.bits(), Some(&args)) };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The timeout passed or a signal came: the caller looks at what there is and comes back.
                Some(libc::ETIME | libc::EINTR) => Ok(()),
                // Out of memory for completions or requests: reaping helps, and others may need the processor to.
                Some(libc::EBUSY | libc::EAGAIN) => {
                    std::thread::yield_now();
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    /// Moves what has completed into `into`: at most one full queue and the stash, so that a turn ends.
    pub(super) fn reap(&mut self, into: &mut Vec<Completion>) {
        into.append(&mut self.stash);
        self.take(into);
    }

    fn take(&mut self, into: &mut Vec<Completion>) {
        let completions = self.ring.completion();
        into.extend(completions.map(|c| Completion { user_data: c.user_data(), result: c.result(), flags: c.flags() }));
    }
}
