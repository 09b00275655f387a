//! The log writer: records in, file operations out. Owned by the replica on the raft core; does no input or output itself.
//!
//! Call order: `append` any time, then `poll_effect` until None, then `handle` for every completion, then `durable`.
//! One write of records is in flight at a time; what is appended meanwhile is the next one. Must never happen here: a
//! sequence number reported durable whose records, or any before them, a crash can lose; an order of effects that depends
//! on anything but inputs; a failed write tried again.

use super::background::{Background, TailView};
use super::batch::{Batch, Mark};
use super::error::Fatal;
use super::segment::SegmentName;
use crate::disk::AlignedBuf;
use crate::effect::{FileId, FileOp, FileResult, OpId};
use crate::limits::{
    WAL_BATCH_BYTES_MAX, WAL_BLOCK_BYTES, WAL_RESERVE_BYTES, WAL_RESERVE_SHARE, WAL_SEGMENT_BYTES, WAL_ZERO_GAP_BYTES,
    WAL_ZERO_PIECE_BYTES,
};
use crate::pb::raftpb::{Entry, HardState};
use crate::pb::walpb;
use bytes::Bytes;
use std::collections::VecDeque;
use std::path::PathBuf;

/// Position in the order of appends; 0 is what recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// Sizes, all in bytes; tests make them tiny.
#[derive(Clone, Debug)]
pub struct Config {
    /// Reserved size of a segment; whole blocks.
    pub segment_bytes: u64,
    /// Most bytes in one write of records; whole blocks.
    pub batch_bytes_max: usize,
    /// Size of a write of zeros ahead of the log; 0 turns them off (file systems without unwritten extents).
    pub zero_piece_bytes: usize,
    /// Distance that zeros written ahead keep from the end of the log.
    pub zero_gap_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: WAL_SEGMENT_BYTES,
            batch_bytes_max: WAL_BATCH_BYTES_MAX,
            zero_piece_bytes: WAL_ZERO_PIECE_BYTES,
            zero_gap_bytes: WAL_ZERO_GAP_BYTES,
        }
    }
}

/// Where a log ends: everything `Writer` needs to go on. From `create` or `recover`, with `file` open and locked.
#[derive(Clone, Debug)]
pub struct Tail {
    pub file: FileId,
    pub name: SegmentName,
    /// Offset after the last record.
    pub end: u64,
    /// The bytes from the start of the last block to `end`.
    pub block: Vec<u8>,
    /// Whether the segment holds records besides its header.
    pub used: bool,
    /// Checksum of everything before `end`.
    pub crc: u32,
    pub metadata: Bytes,
    pub hard_state: HardState,
    /// Last entry or marker in the log.
    pub last_index: u64,
    /// Offset up to which the file needs no zeros written ahead.
    pub zeroed_to: u64,
    /// Segments before this one, oldest first.
    pub sealed: Vec<SegmentName>,
    /// First number that is free for a file the writer creates.
    pub next_file: FileId,
}

/// The one operation that appends wait for.
enum Foreground {
    Idle,
    Write,
    /// A cut: header into the prepared file, its final name, the directory; only then records.
    Header {
        file: FileId,
        from: PathBuf,
    },
    Rename {
        file: FileId,
        from: PathBuf,
    },
    SyncDir {
        file: FileId,
    },
}

/// Space that the log has for certain, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// For everybody's entries.
    pub bytes: u64,
    /// Beyond that, for raft's own records.
    pub reserve_bytes: u64,
}

/// Head of a segment, in bytes: checksum, metadata and hard state, with room to spare.
const SEGMENT_HEADER_BYTES_MAX: u64 = 256;

#[derive(PartialEq, Eq)]
enum Closing {
    No,
    Draining,
    LastOps,
}

pub struct Writer {
    segment_bytes: u64,
    batch_bytes_max: usize,
    batch: Batch,
    background: Background,
    foreground: Foreground,
    foreground_op: Option<OpId>,
    foreground_len: usize,
    background_op: Option<OpId>,
    background_len: usize,
    last_op: u64,
    file: FileId,
    sealed: VecDeque<SegmentName>,
    spare: Option<AlignedBuf>,
    durable: Seq,
    durable_commit: u64,
    fatal: Option<Fatal>,
    closing: Closing,
}

