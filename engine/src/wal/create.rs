//! A new log. Blocking, through `Disk`; runs before the server does.
//! The directory is built as `<dir>.tmp` and renamed, so that a log either exists with its header durable or not at all.

use super::error::RecoverError;
use super::frame::Chain;
use super::segment::SegmentName;
use super::writer::{Config, Tail};
use crate::disk::Disk;
use crate::effect::FileId;
use crate::limits::WAL_BLOCK_BYTES;
use crate::pb::raftpb::{Entry, HardState};
use crate::pb::walpb;
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};

/// Head of the first segment: checksum 0, whose log it is, and a marker at 0 so that Go finds a place to read from.
pub(super) fn write_first_header(chain: &mut Chain, out: &mut Vec<u8>, metadata: &[u8]) {
    chain.write_crc(out);
    chain.write_metadata(out, metadata);
    chain.write_snapshot(out, &walpb::Snapshot::default());
}

/// Makes the log `dir`, which must not hold one. `metadata` is the encoded `walpb::Metadata` of this member; the files get
/// numbers from `first_file` on.
pub fn create(
    disk: &mut dyn Disk,
    dir: &Path,
    metadata: Bytes,
    config: &Config,
    first_file: FileId,
) -> Result<Tail, RecoverError> {
    create_with(disk, dir, metadata, (HardState::default(), &[]), config, first_file)
}

/// `create` of a log that holds these records from the moment it exists: what a cluster begins with must not be lost to a
/// crash between the two, or the member would come back as one of no cluster.
pub fn create_with(
    disk: &mut dyn Disk,
    dir: &Path,
    metadata: Bytes,
    (hard_state, entries): (HardState, &[Entry]),
    config: &Config,
    first_file: FileId,
) -> Result<Tail, RecoverError> {
    let building = with_suffix(dir, ".tmp");
    let name = SegmentName { seq: 0, first_index: 0 };
    let path = building.join(name.path());
    let (mut chain, mut header) = (Chain::new(0), Vec::new());
    write_first_header(&mut chain, &mut header, &metadata);
    for entry in entries {
        chain.write_entry(&mut header, entry);
    }
    if hard_state != HardState::default() {
        chain.write_hard_state(&mut header, &hard_state);
    }
    let end = header.len() as u64;
    let block = header[header.len() - header.len() % WAL_BLOCK_BYTES..].to_vec();
    // The first stretch is written as zeros at once: the background's zeros only begin behind it.
    let written = config.zero_gap_bytes.min(config.segment_bytes).max(end.next_multiple_of(WAL_BLOCK_BYTES as u64));
    header.resize(written as usize, 0);

    let io = |what, path: &Path| {
        let path = path.to_path_buf();
        move |error| RecoverError::Io { what, path, error }
    };
    refuse_existing(disk, dir)?;
    disk.remove_dir(&building).map_err(io("remove", &building))?;
    disk.create_dir(&building).map_err(io("create", &building))?;
    disk.create(first_file, &path).map_err(io("create", &path))?;
    disk.allocate(first_file, config.segment_bytes).map_err(io("reserve space for", &path))?;
    disk.write_at(first_file, 0, &header).map_err(io("write", &path))?;
    disk.sync(first_file).map_err(io("sync", &path))?;
    disk.sync_dir(&building).map_err(io("sync", &building))?;
    // Go removes what is there: a directory without a log in it.
    disk.remove_dir(dir).map_err(io("remove", dir))?;
    disk.rename(&building, dir).map_err(io("rename", &building))?;
    let parent = dir.parent().unwrap_or(Path::new(""));
    disk.sync_dir(parent).map_err(io("sync", parent))?;
    disk.set_direct(first_file).map_err(io("set up", &path))?;
    Ok(Tail {
        file: first_file,
        name,
        end,
        block,
        used: !entries.is_empty(),
        crc: chain.crc(),
        metadata,
        hard_state,
        last_index: entries.last().map_or(0, |entry| entry.index),
        zeroed_to: written,
        sealed: Vec::new(),
        next_file: FileId(first_file.0 + 1),
    })
}

fn refuse_existing(disk: &mut dyn Disk, dir: &Path) -> Result<(), RecoverError> {
    let error = match disk.list(dir) {
        Ok(names) if names.iter().any(|name| name.ends_with(".wal")) => io::ErrorKind::AlreadyExists.into(),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => error,
    };
    Err(RecoverError::Io { what: "create a log in", path: dir.to_path_buf(), error })
}

fn with_suffix(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
