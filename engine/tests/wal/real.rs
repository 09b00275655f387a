//! The same log on a real file system, through the blocking door: bytes, modes, locks, sizes.

use crate::rig::{METADATA, Rng, entry, options, state};
use bytes::Bytes;
use engine::disk::{AlignedBuf, Disk, FileDisk};
use engine::effect::{FileId, FileOp, FileResult};
use engine::wal::{Config, RecoverError, Recovered, Replayed, Writer, create, recover};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A directory of its own below the target directory's file system, which has O_DIRECT more often than /tmp.
fn directory(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wal-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).expect("a test directory");
    dir
}

/// Executes a file operation the blocking way.
fn execute(disk: &mut FileDisk, op: FileOp) -> (FileResult, Option<AlignedBuf>) {
    let wal = Path::new("wal");
    let mut buf_back = None;
    let result = match op {
        FileOp::Create { file, path } => disk.create(file, &wal.join(path)),
        FileOp::Allocate { file, len } => disk.allocate(file, len),
        FileOp::Write { file, offset, buf, durable } => {
            let written = disk.write_at(file, offset, buf.as_slice());
            let len = buf.len();
            buf_back = Some(buf);
            let written = written.and_then(|()| if durable { disk.sync(file) } else { Ok(()) });
            return (written.map(|()| len).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)), buf_back);
        }
        FileOp::Sync { file } => disk.sync(file),
        FileOp::SyncDir => disk.sync_dir(wal),
        FileOp::Rename { from, to } => disk.rename(&wal.join(from), &wal.join(to)),
        FileOp::Remove { path } => disk.remove(&wal.join(path)),
        FileOp::Truncate { file, len } => disk.truncate(file, len),
        FileOp::Close { file } => disk.close(file),
    };
    (result.map(|()| 0).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)), buf_back)
}

fn settle(disk: &mut FileDisk, writer: &mut Writer) {
    while let Some((id, op)) = writer.poll_effect() {
        let (result, buf) = execute(disk, op);
        writer.handle(id, result, buf).expect("a working disk");
    }
}

fn open(dir: &Path, config: &Config) -> Result<(FileDisk, Recovered, Vec<engine::pb::raftpb::Entry>), RecoverError> {
    let mut disk = FileDisk::new(dir);
    let mut entries = Vec::new();
    let recovered = recover(&mut disk, Path::new("wal"), &options(config), &mut |record| {
        if let Replayed::Entry(entry) = record {
            entries.push(entry);
        }
    })?;
    Ok((disk, recovered, entries))
}

#[test]
fn a_log_on_files() {
    let dir = directory("files");
    let config =
        Config { segment_bytes: 1 << 20, batch_bytes_max: 1 << 16, zero_piece_bytes: 1 << 16, zero_gap_bytes: 1 << 16 };
    let mut disk = FileDisk::new(&dir);
    let tail = create(&mut disk, Path::new("wal"), Bytes::from_static(METADATA), &config, FileId(0)).expect("create");
    let mut writer = Writer::new(tail, &config);
    let mut rng = Rng::new(1);
    let mut expected = Vec::new();
    for index in 1..=2000 {
        let data = (0..rng.below(2000)).map(|_| rng.below(256) as u8).collect();
        let entry = entry(1, index, data);
        writer.append(Some(state(1, 1, index - 1)), std::slice::from_ref(&entry));
        expected.push(entry);
        if rng.below(20) == 0 {
            settle(&mut disk, &mut writer);
        }
    }
    settle(&mut disk, &mut writer);
    assert!(writer.segment().seq >= 1);

    let locked = open(&dir, &config).err().expect("locked");
    assert!(matches!(locked, RecoverError::Locked { .. }), "{locked}");
    let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    let wal = dir.join("wal");
    assert_eq!(mode(&wal), 0o700);
    for file in std::fs::read_dir(&wal).expect("list") {
        assert_eq!(mode(&file.expect("entry").path()), 0o600);
    }
    drop(disk);

    // As after a kill: the prepared segment is still there.
    let (mut disk, recovered, entries) = open(&dir, &config).expect("recovers");
    assert_eq!(entries, expected);
    assert_eq!(recovered.hard_state, state(1, 1, 1999));
    assert_eq!(std::fs::read_dir(&wal).expect("list").count() as u64, recovered.tail.name.seq + 1);
    assert!(recovered.tail.zeroed_to >= recovered.tail.end);
    let mut writer = Writer::new(recovered.tail, &config);
    writer.append(None, &[entry(1, 2001, b"more".to_vec())]);
    writer.close();
    settle(&mut disk, &mut writer);
    assert!(writer.is_closed());
    drop(disk);
    let (mut disk, recovered, entries) = open(&dir, &config).expect("recovers again");
    assert_eq!((entries.len(), recovered.torn_bytes), (2001, 0));
    let last = wal.join(recovered.tail.name.path());
    assert_eq!(std::fs::metadata(&last).expect("metadata").len(), 1 << 20);
    assert!(disk.take(recovered.tail.file).is_some(), "the tail is open for whoever goes on");
    std::fs::remove_dir_all(&dir).expect("clean up");
}

#[test]
fn the_door_reports_holes_and_data() {
    let dir = directory("holes");
    let mut disk = FileDisk::new(&dir);
    let (file, path) = (FileId(1), Path::new("file"));
    disk.create(file, path).expect("create");
    disk.allocate(file, 1 << 20).expect("allocate");
    assert_eq!(disk.len(file).expect("len"), 1 << 20);
    disk.write_at(file, 0, &[1; 4096]).expect("write");
    disk.sync(file).expect("sync");
    let hole = disk.hole_after(file, 0).expect("hole");
    assert!(hole == 0 || hole >= 4096, "written data is no hole");
    assert_eq!(disk.data_after(file, 0).expect("data"), Some(0));
    assert_eq!(disk.data_after(file, 1 << 20).expect("data"), None);
    let mut buf = [0; 8];
    assert_eq!(disk.read_at(file, 4092, &mut buf).expect("read"), 8);
    assert_eq!(buf, [1, 1, 1, 1, 0, 0, 0, 0]);
    assert!(disk.create(FileId(2), path).is_err(), "it exists");
    assert_eq!(disk.open(FileId(3), path).expect_err("locked").kind(), std::io::ErrorKind::WouldBlock);
    disk.close(file).expect("close");
    disk.open(FileId(4), path).expect("free again");
    std::fs::remove_dir_all(&dir).expect("clean up");
}