impl Writer {
    pub fn new(tail: Tail, config: &Config) -> Self {
        assert!(config.batch_bytes_max.is_multiple_of(WAL_BLOCK_BYTES) && config.batch_bytes_max > 0);
        Self {
            segment_bytes: config.segment_bytes,
            batch_bytes_max: config.batch_bytes_max,
            batch: Batch::new(&tail, config),
            background: Background::new(config, &tail),
            foreground: Foreground::Idle,
            foreground_op: None,
            foreground_len: 0,
            background_op: None,
            background_len: 0,
            last_op: 0,
            file: tail.file,
            sealed: tail.sealed.into(),
            spare: None,
            durable: Seq(0),
            durable_commit: tail.hard_state.commit,
            fatal: None,
            closing: Closing::No,
        }
    }

    /// Puts records into the open batch: the entries, then the hard state. Starts nothing by itself.
    ///
    /// A hard state that differs from the last one in its commit alone is kept for the next write and returns the
    /// number of the append before it: nobody is owed its durability. Who needs it calls `flush`.
    pub fn append(&mut self, hard_state: Option<HardState>, entries: &[Entry]) -> Seq {
        assert!(self.closing == Closing::No, "no appends after close");
        self.batch.append(hard_state, entries)
    }

    /// Puts in a marker: a checkpoint covers the log up to its index. Go reads the log from the newest one.
    pub fn append_marker(&mut self, marker: &walpb::Snapshot) -> Seq {
        assert!(self.closing == Closing::No, "no appends after close");
        self.batch.append_marker(marker)
    }

    /// Makes a write for a commit that is waiting for a ride; once the returned number is durable, so is the last commit.
    pub fn flush(&mut self) -> Seq {
        self.batch.flush()
    }

    /// The newest append that asked to be durable.
    pub fn appended(&self) -> Seq {
        self.batch.last_seq()
    }

    /// Every append up to and including this one is durable.
    pub fn durable(&self) -> Seq {
        self.durable
    }

    /// Highest commit of a durable hard state.
    pub fn durable_commit(&self) -> u64 {
        self.durable_commit
    }

    /// Whether appended records wait to be handed out for writing.
    pub fn wants_write(&self) -> bool {
        self.fatal.is_none() && (self.batch.front().has_unsent() || self.batch.next().is_some())
    }

    /// Appended bytes not yet handed out for writing: what to refuse new work by while the disk lags or is full.
    pub fn pending_bytes(&self) -> u64 {
        self.batch.pending_bytes()
    }

    /// Why there is no next segment: the log goes on until this one is full, then appends stop becoming durable.
    pub fn next_segment_error(&self) -> Option<i32> {
        self.background.error()
    }

    /// Tries again to prepare the next segment after `next_segment_error`.
    pub fn retry_prepare(&mut self) {
        self.background.retry();
    }

    /// Last failure to truncate, close or remove an old file: space not given back, nothing else.
    pub fn cleanup_error(&self) -> Option<i32> {
        self.background.cleanup_error()
    }

    /// The next segment has its space on the medium.
    pub fn has_next_segment(&self) -> bool {
        self.background.is_usable()
    }

    /// What may still be appended with its space on the medium assured. An entry takes its payload and
    /// `WAL_ENTRY_OVERHEAD_BYTES`. Appends beyond it are taken, but wait for a segment that may never come.
    ///
    /// A next segment takes anything, however large: it grows if `entry_bytes` of one entry are more than a segment holds.
    pub fn room(&self, entry_bytes: u64) -> Room {
        let reserve_bytes = WAL_RESERVE_BYTES.min(self.segment_bytes / WAL_RESERVE_SHARE);
        let left_bytes = match (self.batch.segments_open(), self.background.is_usable()) {
            // What does not fit behind the last record fits into the next segment.
            (1, true) => {
                let next_bytes = self.segment_bytes.saturating_sub(SEGMENT_HEADER_BYTES_MAX);
                let oversized = entry_bytes > next_bytes.saturating_sub(reserve_bytes);
                self.batch.left_bytes().max(next_bytes).max(if oversized { entry_bytes + reserve_bytes } else { 0 })
            }
            (1, false) | (2, true) => self.batch.left_bytes(),
            _ => 0,
        };
        Room { bytes: left_bytes.saturating_sub(reserve_bytes), reserve_bytes: reserve_bytes.min(left_bytes) }
    }

