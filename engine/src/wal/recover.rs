//! Opens a log: replays every record, judges the tail, repairs what a crash may leave and refuses everything else.
//! Blocking, through `Disk`; runs before the server does.
//!
//! Must never happen here: an acknowledged record cut off. A break in the log is cut only where a write torn by a crash can
//! have made it: in the last segment, a sector missing, nothing but zeros further than one write behind it, and no entry
//! missing that is known to be committed. What replay found is synced before anyone acts on it.

use super::error::RecoverError;
use super::frame::{LENGTH_BYTES, RECORD_HEADER_BYTES_MAX};
use super::reader::{SegmentReader, Written};
use super::replay::Replay;
use super::segment::{SegmentName, is_leftover};
use super::writer::{Config, Tail};
use crate::canary::{Canaries, Canary};
use crate::disk::Disk;
use crate::effect::FileId;
use crate::limits::{WAL_BLOCK_BYTES, WAL_READ_BYTES, WAL_RECORD_BYTES_MAX, WAL_SECTOR_BYTES};
use crate::pb::raftpb::{Entry, HardState};
use crate::pb::walpb;
use bytes::Bytes;
use std::io;
use std::path::Path;

const BLOCK: u64 = WAL_BLOCK_BYTES as u64;

/// Bytes at the start of a frame that tell how long it is.
const HEAD_BYTES: u64 = (LENGTH_BYTES + RECORD_HEADER_BYTES_MAX) as u64;

/// What recovery needs to know besides the files.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sizes the writer used and will use.
    pub config: Config,
    /// Largest record accepted, in bytes.
    pub record_bytes_max: u64,
    /// Entry that the checkpoint already holds: a log that ends before it has lost something. 0 if there is none.
    pub applied_index: u64,
    /// First number that is free for the files opened.
    pub first_file: FileId,
    pub canaries: Canaries,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: Config::default(),
            record_bytes_max: WAL_RECORD_BYTES_MAX,
            applied_index: 0,
            first_file: FileId(0),
            canaries: Canaries::default(),
        }
    }
}

/// What is read, in the order it was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Replayed {
    /// The encoded `walpb::Metadata`, once and first.
    Metadata(Bytes),
    /// One whose index is not above the one before replaces it and all after it.
    Entry(Entry),
    /// Nothing at or below its commit will be replaced: it may be acted upon, should the rest of the log be sound.
    HardState(HardState),
}

/// What a log holds besides its entries.
#[derive(Debug)]
pub struct Recovered {
    /// The encoded `walpb::Metadata`.
    pub metadata: Bytes,
    pub hard_state: HardState,
    /// Every marker, oldest first.
    pub markers: Vec<walpb::Snapshot>,
    /// Bytes of a torn write that were cut off; 0 after a clean shutdown.
    pub torn_bytes: u64,
    pub tail: Tail,
}

/// Opens the log in `dir`, ready to go on. `on_record` gets what the log holds while it is read, so that nobody has to hold
/// all of it at once; what it was told is only true if the log turns out sound in the end.
pub fn recover(
    disk: &mut dyn Disk,
    dir: &Path,
    options: &Options,
    on_record: &mut dyn FnMut(Replayed),
) -> Result<Recovered, RecoverError> {
    let names = disk.list(dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => RecoverError::Missing { dir: dir.to_path_buf() },
        _ => RecoverError::Io { what: "list", path: dir.to_path_buf(), error },
    })?;
    let segments = consecutive(dir, &names)?;
    let files = lock_all(disk, dir, &segments, options.first_file)?;
    let (name, file) = (*segments.last().expect("not empty"), *files.last().expect("not empty"));
    let path = dir.join(name.path());
    let written =
        Written::survey(disk, file).map_err(|error| RecoverError::Io { what: "read", path: path.clone(), error })?;
    let mut replay = Replay::new(on_record, segments[0]);
    let mut window = Vec::new();
    let mut end = 0;
    for (at, (name, file)) in segments.iter().zip(&files).enumerate() {
        let path = dir.join(name.path());
        let mut reader = SegmentReader::new(disk, *file, &path, options.record_bytes_max, window)?;
        let last = (at + 1 == segments.len()).then_some(&written);
        end = replay.segment(&mut reader, last, options.config.batch_bytes_max as u64)?;
        window = reader.into_window();
    }
    drop(window);
    replay.check_length(&path, end, options.applied_index)?;
    if options.canaries.has(Canary::NoZeroing) {
        replay.dirty_end = end;
    }
    let block = repair(disk, file, &path, end, replay.dirty_end, options)?;
    for file in &files[..files.len() - 1] {
        disk.close(*file).map_err(|error| RecoverError::Io { what: "close", path: dir.to_path_buf(), error })?;
    }
    clean_up(disk, dir, &names)?;
    disk.set_direct(file).map_err(|error| RecoverError::Io { what: "set up", path, error })?;
    let metadata = replay.metadata.expect("every segment has it");
    Ok(Recovered {
        hard_state: replay.hard_state,
        markers: replay.markers,
        torn_bytes: replay.dirty_end.saturating_sub(end),
        tail: Tail {
            file,
            name,
            end,
            block,
            used: replay.used,
            crc: replay.chain.crc(),
            metadata: metadata.clone(),
            hard_state: replay.hard_state,
            last_index: replay.last_saved,
            zeroed_to: written.up_to(end),
            marker_index: replay.marker_index,
            sealed: segments[..segments.len() - 1].to_vec(),
            next_file: FileId(options.first_file.0 + files.len() as u32),
        },
        metadata,
    })
}

