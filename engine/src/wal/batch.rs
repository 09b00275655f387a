//! Records on their way into the log: encoded, in order, not yet durable. Owned by `Writer`; does no input or output.
//!
//! Bytes are kept per segment, from the start of the block in which the log ends: that block is written again with every
//! batch until it is full, and since its first bytes never change here, a byte once durable is only overwritten by itself.

use super::frame::Chain;
use super::segment::SegmentName;
use super::writer::{Config, Seq, Tail};
use crate::disk::AlignedBuf;
use crate::limits::{WAL_BATCH_KEEP_BYTES, WAL_BLOCK_BYTES};
use crate::pb::raftpb::{Entry, HardState};
use crate::pb::walpb;
use bytes::Bytes;
use std::collections::VecDeque;

const BLOCK: u64 = WAL_BLOCK_BYTES as u64;

/// What is durable once the log is durable up to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub end: u64,
    pub seq: Seq,
    pub commit: u64,
}

/// The not yet durable part of one segment.
pub(super) struct Part {
    pub name: SegmentName,
    /// File offset of `bytes[head]`; a whole number of blocks.
    base: u64,
    bytes: Vec<u8>,
    /// Bytes at the front of `bytes` that are done with.
    head: usize,
    /// File offset up to which everything was handed out for writing.
    sent_end: u64,
    marks: VecDeque<Mark>,
    header_bytes: usize,
    /// Whether anything but the header was ever put into this segment.
    used: bool,
}

impl Part {
    fn new(name: SegmentName, end: u64, block: &[u8], used: bool) -> Self {
        let base = end - end % BLOCK;
        assert_eq!(block.len() as u64, end - base, "the tail block is known");
        let (bytes, marks) = (block.to_vec(), VecDeque::new());
        Self { name, base, bytes, head: 0, sent_end: end, marks, header_bytes: 0, used }
    }

    /// File offset after the last byte encoded.
    pub fn end(&self) -> u64 {
        self.base + (self.bytes.len() - self.head) as u64
    }

    pub fn has_unsent(&self) -> bool {
        self.end() > self.sent_end
    }

    /// File range that the next write covers, in whole blocks.
    pub fn next_range(&self, batch_bytes_max: usize) -> std::ops::Range<u64> {
        let len = (self.end() - self.base).min(batch_bytes_max as u64);
        self.base..self.base + len.next_multiple_of(BLOCK)
    }

    /// The next write: its offset, its bytes padded with zeros, and the file offset it makes durable. One write carries at
    /// most `batch_bytes_max`, whatever the size of a record: recovery relies on a torn write reaching no further.
    pub fn take(&mut self, batch_bytes_max: usize, mut buf: AlignedBuf) -> (u64, AlignedBuf) {
        assert!(self.has_unsent());
        let pending = &self.bytes[self.head..];
        let len = pending.len().min(batch_bytes_max);
        fill(&mut buf, &pending[..len]);
        let offset = self.base;
        self.sent_end = self.base + len as u64;
        let whole_blocks = len - len % WAL_BLOCK_BYTES;
        self.head += whole_blocks;
        self.base += whole_blocks as u64;
        self.compact();
        (offset, buf)
    }

    /// The header of a new segment, as it is written before the segment gets its name.
    pub fn header(&self, mut buf: AlignedBuf) -> AlignedBuf {
        assert!(self.head == 0 && self.base == 0 && self.header_bytes > 0);
        fill(&mut buf, &self.bytes[..self.header_bytes]);
        buf
    }

    /// Forgets the bytes in front of `head` once they are at least half, so that moving the rest stays cheap.
    fn compact(&mut self) {
        if self.head >= self.bytes.len() - self.head {
            self.bytes.drain(..self.head);
            self.head = 0;
            if self.bytes.capacity() > WAL_BATCH_KEEP_BYTES && self.bytes.len() < WAL_BATCH_KEEP_BYTES {
                self.bytes.shrink_to(WAL_BATCH_KEEP_BYTES);
            }
        }
    }

    /// Takes the marks that `sent_end`, now durable, covers; the last of them.
    pub fn settle(&mut self) -> Option<Mark> {
        let mut last = None;
        while self.marks.front().is_some_and(|mark| mark.end <= self.sent_end) {
            last = self.marks.pop_front();
        }
        last
    }
}

fn fill(buf: &mut AlignedBuf, bytes: &[u8]) {
    buf.resize(bytes.len());
    let space = buf.as_mut_slice();
    space[..bytes.len()].copy_from_slice(bytes);
    space[bytes.len()..].fill(0);
}

/// The encoder and its queue: one `Part` per segment, the first being written, the last being filled.
pub(super) struct Batch {
    segment_bytes: u64,
    metadata: Bytes,
    chain: Chain,
    /// Last hard state put in or deferred; restated at the head of every segment.
    state: HardState,
    /// Whether `state` still has to be written as a record.
    deferred: bool,
    /// Last entry or marker put in: the next segment is named after the one behind it.
    last_index: u64,
    last_seq: Seq,
    parts: VecDeque<Part>,
}

