//! One record of the log as bytes: an 8-byte length, a protobuf `Record {type, crc, data}`, zeros to the next multiple of 8.
//! Pure; used by the writer, by recovery and by tools that write a log from scratch.
//!
//! The length is little endian. Its low 56 bits count the protobuf; if zeros follow it, the top byte is 0x80 plus their
//! number. `crc` is CRC-32C over the `data` of every record so far, across segments. The checksum covers neither the length
//! nor the type, so the decoders are strict about everything around `data`: a flipped bit there must never turn one
//! record into another that looks right.

use crate::limits::WAL_RECORD_BYTES_MAX;
use crate::pb::raftpb::{Entry, EntryType, HardState};
use crate::pb::walpb;
use bytes::Bytes;
use prost::Message;

/// Record types, etcd's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Metadata = 1,
    Entry = 2,
    HardState = 3,
    Crc = 4,
    Snapshot = 5,
}

impl Kind {
    fn from_number(number: u64) -> Option<Self> {
        [Self::Metadata, Self::Entry, Self::HardState, Self::Crc, Self::Snapshot]
            .into_iter()
            .find(|kind| *kind as u64 == number)
    }
}

/// Bytes of the length field in front of every record. Aligned to itself, hence never torn.
pub const LENGTH_BYTES: usize = 8;

/// Most bytes between the length field and the payload of a record: three keys, a one-byte type, a 32-bit and a 64-bit varint.
pub const RECORD_HEADER_BYTES_MAX: usize = 3 + 1 + 5 + 10;

/// Most bytes in front of the payload of an entry: four keys, type, three 64-bit varints.
const ENTRY_HEADER_BYTES_MAX: usize = 4 + 1 + 3 * 10;

const PAD_FLAG: u64 = 0x80;

/// The running checksum, and the only way to write records: a record cannot be encoded without entering the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    crc: u32,
}

impl Chain {
    pub fn new(crc: u32) -> Self {
        Self { crc }
    }

    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// Takes `data` into the checksum, as reading or writing a record does.
    pub fn extend(&mut self, data: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, data);
    }

    /// Restates the checksum: the first record of every segment, carrying no data.
    pub fn write_crc(&mut self, out: &mut Vec<u8>) {
        self.record(out, Kind::Crc, None);
    }

    pub fn write_metadata(&mut self, out: &mut Vec<u8>, metadata: &[u8]) {
        self.record(out, Kind::Metadata, Some([metadata, &[]]));
    }

    /// Zeros are written out, as Go does up to 3.6: three fields in every case.
    pub fn write_hard_state(&mut self, out: &mut Vec<u8>, state: &HardState) {
        let mut data = Small::new();
        data.field(1, state.term);
        data.field(2, state.vote);
        data.field(3, state.commit);
        self.record(out, Kind::HardState, Some([data.as_slice(), &[]]));
    }

    pub fn write_entry(&mut self, out: &mut Vec<u8>, entry: &Entry) {
        let mut data = Small::new();
        data.field(1, u64::try_from(entry.r#type).expect("entry types are not negative"));
        data.field(2, entry.term);
        data.field(3, entry.index);
        // Go leaves the field out for a nil slice: the empty entry of a new leader.
        if !entry.data.is_empty() {
            data.key(4, WIRE_BYTES);
            data.varint(entry.data.len() as u64);
        }
        self.record(out, Kind::Entry, Some([data.as_slice(), &entry.data]));
    }

    /// A marker. Go 3.5 and later refuse to write one above index 0 without a conf state, so that is asserted here.
    pub fn write_snapshot(&mut self, out: &mut Vec<u8>, marker: &walpb::Snapshot) {
        assert!(marker.index == 0 || marker.conf_state.is_some(), "a marker above 0 carries its conf state");
        let mut data = Small::new();
        data.field(1, marker.index);
        data.field(2, marker.term);
        let mut conf_state = Vec::new();
        if let Some(state) = &marker.conf_state {
            prost::encoding::message::encode(3, state, &mut conf_state);
        }
        self.record(out, Kind::Snapshot, Some([data.as_slice(), &conf_state]));
    }

    /// `data` comes in two pieces so that an entry's payload is copied once, straight into `out`.
    fn record(&mut self, out: &mut Vec<u8>, kind: Kind, data: Option<[&[u8]; 2]>) {
        let mut header = Small::new();
        header.field(1, kind as u64);
        let pieces = data.unwrap_or_default();
        pieces.iter().for_each(|piece| self.extend(piece));
        header.field(2, u64::from(self.crc));
        let data_len = pieces[0].len() + pieces[1].len();
        if data.is_some() {
            header.key(3, WIRE_BYTES);
            header.varint(data_len as u64);
        }
        let record_len = header.as_slice().len() + data_len;
        assert!((record_len as u64) <= WAL_RECORD_BYTES_MAX, "a record of {record_len} bytes could not be recovered");
        let pad = padding(record_len as u64);
        let flag = if pad == 0 { 0 } else { PAD_FLAG | pad };
        out.reserve(LENGTH_BYTES + record_len + pad as usize);
        out.extend_from_slice(&(record_len as u64 | flag << 56).to_le_bytes());
        out.extend_from_slice(header.as_slice());
        out.extend_from_slice(pieces[0]);
        out.extend_from_slice(pieces[1]);
        out.resize(out.len() + pad as usize, 0);
        assert!(out.len().is_multiple_of(LENGTH_BYTES), "records keep the log aligned");
    }
}

fn padding(record_len: u64) -> u64 {
    record_len.wrapping_neg() % LENGTH_BYTES as u64
}

/// Length field of a frame, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLength {
    pub record: u64,
    pub pad: u64,
}

