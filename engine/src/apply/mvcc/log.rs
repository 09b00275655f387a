//! The revision log: every row in (main, sub) order, in reference-counted segments. The writer appends while other threads
//! read: a slot is filled once and never changes, and a reader never looks at or beyond the length it was handed.
//! A compacted row is simply absent; positions are never used twice and never move.

use super::limits::{CHUNK_SEGMENTS, SEGMENT_BYTES_MAX};
use super::row::Kv;
use crate::limits::REVISION_SEGMENT_ROWS;
use std::sync::{Arc, OnceLock};

const WORDS: usize = REVISION_SEGMENT_ROWS / 64;
/// Rows up to which a sealed segment finds a row by searching its offsets; above, the bitmap's kilobyte is worth it.
const FEW_ROWS: usize = 64;

const _: () = assert!(REVISION_SEGMENT_ROWS.is_multiple_of(64) && REVISION_SEGMENT_ROWS <= 1 << 16);

/// The log as a reader sees it: which segments there are and how far it may look. Cloning counts one reference.
#[derive(Clone)]
pub(super) struct Log {
    chunks: Arc<Vec<Arc<Chunk>>>,
    next: u64,
    /// Memory of the rows present, in bytes.
    bytes: u64,
}

#[derive(Clone)]
struct Chunk {
    segments: Vec<SegmentRef>,
}

#[derive(Clone)]
struct SegmentRef {
    /// Main revision of the first row ever written to the segment, also when no row of it is left.
    first_main: i64,
    segment: Option<Arc<Segment>>,
}

enum Segment {
    /// Still being filled by the writer.
    Open(Box<[OnceLock<Kv>]>),
    /// Sealed with every row.
    Full(Box<[Kv]>),
    /// Sealed with many rows left.
    Packed { words: Box<[Word; WORDS]>, rows: Box<[Kv]> },
    /// Sealed with few rows left.
    Few { offsets: Box<[u16]>, rows: Box<[Kv]> },
}

/// 64 offsets of a segment: which rows are there, and how many are before them.
#[derive(Clone, Copy, Default)]
struct Word {
    bits: u64,
    rank: usize,
}

impl Word {
    /// Index of the row at a bit that is set.
    fn index(&self, bit: usize) -> usize {
        self.rank + (self.bits & ((1 << bit) - 1)).count_ones() as usize
    }
}

impl Segment {
    fn open() -> Segment {
        Segment::Open((0..REVISION_SEGMENT_ROWS).map(|_| OnceLock::new()).collect())
    }

    fn sealed(rows: Vec<(u16, Kv)>) -> Option<Segment> {
        if rows.is_empty() {
            return None;
        }
        if rows.len() <= FEW_ROWS {
            let (offsets, rows): (Vec<u16>, Vec<Kv>) = rows.into_iter().unzip();
            return Some(Segment::Few { offsets: offsets.into(), rows: rows.into() });
        }
        let mut words = Box::new([Word::default(); WORDS]);
        for (offset, _) in &rows {
            words[usize::from(*offset) / 64].bits |= 1 << (offset % 64);
        }
        for word in 1..WORDS {
            words[word].rank = words[word - 1].rank + words[word - 1].bits.count_ones() as usize;
        }
        let rows: Box<[Kv]> = rows.into_iter().map(|(_, row)| row).collect();
        if rows.len() == REVISION_SEGMENT_ROWS {
            return Some(Segment::Full(rows));
        }
        Some(Segment::Packed { words, rows })
    }

    fn get(&self, offset: usize) -> Option<&Kv> {
        match self {
            Segment::Open(slots) => slots[offset].get(),
            Segment::Full(rows) => Some(&rows[offset]),
            Segment::Packed { words, rows } => {
                let (word, bit) = (&words[offset / 64], offset % 64);
                if word.bits >> bit & 1 == 0 { None } else { Some(&rows[word.index(bit)]) }
            }
            Segment::Few { offsets, rows } => offsets.binary_search(&(offset as u16)).ok().map(|index| &rows[index]),
        }
    }

