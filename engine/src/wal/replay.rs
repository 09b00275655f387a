//! The records of a log passing by in order: what they add up to, and whether the log may end where it does.
//! Owned by recovery; changes nothing on disk. A record that cannot follow the ones before it stops the replay.

use super::error::RecoverError;
use super::frame::{Chain, FrameLength, Kind, LENGTH_BYTES, RECORD_HEADER_BYTES_MAX, RecordRef};
use super::frame::{decode_entry, decode_hard_state, decode_snapshot};
use super::reader::{Found, SegmentReader, Written, is_zero};
use super::recover::Replayed;
use super::segment::SegmentName;
use crate::limits::WAL_SECTOR_BYTES;
use crate::pb::raftpb::{Entry, HardState};
use crate::pb::walpb;
use bytes::Bytes;
use std::path::Path;

/// Why a record was not taken, in the words of what was expected instead.
enum Refused {
    /// The bytes are not the ones written: maybe a torn write.
    Checksum(String),
    /// The bytes are what was written, or the checksum cannot tell; they make no sense here. Never a torn write.
    Content(String),
}

pub(super) struct Replay<'e> {
    on_record: &'e mut dyn FnMut(Replayed),
    pub chain: Chain,
    pub metadata: Option<Bytes>,
    pub hard_state: HardState,
    /// Highest commit of any hard state: nothing at or below it may be replaced or missing.
    commit: u64,
    /// Index that the log reaches: its last entry, or a marker beyond it.
    last_index: u64,
    /// Last entry or higher marker: what Go names the next segment by.
    pub last_saved: u64,
    /// Whether the next entry has to continue the ones before. The first one of a log whose beginning was removed need not.
    anchored: bool,
    /// Whether this is the first record of the log: its checksum continues one that is not there any more.
    first: bool,
    pub markers: Vec<walpb::Snapshot>,
    /// Highest index of a marker.
    pub marker_index: u64,
    /// Whether the segment holds records besides its header.
    pub used: bool,
    /// End of what is not zero in the last segment.
    pub dirty_end: u64,
}

impl<'e> Replay<'e> {
    pub fn new(on_record: &'e mut dyn FnMut(Replayed), oldest: SegmentName) -> Self {
        let before = oldest.first_index.saturating_sub(1);
        Self {
            on_record,
            chain: Chain::new(0),
            metadata: None,
            hard_state: HardState::default(),
            commit: 0,
            last_index: before,
            last_saved: before,
            anchored: oldest.seq == 0,
            first: true,
            markers: Vec::new(),
            marker_index: 0,
            used: false,
            dirty_end: 0,
        }
    }

    /// Replays one segment; the offset after its last record. `last` describes the segment the log ends in, and
    /// `batch_bytes_max` is what one write may have torn there.
    pub fn segment(
        &mut self,
        reader: &mut SegmentReader<'_>,
        last: Option<&Written>,
        batch_bytes_max: u64,
    ) -> Result<u64, RecoverError> {
        let (mut offset, mut count) = (0, 0u64);
        self.used = false;
        let broken = loop {
            match reader.find(offset)? {
                Found::End => break None,
                Found::Broken(broken) => break Some(broken),
                Found::Record { record, frame_len } => match self.record(record, count) {
                    Ok(()) => (offset, count) = (offset + frame_len, count + 1),
                    Err(Refused::Checksum(expected)) => {
                        let field = reader.bytes(offset, LENGTH_BYTES)?.try_into().expect("a whole frame");
                        let length = FrameLength::parse(u64::from_le_bytes(field)).expect("found just before");
                        break Some(reader.judge(offset, &length, expected)?);
                    }
                    Err(Refused::Content(expected)) => return Err(corrupt(reader, offset, expected)),
                },
            }
        };
        if let Some(broken) = broken.as_ref().filter(|broken| !(last.is_some() && broken.torn)) {
            return Err(corrupt(reader, offset, broken.expected.clone()));
        }
        if count < 2 {
            // Header and name became durable before anything else was written: no crash can take them away.
            return Err(corrupt(reader, offset, "the header of a segment (checksum and metadata)".to_owned()));
        }
        if let Some(written) = last {
            let reach = broken.as_ref().map_or(0, |broken| broken.confirmed_len) + batch_bytes_max;
            self.dirty_end = judge_tail(reader, written, offset, broken.is_none(), reach)?;
        }
        Ok(offset)
    }

    /// Refuses a log that ends before an entry which is committed, or applied to the checkpoint.
    pub fn check_length(&self, path: &Path, offset: u64, applied_index: u64) -> Result<(), RecoverError> {
        let needed_index = self.commit.max(applied_index);
        if self.last_index >= needed_index {
            return Ok(());
        }
        Err(RecoverError::TooShort { path: path.to_path_buf(), offset, last_index: self.last_index, needed_index })
    }

