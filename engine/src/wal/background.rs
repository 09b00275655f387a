//! Work that no append waits for, unless the log runs out of prepared space: zeros ahead of the end of the log, the
//! next segment, removal of old ones. Owned by `Writer`; one operation in flight at a time, in an order that depends on
//! inputs alone. A full disk here is a state to report, not a reason to stop.

use super::segment::prepared_name;
use super::writer::{Config, Tail};
use crate::disk::AlignedBuf;
use crate::effect::{FileId, FileOp};
use crate::limits::WAL_BLOCK_BYTES;
use std::collections::VecDeque;
use std::path::PathBuf;

/// How far the next segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Missing,
    Created,
    /// Usable from here on; further stages only make writes into it cheaper.
    Allocated,
    Zeroed,
    Ready,
    /// The disk was full: waits for `retry`.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Job {
    Cleanup,
    ZeroTail { file: FileId, to: u64 },
    Create,
    Allocate,
    ZeroNext { to: u64 },
    SyncNext,
}

/// The segment that records go to, as far as background work minds.
pub(super) struct TailView {
    pub file: FileId,
    pub end: u64,
    /// The foreground waits for the next segment: that first.
    pub cut_pending: bool,
    /// The foreground is at a cut: nothing may compete with it for the directory.
    pub cutting: bool,
    pub closing: bool,
}

pub(super) struct Background {
    segment_bytes: u64,
    zero_piece_bytes: u64,
    zero_gap_bytes: u64,
    in_flight: Option<Job>,
    /// File and range of zeros in flight: a write of records into it must wait, since the two have no order.
    zeroing: Option<(FileId, std::ops::Range<u64>)>,
    cleanup: VecDeque<FileOp>,
    cleanup_error: Option<i32>,
    tail_file: FileId,
    tail_zeroed: u64,
    next: Stage,
    next_zeroed: u64,
    next_file: FileId,
    next_path: PathBuf,
    count: u64,
    error: Option<i32>,
    zeros: Option<AlignedBuf>,
}

impl Background {
    pub fn new(config: &Config, tail: &Tail) -> Self {
        let block = WAL_BLOCK_BYTES as u64;
        assert!(config.segment_bytes.is_multiple_of(block) && config.segment_bytes > 0);
        assert!(config.zero_piece_bytes.is_multiple_of(WAL_BLOCK_BYTES) && config.zero_gap_bytes.is_multiple_of(block));
        Self {
            segment_bytes: config.segment_bytes,
            zero_piece_bytes: config.zero_piece_bytes as u64,
            zero_gap_bytes: config.zero_gap_bytes,
            in_flight: None,
            zeroing: None,
            cleanup: VecDeque::new(),
            cleanup_error: None,
            tail_file: tail.file,
            tail_zeroed: tail.zeroed_to,
            next: Stage::Missing,
            next_zeroed: 0,
            next_file: tail.next_file,
            next_path: prepared_name(0),
            count: 0,
            error: None,
            zeros: None,
        }
    }

    /// The next operation to start, if there is one and none is in flight.
    pub fn poll(&mut self, tail: &TailView) -> Option<FileOp> {
        if self.in_flight.is_some() || tail.cutting {
            return None;
        }
        if let Some(op) = self.cleanup.pop_front() {
            self.in_flight = Some(Job::Cleanup);
            return Some(op);
        }
        if tail.cut_pending {
            return self.prepare(false);
        }
        if tail.closing {
            return None;
        }
        // Space for the next segment first: that it is missing should be known while there is still room in this one.
        let op = self.prepare(false).or_else(|| self.zero_tail(tail)).or_else(|| self.prepare(true));
        if op.is_none() {
            self.zeros = None;
        }
        op
    }

    fn zero_tail(&mut self, tail: &TailView) -> Option<FileOp> {
        let from = (tail.end.next_multiple_of(WAL_BLOCK_BYTES as u64) + self.zero_gap_bytes).max(self.tail_zeroed);
        let to = self.segment_bytes.min(from + self.zero_piece_bytes);
        (from < to).then(|| self.zero(Job::ZeroTail { file: tail.file, to }, tail.file, from..to))
    }

    /// One step on the way to a ready next segment. In a hurry only the steps without which it cannot be used.
    fn prepare(&mut self, fully: bool) -> Option<FileOp> {
        let file = self.next_file;
        let (job, op) = match self.next {
            Stage::Missing => {
                self.next_path = prepared_name(self.count);
                (Job::Create, FileOp::Create { file, path: self.next_path.clone() })
            }
            Stage::Created => (Job::Allocate, FileOp::Allocate { file, len: self.segment_bytes }),
            Stage::Allocated if fully => {
                let (from, to) = (self.next_zeroed, self.segment_bytes.min(self.next_zeroed + self.zero_piece_bytes));
                return Some(self.zero(Job::ZeroNext { to }, file, from..to));
            }
            Stage::Zeroed if fully => (Job::SyncNext, FileOp::Sync { file }),
            Stage::Allocated | Stage::Zeroed | Stage::Ready | Stage::Failed => return None,
        };
        self.in_flight = Some(job);
        Some(op)
    }