    pub fn segment(&self) -> SegmentName {
        self.batch.front().name
    }

    /// Removes segments all of whose entries are below `index`; the one that holds `index` stays, as in Go. Oldest first
    /// and each synced before the next, so that no crash leaves a gap.
    pub fn remove_before(&mut self, index: u64) {
        loop {
            let after = self.sealed.get(1).copied().unwrap_or(self.batch.front().name);
            if self.sealed.is_empty() || after.first_index > index {
                return;
            }
            let oldest = self.sealed.pop_front().expect("checked above");
            self.background.push_cleanup(FileOp::Remove { path: oldest.path() });
            self.background.push_cleanup(FileOp::SyncDir);
        }
    }

    /// Writes out what is there, drops the prepared segment and closes the log, through further effects.
    pub fn close(&mut self) {
        if self.closing == Closing::No {
            self.batch.flush();
            self.closing = Closing::Draining;
        }
    }

    /// Closed: every file is closed and no effect will follow.
    pub fn is_closed(&self) -> bool {
        self.closing == Closing::LastOps && self.background.is_idle()
    }

    /// The next file operation to execute; call until None. None for ever after `handle` returned `Fatal`.
    pub fn poll_effect(&mut self) -> Option<(OpId, FileOp)> {
        if self.fatal.is_some() {
            return None;
        }
        if self.foreground_op.is_none() && self.closing != Closing::LastOps {
            if let Some(op) = self.poll_foreground() {
                let id = self.next_op();
                (self.foreground_op, self.foreground_len) = (Some(id), written_len(&op));
                return Some((id, op));
            }
            self.finish_closing();
        }
        let tail = TailView {
            file: self.file,
            end: self.batch.front().end(),
            cut_pending: self.batch.next().is_some(),
            cutting: !matches!(self.foreground, Foreground::Idle | Foreground::Write),
            closing: self.closing != Closing::No,
        };
        let op = self.background.poll(&tail)?;
        let id = self.next_op();
        (self.background_op, self.background_len) = (Some(id), written_len(&op));
        Some((id, op))
    }

    fn next_op(&mut self) -> OpId {
        self.last_op += 1;
        OpId(self.last_op)
    }

    fn poll_foreground(&mut self) -> Option<FileOp> {
        match &self.foreground {
            Foreground::Idle if self.batch.front().has_unsent() => self.start_write(),
            Foreground::Idle => self.start_cut(),
            Foreground::Rename { from, .. } => {
                let to = self.batch.next().expect("a cut has somewhere to go").name.path();
                Some(FileOp::Rename { from: from.clone(), to })
            }
            Foreground::SyncDir { .. } => Some(FileOp::SyncDir),
            Foreground::Write | Foreground::Header { .. } => unreachable!("these are in flight"),
        }
    }

    fn start_write(&mut self) -> Option<FileOp> {
        let (file, range) = (self.file, self.batch.front().next_range(self.batch_bytes_max));
        if self.background.blocks(file, &range) {
            return None;
        }
        let buf = self.buffer();
        let (offset, buf) = self.batch.front_mut().take(self.batch_bytes_max, buf);
        assert!(offset == range.start && buf.len() as u64 == range.end - range.start);
        self.foreground = Foreground::Write;
        Some(FileOp::Write { file, offset, buf, durable: true })
    }