    /// Takes the `count`-th record of a segment.
    fn record(&mut self, record: RecordRef<'_>, count: u64) -> Result<(), Refused> {
        if (count == 0) != (record.kind == Kind::Crc) || (count == 1) != (record.kind == Kind::Metadata) {
            let expected = ["a checksum record", "a metadata record", "an entry, hard state or marker"];
            return Err(Refused::Content(expected[count.min(2) as usize].to_owned()));
        }
        if record.kind == Kind::Crc {
            return self.checksum(record);
        }
        let data = record.data.unwrap_or_default();
        let mut chain = self.chain;
        chain.extend(data);
        if chain.crc() != record.crc {
            return Err(Refused::Checksum(format!("checksum {:08x}, computed {:08x}", record.crc, chain.crc())));
        }
        self.chain = chain;
        match record.kind {
            Kind::Crc => unreachable!("handled above"),
            Kind::Metadata => self.metadata(data),
            Kind::Entry => self.entry(decode_entry(data)),
            Kind::HardState => self.hard_state(decode_hard_state(data)),
            Kind::Snapshot => self.marker(record.data.and_then(decode_snapshot)),
        }
    }

    /// The running checksum restated. The very first one is taken on trust; the records behind it prove it.
    fn checksum(&mut self, record: RecordRef<'_>) -> Result<(), Refused> {
        if record.data.is_some() {
            return Err(Refused::Content("a checksum record without data".to_owned()));
        }
        if self.first {
            self.chain = Chain::new(record.crc);
        }
        self.first = false;
        if record.crc != self.chain.crc() {
            let expected = format!("checksum {:08x} of the segment before, found {:08x}", self.chain.crc(), record.crc);
            return Err(Refused::Content(expected));
        }
        Ok(())
    }

    fn metadata(&mut self, data: &[u8]) -> Result<(), Refused> {
        match &self.metadata {
            Some(metadata) if metadata != data => {
                Err(Refused::Content("the metadata of the first segment: this file is from another member".to_owned()))
            }
            Some(_) => Ok(()),
            None => {
                let metadata = Bytes::copy_from_slice(data);
                (self.on_record)(Replayed::Metadata(metadata.clone()));
                self.metadata = Some(metadata);
                Ok(())
            }
        }
    }

    fn entry(&mut self, entry: Option<Entry>) -> Result<(), Refused> {
        let entry = entry.ok_or_else(|| Refused::Content("an entry".to_owned()))?;
        if entry.index <= self.commit {
            let expected = format!("an entry above the committed {}, found {}", self.commit, entry.index);
            return Err(Refused::Content(expected));
        }
        let next = self.last_index.saturating_add(1);
        if self.anchored && entry.index > next {
            let expected = format!("entry {next} or one before it, found {}", entry.index);
            return Err(Refused::Content(expected));
        }
        (self.anchored, self.used) = (true, true);
        (self.last_index, self.last_saved) = (entry.index, entry.index);
        (self.on_record)(Replayed::Entry(entry));
        Ok(())
    }

    fn hard_state(&mut self, state: Option<HardState>) -> Result<(), Refused> {
        self.hard_state = state.ok_or_else(|| Refused::Content("a hard state".to_owned()))?;
        self.commit = self.commit.max(self.hard_state.commit);
        (self.on_record)(Replayed::HardState(self.hard_state));
        Ok(())
    }

    fn marker(&mut self, marker: Option<walpb::Snapshot>) -> Result<(), Refused> {
        let marker = marker.ok_or_else(|| Refused::Content("a marker".to_owned()))?;
        self.used = true;
        self.last_index = self.last_index.max(marker.index);
        self.last_saved = self.last_saved.max(marker.index);
        self.marker_index = self.marker_index.max(marker.index);
        self.markers.push(marker);
        Ok(())
    }
}

/// Whether what follows the last record at `offset` can be the rest of one torn write; the end of what is not zero there.
fn judge_tail(
    reader: &mut SegmentReader<'_>,
    written: &Written,
    offset: u64,
    clean: bool,
    reach: u64,
) -> Result<u64, RecoverError> {
    let sector = WAL_SECTOR_BYTES as u64;
    // A sector is old or new as a whole: where a record should start and is not, the rest of its sector is still old.
    let rest = (offset.next_multiple_of(sector) - offset) as usize;
    if clean && !is_zero(reader.bytes(offset, rest)?) {
        return Err(corrupt(reader, offset, "a record, or zeros to the end of the sector".to_owned()));
    }
    let Some(dirty_end) = reader.last_nonzero(offset, written)? else { return Ok(offset) };
    // The write in flight began no later than with the head of this record, or inside a long record confirmed above.
    let limit = offset + (LENGTH_BYTES + RECORD_HEADER_BYTES_MAX) as u64 + reach;
    if dirty_end > limit {
        let expected = format!("a record, or only zeros from offset {limit} on, found data up to {dirty_end}");
        return Err(corrupt(reader, offset, expected));
    }
    Ok(dirty_end)
}

fn corrupt(reader: &SegmentReader<'_>, offset: u64, expected: String) -> RecoverError {
    RecoverError::Corrupt { path: reader.path.clone(), offset, expected }
}