    fn zero(&mut self, job: Job, file: FileId, range: std::ops::Range<u64>) -> FileOp {
        let len = (range.end - range.start) as usize;
        let mut buf = self.zeros.take().unwrap_or_else(|| AlignedBuf::zeroed(len));
        buf.resize(len);
        let offset = range.start;
        self.in_flight = Some(job);
        self.zeroing = Some((file, range));
        FileOp::Write { file, offset, buf, durable: false }
    }

    /// Takes the completion of the operation in flight. The error is one that must stop the log.
    pub fn handle(&mut self, result: Result<(), i32>, buf: Option<AlignedBuf>) -> Result<(), (&'static str, i32)> {
        let job = self.in_flight.take().expect("a background operation was in flight");
        if self.zeroing.take().is_some() {
            self.zeros = buf;
        }
        match (job, result) {
            (Job::Cleanup, Ok(())) => {}
            // The space stays occupied and recovery removes it; nothing that is acknowledged depends on it.
            (Job::Cleanup, Err(errno)) => self.cleanup_error = Some(errno),
            // The log went on to another file meanwhile.
            (Job::ZeroTail { file, .. }, Ok(())) if file != self.tail_file => {}
            (Job::ZeroTail { to, .. }, Ok(())) => self.tail_zeroed = to,
            // Zeros are there already, written or not: a disk without space for them only makes later writes slower.
            (Job::ZeroTail { .. }, Err(errno)) if is_full(errno) => self.tail_zeroed = self.segment_bytes,
            (Job::Create, Ok(())) => self.next = Stage::Created,
            (Job::Create, Err(errno)) => self.fail(errno, false),
            (Job::Allocate, Ok(())) => {
                self.next = if self.zero_piece_bytes == 0 { Stage::Zeroed } else { Stage::Allocated };
                self.next_zeroed = 0;
            }
            (Job::ZeroNext { to }, Ok(())) => {
                self.next_zeroed = to;
                if to == self.segment_bytes {
                    self.next = Stage::Zeroed;
                }
            }
            (Job::Allocate | Job::ZeroNext { .. }, Err(errno)) if is_full(errno) => self.fail(errno, true),
            (Job::SyncNext, Ok(())) => self.next = Stage::Ready,
            (Job::Allocate, Err(errno)) => return Err(("reserve space for the next segment", errno)),
            (Job::ZeroTail { .. }, Err(errno)) => return Err(("write zeros ahead", errno)),
            (Job::ZeroNext { .. }, Err(errno)) => return Err(("write zeros into the next segment", errno)),
            (Job::SyncNext, Err(errno)) => return Err(("sync the next segment", errno)),
        }
        Ok(())
    }

    /// Gives back what was taken of a disk that turned out to be full.
    fn fail(&mut self, errno: i32, created: bool) {
        self.error = Some(errno);
        self.next = Stage::Failed;
        if created {
            self.drop_next();
        }
    }

    fn drop_next(&mut self) {
        self.cleanup.push_back(FileOp::Close { file: self.next_file });
        self.cleanup.push_back(FileOp::Remove { path: self.next_path.clone() });
        self.next_file.0 += 1;
    }

    pub fn error(&self) -> Option<i32> {
        self.error
    }

    pub fn cleanup_error(&self) -> Option<i32> {
        self.cleanup_error
    }

    pub fn has_failed(&self) -> bool {
        self.next == Stage::Failed
    }

    pub fn retry(&mut self) {
        if self.next == Stage::Failed {
            self.next = Stage::Missing;
            self.error = None;
        }
    }

    /// The next segment has its space on the medium.
    pub fn is_usable(&self) -> bool {
        matches!(self.next, Stage::Allocated | Stage::Zeroed | Stage::Ready)
    }

    /// Hands the prepared segment to the foreground, if it can be used and nothing is in flight on it.
    pub fn take_next(&mut self) -> Option<(FileId, PathBuf)> {
        let busy = matches!(self.in_flight, Some(Job::ZeroNext { .. } | Job::SyncNext));
        if !self.is_usable() || busy {
            return None;
        }
        let file = self.next_file;
        self.tail_file = file;
        self.tail_zeroed = if self.zero_piece_bytes == 0 || self.next != Stage::Allocated {
            self.segment_bytes
        } else {
            self.next_zeroed
        };
        self.next = Stage::Missing;
        self.next_file.0 += 1;
        self.count += 1;
        Some((file, self.next_path.clone()))
    }

    /// Whether zeros in flight overlap a write of records.
    pub fn blocks(&self, file: FileId, range: &std::ops::Range<u64>) -> bool {
        self.zeroing.as_ref().is_some_and(|(f, zeros)| *f == file && zeros.start < range.end && range.start < zeros.end)
    }

    pub fn push_cleanup(&mut self, op: FileOp) {
        self.cleanup.push_back(op);
    }

    /// The last cleanup: the unused next segment goes, as in Go's clean shutdown.
    pub fn finish(&mut self) {
        assert!(self.is_idle());
        if !matches!(self.next, Stage::Missing | Stage::Failed) {
            self.drop_next();
            self.next = Stage::Missing;
        }
    }

    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.cleanup.is_empty()
    }
}

/// Errors of a disk that has no room, as opposed to one that is broken.
fn is_full(errno: i32) -> bool {
    matches!(errno, crate::disk::ENOSPC | crate::disk::EDQUOT)
}