impl FrameLength {
    /// None if no writer can have produced `field`. Zero, the end of a segment, must be looked for before.
    pub fn parse(field: u64) -> Option<Self> {
        let record = field & !(0xff << 56);
        let top = field >> 56;
        let pad = padding(record);
        let expected = if pad == 0 { 0 } else { PAD_FLAG | pad };
        (record > 0 && top == expected).then_some(Self { record, pad })
    }

    /// Bytes from the length field to the next one.
    pub fn frame(&self) -> u64 {
        LENGTH_BYTES as u64 + self.record + self.pad
    }
}

/// A record whose frame parsed; nothing is verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub kind: Kind,
    pub crc: u32,
    pub data: Option<&'a [u8]>,
}

/// Parses the protobuf of one record. The data field must end exactly where the frame says.
pub fn decode_record(bytes: &[u8]) -> Option<RecordRef<'_>> {
    let (header, data_len) = decode_record_header(bytes)?;
    let data = match data_len {
        Some((start, len)) => {
            let rest = &bytes[start..];
            (rest.len() as u64 == len).then_some(Some(rest))?
        }
        None => None,
    };
    Some(RecordRef { data, ..header })
}

/// Whether the first bytes of a record agree with the length its frame claims. This tells a long record of which the end is
/// missing from a damaged length field.
pub fn header_agrees(prefix: &[u8], record_len: u64) -> bool {
    match decode_record_header(prefix) {
        Some((_, Some((start, len)))) => (start as u64).checked_add(len) == Some(record_len),
        Some((_, None)) => prefix.len() as u64 == record_len,
        None => false,
    }
}

/// The fields in front of the payload, and where the payload starts and how long it says it is.
fn decode_record_header(bytes: &[u8]) -> Option<(RecordRef<'_>, Option<(usize, u64)>)> {
    let mut input = Input { bytes, at: 0 };
    let (mut kind, mut crc) = (None, 0);
    while let Some((number, wire)) = input.next_key()? {
        match (number, wire) {
            (1, WIRE_VARINT) => kind = Some(Kind::from_number(input.varint()?)?),
            (2, WIRE_VARINT) => crc = u32::try_from(input.varint()?).ok()?,
            (3, WIRE_BYTES) => {
                let len = input.varint()?;
                return Some((RecordRef { kind: kind?, crc, data: None }, Some((input.at, len))));
            }
            _ => return None,
        }
    }
    Some((RecordRef { kind: kind?, crc, data: None }, None))
}

