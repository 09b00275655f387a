//! Reads one segment front to back through a sliding window. Blocking, through `Disk`; used by recovery.
//! Memory is bounded by the window plus the largest record allowed, whatever the file says about itself.

use super::error::RecoverError;
use super::frame::{FrameLength, LENGTH_BYTES, RECORD_HEADER_BYTES_MAX, RecordRef, decode_record, header_agrees};
use crate::disk::Disk;
use crate::effect::FileId;
use crate::limits::{WAL_READ_BYTES, WAL_SECTOR_BYTES, WAL_TAIL_STRETCHES_MAX};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is at one place of a segment.
pub(super) enum Found<'a> {
    Record {
        record: RecordRef<'a>,
        frame_len: u64,
    },
    /// A length of zero, or the end of the file.
    End,
    Broken(Broken),
}

/// A frame that does not hold a record. Bytes behind the end of the file count as zeros.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// What was expected there.
    pub expected: String,
    /// A sector of the record was never written: it is all zeros.
    pub torn: bool,
    /// How far the frame reaches, if its length is confirmed by the record's own header; 0 otherwise.
    pub confirmed_len: u64,
}

pub(super) struct SegmentReader<'d> {
    disk: &'d mut dyn Disk,
    file: FileId,
    pub path: PathBuf,
    pub len: u64,
    record_bytes_max: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl<'d> SegmentReader<'d> {
    pub fn new(
        disk: &'d mut dyn Disk,
        file: FileId,
        path: &Path,
        record_bytes_max: u64,
        window: Vec<u8>,
    ) -> Result<Self, RecoverError> {
        let io = |error| RecoverError::Io { what: "read", path: path.to_path_buf(), error };
        let len = disk.len(file).map_err(io)?;
        let mut reader = Self { disk, file, path: path.to_path_buf(), len, record_bytes_max, window, window_start: 0 };
        reader.window.clear();
        Ok(reader)
    }

    pub fn into_window(self) -> Vec<u8> {
        self.window
    }

    fn io(&self, error: io::Error) -> RecoverError {
        RecoverError::Io { what: "read", path: self.path.clone(), error }
    }

    /// The bytes of `[offset, offset + len)`, fewer at the end of the file.
    pub fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], RecoverError> {
        let end = (offset + len as u64).min(self.len.max(offset));
        if offset < self.window_start || end > self.window_start + self.window.len() as u64 {
            let keep = (self.window_start..self.window_start + self.window.len() as u64).contains(&offset);
            if keep {
                self.window.drain(..(offset - self.window_start) as usize);
            } else {
                self.window.clear();
            }
            self.window_start = offset;
            let have = self.window.len();
            let want = ((end - offset) as usize).max(WAL_READ_BYTES).min((self.len.saturating_sub(offset)) as usize);
            self.window.resize(want.max(have), 0);
            let got = self.disk.read_at(self.file, offset + have as u64, &mut self.window[have..]);
            let got = got.map_err(|error| self.io(error))?;
            self.window.truncate(have + got);
        }
        let start = (offset - self.window_start) as usize;
        let stop = self.window.len().min(start + len);
        Ok(&self.window[start.min(stop)..stop])
    }

    /// What is at `offset`. The checksum is the caller's business.
    pub fn find(&mut self, offset: u64) -> Result<Found<'_>, RecoverError> {
        let mut field = [0; LENGTH_BYTES];
        let bytes = self.bytes(offset, LENGTH_BYTES)?;
        field[..bytes.len()].copy_from_slice(bytes);
        let field = u64::from_le_bytes(field);
        if field == 0 {
            return Ok(Found::End);
        }
        let Some(length) = FrameLength::parse(field).filter(|length| length.record <= self.record_bytes_max) else {
            let expected =
                format!("the length of a record of at most {} bytes, found {field:#x}", self.record_bytes_max);
            return Ok(Found::Broken(Broken { expected, torn: false, confirmed_len: 0 }));
        };
        let body = offset + LENGTH_BYTES as u64;
        let whole = body + length.record + length.pad <= self.len;
        if whole && decode_record(self.bytes(body, length.record as usize)?).is_some() {
            let bytes = self.bytes(body, length.record as usize)?;
            let record = decode_record(bytes).expect("decoded just before");
            return Ok(Found::Record { record, frame_len: length.frame() });
        }
        let what = if whole { "a log record" } else { "the rest of a record" };
        let broken = self.judge(offset, &length, format!("{what} of {} bytes", length.record))?;
        Ok(Found::Broken(broken))
    }

    /// Whether a frame without a valid record is what a torn write leaves: etcd's rule, a sector of it is all zeros, made
    /// strict where the length itself is in doubt.
    pub fn judge(&mut self, offset: u64, length: &FrameLength, expected: String) -> Result<Broken, RecoverError> {
        let body = offset + LENGTH_BYTES as u64;
        let len = (length.record + length.pad) as usize;
        let bytes = self.bytes(body, len)?;
        let torn = bytes.len() < len || has_zero_sector(bytes, body);
        let header_len = RECORD_HEADER_BYTES_MAX.min(length.record as usize);
        let header_end = sectors_end(body, header_len).min(len);
        let header_lost = bytes.len() < header_end || has_zero_sector(&bytes[..header_end], body);
        let header_len = header_len.min(bytes.len());
        let confirmed = header_agrees(&bytes[..header_len], length.record);
        let torn = torn && (confirmed || header_lost);
        Ok(Broken { expected, torn, confirmed_len: if confirmed { length.frame() } else { 0 } })
    }

    /// Offset after the last byte from `from` on that is not zero; None if there is none. Looks only where there is data.
    pub fn last_nonzero(&mut self, from: u64, written: &Written) -> Result<Option<u64>, RecoverError> {
        let mut last = None;
        for stretch in &written.stretches {
            let mut at = stretch.start.max(from);
            while at < stretch.end {
                let bytes = self.bytes(at, WAL_READ_BYTES.min((stretch.end - at) as usize))?;
                if bytes.is_empty() {
                    break;
                }
                if let Some(position) = rposition_nonzero(bytes) {
                    last = Some(at + position as u64 + 1);
                }
                at += bytes.len() as u64;
            }
        }
        Ok(last)
    }
}