    /// The first row at or after `offset`.
    fn next_row(&self, offset: usize) -> Option<(usize, &Kv)> {
        match self {
            Segment::Open(slots) => slots.get(offset)?.get().map(|row| (offset, row)),
            Segment::Full(rows) => rows.get(offset).map(|row| (offset, row)),
            Segment::Packed { words, rows } => {
                let mut mask = u64::MAX << (offset % 64);
                for (index, word) in words.iter().enumerate().skip(offset / 64) {
                    let rest = word.bits & mask;
                    if rest != 0 {
                        let bit = rest.trailing_zeros() as usize;
                        return Some((index * 64 + bit, &rows[word.index(bit)]));
                    }
                    mask = u64::MAX;
                }
                None
            }
            Segment::Few { offsets, rows } => {
                let index = offsets.partition_point(|&o| usize::from(o) < offset);
                offsets.get(index).map(|&o| (usize::from(o), &rows[index]))
            }
        }
    }

    fn rows(&self) -> impl Iterator<Item = (u16, &Kv)> {
        let mut offset = 0;
        std::iter::from_fn(move || {
            if offset >= REVISION_SEGMENT_ROWS {
                return None;
            }
            let (at, row) = self.next_row(offset)?;
            offset = at + 1;
            Some((at as u16, row))
        })
    }

    fn len(&self) -> usize {
        match self {
            Segment::Open(slots) => slots.partition_point(|slot| slot.get().is_some()),
            Segment::Full(rows) | Segment::Packed { rows, .. } | Segment::Few { rows, .. } => rows.len(),
        }
    }
}

impl Log {
    pub fn empty() -> Log {
        Log { chunks: Arc::new(Vec::new()), next: 0, bytes: 0 }
    }

    /// Memory of the rows present, in bytes; rows that a compaction has marked count until their segment is rewritten.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// One past the last position that may be read.
    pub fn end(&self) -> u64 {
        self.next
    }

    pub fn get(&self, position: u64) -> Option<&Kv> {
        if position >= self.next {
            return None;
        }
        let (segment, offset) = split(position);
        self.segment(segment)?.segment.as_ref()?.get(offset)
    }

    /// The row at a position that the index or a live chain names.
    pub fn row(&self, position: u64) -> &Kv {
        self.get(position).expect("a row named by the index is in the log")
    }

    /// The first row at or after `position`.
    pub fn next_row(&self, position: u64) -> Option<(u64, &Kv)> {
        let (mut index, mut offset) = split(position);
        while let Some(reference) = self.segment(index) {
            if let Some((at, row)) = reference.segment.as_ref().and_then(|s| s.next_row(offset)) {
                let found = (index * REVISION_SEGMENT_ROWS + at) as u64;
                return if found < self.next { Some((found, row)) } else { None };
            }
            index += 1;
            offset = 0;
        }
        None
    }

    /// The position from which rows have a main revision of at least `main`.
    pub fn position_of(&self, main: i64) -> u64 {
        let chunk = self.chunks.partition_point(|c| c.segments[0].first_main < main);
        let Some(chunk) = chunk.checked_sub(1) else { return 0 };
        let segments = &self.chunks[chunk].segments;
        // The segment before the first that starts at or after `main` may end with rows of it.
        let index = chunk * CHUNK_SEGMENTS + segments.partition_point(|s| s.first_main < main) - 1;
        let Some(segment) = self.segment(index).and_then(|s| s.segment.as_ref()) else {
            return ((index + 1) * REVISION_SEGMENT_ROWS) as u64;
        };
        let (mut low, mut high) = (0, REVISION_SEGMENT_ROWS);
        while low < high {
            let middle = low.midpoint(high);
            if segment.next_row(middle).is_some_and(|(_, row)| row.main() < main) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        ((index * REVISION_SEGMENT_ROWS + low) as u64).min(self.next)
    }

    fn segment(&self, index: usize) -> Option<&SegmentRef> {
        self.chunks.get(index / CHUNK_SEGMENTS)?.segments.get(index % CHUNK_SEGMENTS)
    }

    /// Segments that hold rows, and rows; debug counters.
    pub fn census(&self) -> (usize, usize) {
        let present = self.chunks.iter().flat_map(|c| &c.segments).filter_map(|s| s.segment.as_ref());
        present.fold((0, 0), |(segments, rows), s| (segments + 1, rows + s.len()))
    }
}

fn split(position: u64) -> (usize, usize) {
    let position = position as usize;
    (position / REVISION_SEGMENT_ROWS, position % REVISION_SEGMENT_ROWS)
}

/// The writer's end of the log.
pub(super) struct LogWriter {
    log: Log,
    /// The segment being filled; also in the table.
    open: Option<Arc<Segment>>,
    open_bytes: usize,
}

impl LogWriter {
    pub fn new() -> LogWriter {
        LogWriter { log: Log::empty(), open: None, open_bytes: 0 }
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn append(&mut self, row: Kv) -> u64 {
        if self.open_bytes >= SEGMENT_BYTES_MAX {
            self.seal();
        }
        let position = self.log.next;
        let (segment, offset) = split(position);
        if offset == 0 {
            assert!(self.log.segment(segment).is_none(), "segment {segment} begun twice");
            self.begin_segment(row.main());
        }
        self.open_bytes += row.footprint_bytes();
        self.log.bytes += row.footprint_bytes() as u64;
        let Some(Segment::Open(slots)) = self.open.as_deref() else { unreachable!("a segment is open") };
        assert!(slots[offset].set(row).is_ok(), "position {position} written twice");
        self.log.next += 1;
        if offset + 1 == REVISION_SEGMENT_ROWS {
            self.seal();
        }
        position
    }

    /// Closes the open segment: its rows move to the compact form, and positions go on at the next segment.
    pub fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (last, _) = split(self.log.next - 1);
        let rows: Vec<(u16, Kv)> = open.rows().map(|(offset, row)| (offset, row.clone())).collect();
        self.replace(last, Segment::sealed(rows));
        self.log.next = ((last + 1) * REVISION_SEGMENT_ROWS) as u64;
        self.open_bytes = 0;
    }