/// Strict: a hard state record taken for an entry by a flipped type bit must not pass. A hard state has a term above 0, so
/// it would read as an entry of type 1 or more without data; etcd never writes such an entry.
pub fn decode_entry(data: &[u8]) -> Option<Entry> {
    let mut input = Input { bytes: data, at: 0 };
    let mut entry = Entry::default();
    while let Some((number, wire)) = input.next_key()? {
        match (number, wire) {
            (1, WIRE_VARINT) => entry.r#type = i32::try_from(input.varint()?).ok()?,
            (2, WIRE_VARINT) => entry.term = input.varint()?,
            (3, WIRE_VARINT) => entry.index = input.varint()?,
            // Copied so that an entry kept in memory does not keep the read buffer with it.
            (4, WIRE_BYTES) => entry.data = Bytes::copy_from_slice(input.bytes_field()?),
            _ => return None,
        }
    }
    let kind = EntryType::try_from(entry.r#type).ok()?;
    let complete = kind == EntryType::Normal || !entry.data.is_empty();
    (complete && entry.index > 0).then_some(entry)
}

/// Strict for the same reason: the payload of an entry is a field no hard state has.
pub fn decode_hard_state(data: &[u8]) -> Option<HardState> {
    let mut input = Input { bytes: data, at: 0 };
    let mut state = HardState::default();
    while let Some((number, wire)) = input.next_key()? {
        match (number, wire) {
            (1, WIRE_VARINT) => state.term = input.varint()?,
            (2, WIRE_VARINT) => state.vote = input.varint()?,
            (3, WIRE_VARINT) => state.commit = input.varint()?,
            _ => return None,
        }
    }
    Some(state)
}

pub fn decode_snapshot(data: &[u8]) -> Option<walpb::Snapshot> {
    walpb::Snapshot::decode(data).ok()
}

const WIRE_VARINT: u64 = 0;
const WIRE_BYTES: u64 = 2;

/// Protobuf fields on the stack: the parts of records that are not payload.
struct Small {
    bytes: [u8; ENTRY_HEADER_BYTES_MAX],
    len: usize,
}

impl Small {
    fn new() -> Self {
        Self { bytes: [0; ENTRY_HEADER_BYTES_MAX], len: 0 }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn field(&mut self, number: u64, value: u64) {
        self.key(number, WIRE_VARINT);
        self.varint(value);
    }

    fn key(&mut self, number: u64, wire: u64) {
        self.varint(number << 3 | wire);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes[self.len] = value as u8 | 0x80;
            self.len += 1;
            value >>= 7;
        }
        self.bytes[self.len] = value as u8;
        self.len += 1;
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    /// `Some(None)` at the end of the input, `None` if what is there is no key.
    fn next_key(&mut self) -> Option<Option<(u64, u64)>> {
        if self.at == self.bytes.len() {
            return Some(None);
        }
        let key = self.varint()?;
        Some(Some((key >> 3, key & 7)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn bytes_field(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        let end = self.at.checked_add(len)?;
        let field = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::raftpb::ConfState;

    fn frames(mut bytes: &[u8]) -> Vec<RecordRef<'_>> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let length = FrameLength::parse(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
            records.push(decode_record(&bytes[8..8 + length.record as usize]).unwrap());
            bytes = &bytes[length.frame() as usize..];
        }
        records
    }

    #[test]
    fn length_field_carries_the_padding() {
        assert_eq!(FrameLength::parse(16), Some(FrameLength { record: 16, pad: 0 }));
        assert_eq!(FrameLength::parse(4 | 0x84 << 56), Some(FrameLength { record: 4, pad: 4 }));
        for wrong in [4, 4 | 0x83 << 56, 4 | 0x04 << 56, 16 | 0x80 << 56, 0x84 << 56, u64::MAX] {
            assert_eq!(FrameLength::parse(wrong), None, "{wrong:x}");
        }
    }

    #[test]
    fn every_kind_round_trips_and_chains() {
        let mut out = Vec::new();
        let mut chain = Chain::new(0);
        let entry = Entry { r#type: 0, term: 1 << 40, index: 7, data: Bytes::from(vec![9; 300]) };
        let empty = Entry { r#type: 0, term: 2, index: 8, data: Bytes::new() };
        let state = HardState { term: u64::MAX, vote: 3, commit: 0 };
        let conf_state = Some(ConfState { voters: vec![1, u64::MAX], ..Default::default() });
        let marker = walpb::Snapshot { index: 5, term: 2, conf_state };
        chain.write_crc(&mut out);
        chain.write_metadata(&mut out, b"whose");
        chain.write_entry(&mut out, &entry);
        chain.write_entry(&mut out, &empty);
        chain.write_hard_state(&mut out, &state);
        chain.write_snapshot(&mut out, &marker);
        let records = frames(&out);
        let mut check = Chain::new(0);
        for record in &records {
            check.extend(record.data.unwrap_or_default());
            assert_eq!(check.crc(), record.crc);
        }
        assert_eq!(chain, check);
        assert_eq!(records[0].data, None);
        assert_eq!(records[1].data, Some(&b"whose"[..]));
        assert_eq!(decode_entry(records[2].data.unwrap()), Some(entry));
        assert_eq!(decode_entry(records[3].data.unwrap()), Some(empty));
        assert_eq!(decode_hard_state(records[4].data.unwrap()), Some(state));
        assert_eq!(decode_snapshot(records[5].data.unwrap()), Some(marker));
    }

    #[test]
    fn a_hard_state_is_never_an_entry_and_the_other_way_round() {
        let mut out = Vec::new();
        for term in [1, 2, 3, 1000] {
            out.clear();
            Chain::new(0).write_hard_state(&mut out, &HardState { term, vote: 1, commit: 5 });
            assert_eq!(decode_entry(frames(&out)[0].data.unwrap()), None);
        }
        out.clear();
        Chain::new(0).write_entry(&mut out, &Entry { r#type: 0, term: 1, index: 1, data: Bytes::from_static(b"x") });
        assert_eq!(decode_hard_state(frames(&out)[0].data.unwrap()), None);
    }

    #[test]
    fn decoders_take_any_bytes() {
        let mut seed = 7u64;
        for _ in 0..20_000 {
            let mut bytes = [0u8; 24];
            for byte in &mut bytes {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                *byte = if seed & 3 == 0 { 0x08 } else { seed as u8 };
            }
            let len = (seed >> 32) as usize % 24;
            decode_record(&bytes[..len]);
            header_agrees(&bytes[..len], seed);
            decode_entry(&bytes[..len]);
            decode_hard_state(&bytes[..len]);
            decode_snapshot(&bytes[..len]);
        }
    }
}