    /// The old segment is durable to its end here: nothing of it may be torn once it is no longer the last.
    fn start_cut(&mut self) -> Option<FileOp> {
        self.batch.next()?;
        let (file, from) = self.background.take_next()?;
        let buf = self.buffer();
        let buf = self.batch.next().expect("checked above").header(buf);
        self.foreground = Foreground::Header { file, from };
        Some(FileOp::Write { file, offset: 0, buf, durable: true })
    }

    fn finish_cut(&mut self, file: FileId) {
        let old = self.batch.front();
        let (name, end) = (old.name, old.end());
        self.background.push_cleanup(FileOp::Truncate { file: self.file, len: end });
        self.background.push_cleanup(FileOp::Close { file: self.file });
        self.sealed.push_back(name);
        self.batch.advance();
        self.file = file;
    }

    fn finish_closing(&mut self) {
        let stuck = self.batch.next().is_some() && self.background.has_failed();
        let drained = !self.batch.front().has_unsent() && (self.batch.next().is_none() || stuck);
        let idle = matches!(self.foreground, Foreground::Idle) && self.background.is_idle();
        if self.closing == Closing::Draining && drained && idle {
            self.batch.abandon_next();
            self.background.finish();
            self.background.push_cleanup(FileOp::Close { file: self.file });
            self.closing = Closing::LastOps;
        }
    }

    fn buffer(&mut self) -> AlignedBuf {
        self.spare.take().unwrap_or_else(|| AlignedBuf::zeroed(0))
    }

    /// Takes the completion of an operation. After an error the log is at its end: nothing more becomes durable.
    pub fn handle(&mut self, id: OpId, result: FileResult, buf: Option<AlignedBuf>) -> Result<(), Fatal> {
        if let Some(fatal) = &self.fatal {
            return Err(fatal.clone());
        }
        let outcome = if self.background_op == Some(id) {
            self.background_op = None;
            self.background.handle(whole(result, self.background_len), buf)
        } else {
            assert!(self.foreground_op == Some(id), "{id:?} is not in flight");
            self.foreground_op = None;
            self.keep_spare(buf);
            self.handle_foreground(whole(result, self.foreground_len))
        };
        outcome.map_err(|(what, errno)| {
            let fatal = Fatal { what, segment: self.segment().to_string(), errno };
            self.fatal = Some(fatal.clone());
            fatal
        })
    }

    /// One buffer is kept for the next write, unless a burst made it large.
    fn keep_spare(&mut self, buf: Option<AlignedBuf>) {
        self.spare = buf.filter(|buf| buf.len() <= self.batch_bytes_max);
    }

    fn handle_foreground(&mut self, result: Result<(), i32>) -> Result<(), (&'static str, i32)> {
        match std::mem::replace(&mut self.foreground, Foreground::Idle) {
            Foreground::Idle => unreachable!("an operation was in flight"),
            Foreground::Write => {
                result.map_err(|errno| ("write records to", errno))?;
                if let Some(Mark { seq, commit, .. }) = self.batch.front_mut().settle() {
                    assert!(seq > self.durable && seq <= self.batch.last_seq(), "appends become durable in order");
                    (self.durable, self.durable_commit) = (seq, commit);
                }
            }
            Foreground::Header { file, from } => {
                result.map_err(|errno| ("write the header of the segment after", errno))?;
                self.foreground = Foreground::Rename { file, from };
            }
            Foreground::Rename { file, .. } => {
                result.map_err(|errno| ("rename the segment after", errno))?;
                self.foreground = Foreground::SyncDir { file };
            }
            Foreground::SyncDir { file } => {
                result.map_err(|errno| ("sync the directory for the segment after", errno))?;
                self.finish_cut(file);
            }
        }
        Ok(())
    }
}

/// Bytes that an operation must report as written.
fn written_len(op: &FileOp) -> usize {
    match op {
        FileOp::Write { buf, .. } => buf.len(),
        _ => 0,
    }
}

/// A short write is a failed one: whoever executes operations writes all or reports why not.
fn whole(result: FileResult, expected: usize) -> Result<(), i32> {
    match result? {
        len if len == expected => Ok(()),
        _ => Err(crate::disk::EIO),
    }
}