    pub fn open_segment(&self) -> Option<usize> {
        self.open.as_ref().map(|_| split(self.log.next).0)
    }

    /// Rows present in a segment.
    pub fn segment_len(&self, index: usize) -> usize {
        self.log.segment(index).and_then(|s| s.segment.as_ref()).map_or(0, |s| s.len())
    }

    /// Rewrites a sealed segment without the rows whose bit is set in `dead`.
    pub fn drop_rows(&mut self, index: usize, dead: &[u64; WORDS]) {
        assert!(self.open_segment() != Some(index), "the open segment is sealed before rows are dropped");
        let Some(segment) = self.log.segment(index).and_then(|s| s.segment.clone()) else { return };
        let alive = |offset: u16| dead[usize::from(offset) / 64] >> (offset % 64) & 1 == 0;
        let rows: Vec<(u16, Kv)> =
            segment.rows().filter(|(offset, _)| alive(*offset)).map(|(offset, row)| (offset, row.clone())).collect();
        let kept: usize = rows.iter().map(|(_, row)| row.footprint_bytes()).sum();
        let before: usize = segment.rows().map(|(_, row)| row.footprint_bytes()).sum();
        self.log.bytes -= (before - kept) as u64;
        self.replace(index, Segment::sealed(rows));
    }

    fn begin_segment(&mut self, first_main: i64) {
        assert!(self.open.is_none(), "one segment is open at a time");
        let segment = Arc::new(Segment::open());
        self.open = Some(segment.clone());
        self.open_bytes = 0;
        let chunks = Arc::make_mut(&mut self.log.chunks);
        if chunks.last().is_none_or(|chunk| chunk.segments.len() == CHUNK_SEGMENTS) {
            chunks.push(Arc::new(Chunk { segments: Vec::new() }));
        }
        let chunk = Arc::make_mut(chunks.last_mut().expect("just pushed"));
        chunk.segments.push(SegmentRef { first_main, segment: Some(segment) });
    }

    fn replace(&mut self, index: usize, segment: Option<Segment>) {
        let chunks = Arc::make_mut(&mut self.log.chunks);
        let chunk = Arc::make_mut(&mut chunks[index / CHUNK_SEGMENTS]);
        chunk.segments[index % CHUNK_SEGMENTS].segment = segment.map(Arc::new);
    }
}

/// Rows of one segment that compaction has marked.
pub(super) struct DeadRows {
    pub bits: Box<[u64; WORDS]>,
    pub rows: usize,
    pub bytes: usize,
}

impl DeadRows {
    pub fn new() -> DeadRows {
        DeadRows { bits: Box::new([0; WORDS]), rows: 0, bytes: 0 }
    }

    pub fn contains(&self, position: u64) -> bool {
        let (_, offset) = split(position);
        self.bits[offset / 64] >> (offset % 64) & 1 == 1
    }

    /// False if the row was marked before.
    pub fn mark(&mut self, position: u64, bytes: usize) -> bool {
        let (_, offset) = split(position);
        let word = &mut self.bits[offset / 64];
        if *word >> (offset % 64) & 1 == 1 {
            return false;
        }
        *word |= 1 << (offset % 64);
        self.rows += 1;
        self.bytes += bytes;
        true
    }
}

pub(super) fn segment_of(position: u64) -> usize {
    split(position).0
}