/// Where a file has data on the medium, as opposed to space that was only reserved. Taken before the file is read: pages
/// that reading leaves in the cache look like data afterwards.
#[derive(Default)]
pub(super) struct Written {
    stretches: Vec<Range<u64>>,
    /// The disk told where data ends, not only where it may begin.
    exact: bool,
}

impl Written {
    pub fn survey(disk: &mut dyn Disk, file: FileId) -> io::Result<Self> {
        let len = disk.len(file)?;
        let mut written = Self { stretches: Vec::new(), exact: true };
        let mut at = 0;
        while let Some(start) = disk.data_after(file, at)? {
            at = disk.hole_after(file, start)?;
            if at == start || written.stretches.len() == WAL_TAIL_STRETCHES_MAX {
                written.exact = false;
                at = len;
            }
            written.stretches.push(start..at);
        }
        Ok(written)
    }

    /// Up to where the file is written without a gap, from `offset` on.
    pub fn up_to(&self, offset: u64) -> u64 {
        let stretch = self.stretches.iter().find(|stretch| stretch.contains(&offset)).filter(|_| self.exact);
        stretch.map_or(offset, |stretch| stretch.end)
    }
}

/// End, counted from `start`, of the sectors that the first `len` bytes from `start` on touch.
fn sectors_end(start: u64, len: usize) -> usize {
    let sector = WAL_SECTOR_BYTES as u64;
    ((start + len as u64).next_multiple_of(sector) - start) as usize
}

/// Whether one of the pieces that sector boundaries cut `bytes` into holds zeros only.
fn has_zero_sector(bytes: &[u8], offset: u64) -> bool {
    let first = sectors_end(offset, 1).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    is_zero(head) || rest.chunks(WAL_SECTOR_BYTES).any(is_zero)
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    rposition_nonzero(bytes).is_none()
}

/// Position of the last byte that is not zero. Looks at 16 bytes at a time: a prepared segment is 64 MB of zeros.
fn rposition_nonzero(bytes: &[u8]) -> Option<usize> {
    let (chunks, tail) = bytes.as_chunks::<16>();
    let offset = bytes.len() - tail.len();
    if let Some(at) = tail.iter().rposition(|byte| *byte != 0) {
        return Some(offset + at);
    }
    let chunk = chunks.iter().rposition(|chunk| u128::from_ne_bytes(*chunk) != 0)?;
    chunks[chunk].iter().rposition(|byte| *byte != 0).map(|at| chunk * 16 + at)
}