impl Batch {
    pub fn new(tail: &Tail, config: &Config) -> Self {
        let part = Part::new(tail.name, tail.end, &tail.block, tail.used);
        Self {
            segment_bytes: config.segment_bytes,
            metadata: tail.metadata.clone(),
            chain: Chain::new(tail.crc),
            state: tail.hard_state,
            deferred: false,
            last_index: tail.last_index,
            last_seq: Seq(0),
            parts: VecDeque::from([part]),
        }
    }

    /// Entries first, then the hard state, as Go orders them: a hard state that survives a torn write never commits
    /// an entry that does not.
    pub fn append(&mut self, hard_state: Option<HardState>, entries: &[Entry]) -> Seq {
        for entry in entries {
            self.record(|chain, out| chain.write_entry(out, entry));
            self.last_index = entry.index;
        }
        let mut must_write = !entries.is_empty();
        if let Some(state) = hard_state.filter(|state| *state != HardState::default() && *state != self.state) {
            must_write |= state.term != self.state.term || state.vote != self.state.vote;
            self.state = state;
            self.deferred = true;
        }
        if must_write { self.seal() } else { self.last_seq }
    }

    pub fn append_marker(&mut self, marker: &walpb::Snapshot) -> Seq {
        self.record(|chain, out| chain.write_snapshot(out, marker));
        self.last_index = self.last_index.max(marker.index);
        self.seal()
    }

    pub fn flush(&mut self) -> Seq {
        if self.deferred { self.seal() } else { self.last_seq }
    }

    /// Everything put in so far gets a sequence number.
    fn seal(&mut self) -> Seq {
        if std::mem::take(&mut self.deferred) {
            let state = self.state;
            self.record(|chain, out| chain.write_hard_state(out, &state));
        }
        self.last_seq.0 += 1;
        let (seq, commit) = (self.last_seq, self.state.commit);
        let part = self.back();
        let end = part.end();
        part.marks.push_back(Mark { end, seq, commit });
        seq
    }

    fn back(&mut self) -> &mut Part {
        self.parts.back_mut().expect("there is always a segment to fill")
    }

    /// Encodes one record, in the next segment if it does not fit into this one: a segment never grows beyond the space
    /// reserved for it, so that a full disk shows while the next segment is prepared and never in a write of records. Only
    /// a record larger than a whole segment makes one grow.
    fn record(&mut self, write: impl Fn(&mut Chain, &mut Vec<u8>)) {
        let (segment_bytes, before) = (self.segment_bytes, self.chain);
        let mut chain = before;
        let part = self.back();
        let len = part.bytes.len();
        write(&mut chain, &mut part.bytes);
        if part.end() > segment_bytes && part.used {
            part.bytes.truncate(len);
            chain = before;
            self.open_next(&mut chain);
            write(&mut chain, &mut self.back().bytes);
        }
        self.back().used = true;
        self.chain = chain;
    }

    fn open_next(&mut self, chain: &mut Chain) {
        let name = SegmentName { seq: self.back().name.seq + 1, first_index: self.last_index + 1 };
        let mut part = Part::new(name, 0, &[], false);
        write_header(chain, &mut part.bytes, &self.metadata, &self.state);
        part.header_bytes = part.bytes.len();
        self.parts.push_back(part);
    }

    pub fn front(&self) -> &Part {
        self.parts.front().expect("there is always a segment to write")
    }

    pub fn front_mut(&mut self) -> &mut Part {
        self.parts.front_mut().expect("there is always a segment to write")
    }

    /// The segment to cut to, if anything waits for it.
    pub fn next(&self) -> Option<&Part> {
        self.parts.get(1)
    }

    /// Bytes left in the segment being filled.
    pub fn left_bytes(&self) -> u64 {
        self.segment_bytes.saturating_sub(self.parts.back().expect("there is always a segment to fill").end())
    }

    pub fn segments_open(&self) -> usize {
        self.parts.len()
    }

    /// Goes on to the next segment, whose header is durable.
    pub fn advance(&mut self) {
        assert!(!self.front().has_unsent() && self.front().marks.is_empty(), "the old segment is durable");
        self.parts.pop_front();
        let part = self.front_mut();
        part.sent_end = part.header_bytes as u64;
    }

    /// Gives up what waits for segments that cannot be made; none of it was acknowledged.
    pub fn abandon_next(&mut self) {
        self.parts.truncate(1);
    }

    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    pub fn pending_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.end() - part.sent_end).sum()
    }
}

/// Head of every segment but the first: the checksum so far, whose log it is, the last hard state.
pub(super) fn write_header(chain: &mut Chain, out: &mut Vec<u8>, metadata: &[u8], state: &HardState) {
    chain.write_crc(out);
    chain.write_metadata(out, metadata);
    if *state != HardState::default() {
        chain.write_hard_state(out, state);
    }
}