/// The segments in order; a gap in their numbers is a missing file.
fn consecutive(dir: &Path, names: &[String]) -> Result<Vec<SegmentName>, RecoverError> {
    let mut segments: Vec<_> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    segments.sort_unstable();
    if segments.is_empty() {
        return Err(RecoverError::Missing { dir: dir.to_path_buf() });
    }
    for pair in segments.windows(2) {
        if pair[0].seq.checked_add(1) != Some(pair[1].seq) {
            let expected = format!("segment {:016x} before it, which is missing", pair[1].seq.wrapping_sub(1));
            return Err(RecoverError::Corrupt { path: dir.join(pair[1].path()), offset: 0, expected });
        }
    }
    Ok(segments)
}

/// Opens every segment with its lock before the first is read, as Go does.
fn lock_all(
    disk: &mut dyn Disk,
    dir: &Path,
    segments: &[SegmentName],
    first: FileId,
) -> Result<Vec<FileId>, RecoverError> {
    let mut files = Vec::with_capacity(segments.len());
    for (name, number) in segments.iter().zip(first.0..) {
        let path = dir.join(name.path());
        disk.open(FileId(number), &path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => RecoverError::Locked { path },
            _ => RecoverError::Io { what: "open", path, error },
        })?;
        files.push(FileId(number));
    }
    Ok(files)
}

/// Makes the last segment fit to go on: zeros behind the last record, its full size, all of it durable. The last block's
/// bytes.
fn repair(
    disk: &mut dyn Disk,
    file: FileId,
    path: &Path,
    end: u64,
    dirty_end: u64,
    options: &Options,
) -> Result<Vec<u8>, RecoverError> {
    let io = |what| move |error| RecoverError::Io { what, path: path.to_path_buf(), error };
    // The head of the broken record goes last: it explains to the next recovery what is behind it, should this one crash.
    let head_end = (end + HEAD_BYTES).next_multiple_of(WAL_SECTOR_BYTES as u64);
    if dirty_end > head_end {
        write_zeros(disk, file, head_end..dirty_end).map_err(io("write zeros to"))?;
        disk.sync(file).map_err(io("sync"))?;
    }
    if dirty_end > end {
        write_zeros(disk, file, end..dirty_end.min(head_end)).map_err(io("write zeros to"))?;
    }
    let segment_bytes = options.config.segment_bytes;
    if disk.len(file).map_err(io("read"))? < segment_bytes {
        disk.allocate(file, segment_bytes).map_err(io("reserve space for"))?;
    }
    // Always: what replay read may have been in the page cache only, and it is about to be acted upon.
    disk.sync(file).map_err(io("sync"))?;
    let mut block = vec![0; (end % BLOCK) as usize];
    let got = disk.read_at(file, end - end % BLOCK, &mut block).map_err(io("read"))?;
    assert_eq!(got, block.len(), "the log was read to its end before");
    Ok(block)
}

fn write_zeros(disk: &mut dyn Disk, file: FileId, range: std::ops::Range<u64>) -> io::Result<()> {
    let zeros = vec![0; WAL_READ_BYTES.min((range.end - range.start) as usize)];
    let mut at = range.start;
    while at < range.end {
        let count = (range.end - at).min(zeros.len() as u64);
        disk.write_at(file, at, &zeros[..count as usize])?;
        at += count;
    }
    Ok(())
}

/// Removes segments prepared by an earlier process: they may hold the header of a cut that never came to be. Then makes
/// the directory durable as it was found, whoever wrote it.
fn clean_up(disk: &mut dyn Disk, dir: &Path, names: &[String]) -> Result<(), RecoverError> {
    for name in names.iter().filter(|name| is_leftover(name)) {
        let path = dir.join(name);
        disk.remove(&path).map_err(|error| RecoverError::Io { what: "remove", path, error })?;
    }
    for dir in [dir, dir.parent().unwrap_or(Path::new(""))] {
        disk.sync_dir(dir).map_err(|error| RecoverError::Io { what: "sync", path: dir.to_path_buf(), error })?;
    }
    Ok(())
}
