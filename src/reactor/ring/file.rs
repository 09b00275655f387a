//! File operations as ring entries, and what their completions mean. No state beyond the operation in flight, which owns
//! everything its entries point to. A write must never end in success unless all of it is written and, if durable, synced.

use super::queue::Completion;
use crate::reactor::file::{OPEN_FLAGS_ALWAYS, RETRIES_MAX};
use crate::reactor::{DurableWrite, FileOp};
use engine::disk::AlignedBuf;
use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

/// A file operation between submission and its last completion.
pub(super) struct InFlight {
    pub(super) id: u64,
    pub(super) op: FileOp,
    retries: u8,
    sync: Sync,
    failed: Option<i32>,
}

/// Where a write linked with a sync stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    None,
    /// Completions to come, of the write and of the sync, count.
    Linked(u8),
}

/// What to do after a completion.
pub(super) enum Next {
    /// The other half of a linked pair is to come.
    Wait,
    /// Interrupted before it did anything: submit the same entries again.
    Retry,
    Done(Result<usize, i32>),
}

impl InFlight {
    pub(super) fn new(id: u64, op: FileOp, durable_write: DurableWrite) -> Self {
        let linked = durable_write == DurableWrite::Fdatasync && matches!(op, FileOp::Write { durable: true, .. });
        Self { id, op, retries: 0, sync: if linked { Sync::Linked(2) } else { Sync::None }, failed: None }
    }

    /// The entry of this operation, and the sync linked to it. They point into `self.op`'s heap memory, which stays where
    /// it is when `self` moves.
    pub(super) fn entries(&self) -> (Entry, Option<Entry>) {
        let first = match &self.op {
            FileOp::Write { fd, offset, buf, durable } => {
                let dsync = *durable && self.sync == Sync::None;
                opcode::Write::new(types::Fd(*fd), buf.as_slice().as_ptr(), buf.len() as u32)
                    .offset(*offset)
                    .rw_flags(if dsync { libc::RWF_DSYNC } else { 0 })
                    .build()
            }
            FileOp::Fdatasync { fd } => fdatasync(*fd),
            FileOp::Fsync { fd } => opcode::Fsync::new(types::Fd(*fd)).build(),
            FileOp::Allocate { fd, mode, offset, len } => {
                opcode::Fallocate::new(types::Fd(*fd), *len).offset(*offset).mode(*mode).build()
            }
            FileOp::OpenAt { dir, path, flags, mode } => opcode::OpenAt::new(types::Fd(*dir), path.as_ptr())
                .flags(*flags | OPEN_FLAGS_ALWAYS)
                .mode(*mode)
                .build(),
            FileOp::RenameAt { dir, from, to } => {
                opcode::RenameAt::new(types::Fd(*dir), from.as_ptr(), types::Fd(*dir), to.as_ptr()).build()
            }
            FileOp::UnlinkAt { dir, path } => opcode::UnlinkAt::new(types::Fd(*dir), path.as_ptr()).build(),
            FileOp::Truncate { fd, len } => opcode::Ftruncate::new(types::Fd(*fd), *len).build(),
            // On a worker: the last close of an unlinked segment frees its blocks, which is disk work.
            FileOp::Close { fd } => opcode::Close::new(types::Fd(*fd)).build().flags(Flags::ASYNC),
        };
        let second = match (&self.op, self.sync) {
            (FileOp::Write { fd, .. }, Sync::Linked(_)) => Some(fdatasync(*fd)),
            _ => None,
        };
        (first, second)
    }

    /// Takes in a completion; `of_sync` if it is the linked sync's.
    pub(super) fn complete(&mut self, completion: Completion, of_sync: bool) -> Next {
        let mut result = if completion.result < 0 { Err(-completion.result) } else { Ok(completion.result as usize) };
        if let (FileOp::Write { buf, .. }, false, Ok(written)) = (&self.op, of_sync, result)
            && written != buf.len()
        {
            result = Err(libc::EIO);
        }
        match self.sync {
            Sync::None if self.may_retry(result) => {
                self.retries += 1;
                Next::Retry
            }
            Sync::None => Next::Done(result),
            Sync::Linked(left) => {
                assert!(left > 0, "a linked pair completes twice");
                if let Err(errno) = result {
                    // A failed write cancels its sync: the write's error is the one to tell.
                    self.failed = match self.failed {
                        Some(earlier) if errno == libc::ECANCELED => Some(earlier),
                        _ if of_sync && self.failed.is_some() => self.failed,
                        _ => Some(errno),
                    };
                }
                self.sync = Sync::Linked(left - 1);
                if left > 1 {
                    return Next::Wait;
                }
                Next::Done(match self.failed {
                    Some(errno) => Err(errno),
                    None => Ok(self.written()),
                })
            }
        }
    }

    fn may_retry(&self, result: Result<usize, i32>) -> bool {
        // A sync is never retried: after a failure the state of the medium is unknown. Nor is a close: the number is free.
        let once = matches!(self.op, FileOp::Fdatasync { .. } | FileOp::Fsync { .. } | FileOp::Close { .. });
        !once && self.retries < RETRIES_MAX && matches!(result, Err(libc::EINTR | libc::EAGAIN))
    }

    fn written(&self) -> usize {
        match &self.op {
            FileOp::Write { buf, .. } => buf.len(),
            _ => 0,
        }
    }

    /// The buffer of a write.
    pub(super) fn into_buf(self) -> Option<AlignedBuf> {
        match self.op {
            FileOp::Write { buf, .. } => Some(buf),
            _ => None,
        }
    }
}

fn fdatasync(fd: i32) -> Entry {
    opcode::Fsync::new(types::Fd(fd)).flags(types::FsyncFlags::DATASYNC).build()
}
