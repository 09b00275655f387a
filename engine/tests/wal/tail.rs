//! Damage: what is cut off, what is refused, and in which words. Every case starts from a log that closed cleanly.

use crate::rig::{METADATA, Rng, close, entry, fresh, options, reopen, settle, state, tiny};
use bytes::Bytes;
use engine::disk::SimDisk;
use engine::effect::FileId;
use engine::pb::raftpb::Entry;
use engine::wal::frame::{Chain, FrameLength};
use engine::wal::{Config, Options, RecoverError, SegmentName, Writer, create};
use std::path::{Path, PathBuf};

fn config() -> Config {
    Config { segment_bytes: 65536, ..tiny() }
}

fn path(seq: u64, first_index: u64) -> PathBuf {
    Path::new("wal").join(SegmentName { seq, first_index }.path())
}

/// A closed log of `count` entries of random bytes, `len` each, every one acknowledged; its last segment.
fn log(count: u64, len: usize) -> (SimDisk, PathBuf) {
    let (mut disk, mut writer) = fresh(5, &config());
    let mut rng = Rng::new(count);
    for index in 1..=count {
        let data = (0..len).map(|_| rng.below(255) as u8 + 1).collect();
        writer.append(Some(state(1, 1, index - 1)), &[entry(1, index, data)]);
        settle(&mut disk, &mut writer);
    }
    let name = writer.segment();
    close(&mut disk, writer);
    disk.crash();
    (disk, Path::new("wal").join(name.path()))
}

/// Offsets of the frames of a segment, and the end of the last.
fn frames(content: &[u8]) -> Vec<usize> {
    let mut at = vec![0];
    loop {
        let last = *at.last().expect("not empty");
        let Some(field) = content.get(last..last + 8) else { return at };
        let Some(length) = FrameLength::parse(u64::from_le_bytes(field.try_into().expect("8 bytes"))) else {
            return at;
        };
        at.push(last + length.frame() as usize);
    }
}

fn open(disk: &mut SimDisk) -> Result<Vec<Entry>, RecoverError> {
    let opened = reopen(disk, &options(&config())).map(|(_, entries)| entries);
    disk.kill();
    opened
}

/// Damages the last frame of a fresh copy of the same log and opens it.
fn with_last_frame(damage: impl FnOnce(&mut Vec<u8>, usize, usize)) -> Result<usize, String> {
    let (mut disk, path) = log(6, 2000);
    let mut content = disk.content(&path).expect("content");
    let frames = frames(&content);
    // The last record is a hard state; the last entry is in front of it.
    let (start, end) = (frames[frames.len() - 3], frames[frames.len() - 2]);
    content[end..frames[frames.len() - 1]].fill(0);
    damage(&mut content, start, end);
    disk.damage(&path, &content).expect("damage");
    let first = open(&mut disk).map(|entries| entries.len()).map_err(|error| error.to_string());
    if first.is_ok() {
        assert_eq!(open(&mut disk).map(|entries| entries.len()).ok(), first.clone().ok(), "and once more");
    }
    first
}

#[test]
fn what_a_torn_write_leaves_is_cut_off() {
    let sector = |at: usize| at.next_multiple_of(512);
    assert_eq!(with_last_frame(|_, _, _| {}), Ok(6));
    assert_eq!(with_last_frame(|log, start, end| log[start..end].fill(0)), Ok(5), "nothing arrived");
    assert_eq!(with_last_frame(|log, start, end| log[sector(start)..end].fill(0)), Ok(5), "the first sector arrived");
    assert_eq!(
        with_last_frame(|log, start, _| log[start..sector(start)].fill(0)),
        Ok(5),
        "the first sector is missing"
    );
    let middle = |log: &mut Vec<u8>, start: usize, _: usize| log[sector(start)..sector(start) + 512].fill(0);
    assert_eq!(with_last_frame(middle), Ok(5), "a sector is missing");
    let last = |log: &mut Vec<u8>, _: usize, end: usize| log[end - end % 512..end].fill(0);
    assert_eq!(with_last_frame(last), Ok(5), "the last sector is missing");
    assert_eq!(with_last_frame(|log, start, _| log.truncate(sector(start))), Ok(5), "the file is short");
    assert_eq!(with_last_frame(|log, start, _| log.truncate(start + 8)), Ok(5), "the file ends behind a length");
    assert_eq!(with_last_frame(|log, _, end| log.truncate(end)), Ok(6), "the file ends behind a record");
}

#[test]
fn what_no_crash_leaves_is_refused() {
    let refused = |result: Result<usize, String>, offset: bool, words: &str| {
        let message = result.expect_err(words);
        assert!(message.contains(words), "{message}");
        assert!(!offset || message.contains("0000000000000000-0000000000000000.wal is damaged at offset"), "{message}");
        assert!(message.contains("do not edit or delete"), "{message}");
    };
    refused(with_last_frame(|log, start, _| log[start + 700] ^= 1), true, "checksum");
    refused(with_last_frame(|log, start, _| log[start] ^= 0x10), true, "a log record");
    refused(with_last_frame(|log, start, _| log[start + 5] ^= 0x10), true, "length of a record of at most");
    refused(with_last_frame(|log, start, _| log[start..start + 8].fill(0)), true, "zeros to the end of the sector");
    refused(with_last_frame(|log, start, _| log[start + 8] = 0), true, "a log record");
    refused(with_last_frame(|log, start, _| log[start + 9] = 3), true, "a hard state");
    refused(with_last_frame(|log, start, _| log[start + 9] = 9), true, "a log record");
    // A sector of zeros is a torn write only if one write can have left what is behind it.
    refused(
        with_last_frame(|log, start, end| {
            log[start..end].fill(0);
            log[end + 9000] = 1;
        }),
        true,
        "only zeros",
    );
    // Damage in front of acknowledged records, however it looks.
    let (mut disk, path) = log(20, 2000);
    let mut content = disk.content(&path).expect("content");
    content[2048..2560].fill(0);
    disk.damage(&path, &content).expect("damage");
    refused(open(&mut disk).map(|entries| entries.len()).map_err(|error| error.to_string()), true, "only zeros");
}

/// Every bit of a small log, flipped in turn: the log is refused, or all that was acknowledged is there unchanged.
#[test]
fn no_flipped_bit_loses_an_acknowledged_entry() {
    let (mut disk, path) = log(4, 40);
    let intact = disk.content(&path).expect("content");
    let entries = open(&mut disk).expect("intact");
    let end = *frames(&intact).last().expect("frames");
    let (mut refused, mut same) = (0, 0);
    for bit in 0..(end + 1024) * 8 {
        let mut content = intact.clone();
        content[bit / 8] ^= 1 << (bit % 8);
        disk.damage(&path, &content).expect("damage");
        match open(&mut disk) {
            Ok(found) => {
                assert_eq!(found, entries, "bit {bit}");
                same += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains(".wal"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > end * 7 && same >= 1024 * 7, "{refused} refused, {same} the same, {end} bytes");
}

/// The same for whole sectors that come back as zeros or as something else, in a log of several segments.
#[test]
fn no_lost_sector_loses_what_is_more_than_one_write_back() {
    let (mut disk, mut writer) = fresh(5, &config());
    for index in 1..=60 {
        writer.append(Some(state(1, 1, index - 1)), &[entry(1, index, vec![index as u8; 3000])]);
        settle(&mut disk, &mut writer);
    }
    let last = writer.segment();
    close(&mut disk, writer);
    disk.crash();
    let entries = open(&mut disk).expect("intact");
    for (seq, first_index) in [(0, 0), (last.seq, last.first_index)] {
        let path = path(seq, first_index);
        let intact = disk.content(&path).expect("content");
        let end = *frames(&intact).last().expect("frames");
        for sector in 0..end.div_ceil(512) {
            for fill in [0, 0xff] {
                let mut content = intact.clone();
                let range = sector * 512..(sector * 512 + 512).min(content.len());
                content[range].fill(fill);
                disk.damage(&path, &content).expect("damage");
                if let Ok(found) = open(&mut disk) {
                    assert!(
                        seq == last.seq && sector * 512 + 4096 + 3100 + 512 >= end,
                        "segment {seq} sector {sector}"
                    );
                    assert_eq!(entries[..found.len()], found);
                    assert!(found.len() + 3 >= entries.len());
                }
            }
        }
        disk.damage(&path, &intact).expect("repair");
    }
}

#[test]
fn a_log_that_ends_before_its_commit_is_refused() {
    let (mut disk, mut writer) = fresh(5, &config());
    writer.append(Some(state(1, 1, 1)), &[entry(1, 1, vec![1; 100])]);
    settle(&mut disk, &mut writer);
    close(&mut disk, writer);
    disk.crash();
    let mut needs = Options { applied_index: 1, ..options(&config()) };
    assert_eq!(reopen(&mut disk, &needs).expect("reaches 1").1.len(), 1);
    disk.kill();
    needs.applied_index = 2;
    let message = reopen(&mut disk, &needs).expect_err("ends at 1").to_string();
    assert!(message.contains("with entry 1, but entry 2 is known to be committed"), "{message}");
    disk.kill();
    // A hard state that commits what the log does not have.
    let path = path(0, 0);
    let (mut chain, mut content) = (Chain::new(0), Vec::new());
    chain.write_crc(&mut content);
    chain.write_metadata(&mut content, METADATA);
    chain.write_entry(&mut content, &entry(1, 1, vec![1]));
    chain.write_hard_state(&mut content, &state(1, 1, 2));
    disk.damage(&path, &content).expect("damage");
    let error = open(&mut disk).expect_err("commit 2 of 1");
    assert!(matches!(error, RecoverError::TooShort { last_index: 1, needed_index: 2, .. }), "{error}");
}

/// Logs whose records are whole but cannot follow each other.
#[test]
fn records_that_make_no_sense_are_refused() {
    type Make = fn(&mut Chain, &mut Vec<u8>);
    let cases: [(&str, Make); 6] = [
        ("entry 1 or one before it, found 2", |chain, out| chain.write_entry(out, &entry(1, 2, vec![1]))),
        ("an entry above the committed 1, found 1", |chain, out| {
            chain.write_entry(out, &entry(1, 1, vec![1]));
            chain.write_hard_state(out, &state(1, 1, 1));
            chain.write_entry(out, &entry(2, 1, vec![1]));
        }),
        ("an entry", |chain, out| chain.write_entry(out, &Entry { r#type: 2, ..entry(1, 1, vec![]) })),
        ("an entry, hard state or marker", |chain, out| chain.write_metadata(out, b"other")),
        ("an entry, hard state or marker", |chain, out| chain.write_crc(out)),
        ("checksum", |chain, out| Chain::new(chain.crc() ^ 1).write_entry(out, &entry(1, 1, vec![1]))),
    ];
    for (words, make) in cases {
        let (mut disk, writer) = fresh(5, &config());
        close(&mut disk, writer);
        disk.crash();
        let (mut chain, mut content) = (Chain::new(0), Vec::new());
        chain.write_crc(&mut content);
        chain.write_metadata(&mut content, METADATA);
        make(&mut chain, &mut content);
        disk.damage(&path(0, 0), &content).expect("damage");
        let message = open(&mut disk).expect_err(words).to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn segments_must_be_complete_and_belong_together() {
    let several = || {
        let (mut disk, mut writer) = fresh(5, &tiny());
        for index in 1..=4 {
            writer.append(Some(state(1, 1, index - 1)), &[entry(1, index, vec![index as u8; 5000])]);
        }
        settle(&mut disk, &mut writer);
        close(&mut disk, writer);
        disk.crash();
        disk
    };
    use engine::disk::Disk as _;
    let mut disk = several();
    assert_eq!(open(&mut disk).expect("intact").len(), 4);

    let mut disk = several();
    disk.remove(&path(1, 2)).expect("remove");
    assert!(
        open(&mut disk)
            .expect_err("a gap")
            .to_string()
            .contains("segment 0000000000000001 before it, which is missing")
    );

    let mut disk = several();
    disk.remove(&path(0, 0)).expect("remove");
    assert_eq!(open(&mut disk).expect("an old segment may be gone").len(), 3);

    let mut disk = several();
    disk.damage(&path(3, 4), &[0; 8192]).expect("damage");
    assert!(open(&mut disk).expect_err("no header").to_string().contains("the header of a segment"));

    let mut disk = several();
    let other = disk.content(&path(2, 3)).expect("content");
    disk.damage(&path(1, 2), &other).expect("damage");
    assert!(open(&mut disk).expect_err("not its place").to_string().contains("of the segment before"));

    let mut disk = several();
    let whole = disk.content(&path(1, 2)).expect("content");
    disk.damage(&path(1, 2), &whole[..4096]).expect("damage");
    assert!(open(&mut disk).expect_err("short in the middle").to_string().contains("the rest of a record"));
}

#[test]
fn what_lies_about_is_removed_or_ignored() {
    use engine::disk::Disk as _;
    let (mut disk, _) = log(3, 100);
    open(&mut disk).expect("intact");
    for (number, name) in
        [(90, "0.tmp"), (91, "1.tmp"), (92, "notes.txt"), (93, "0000000000000000-0000000000000000.wal.broken")]
    {
        disk.create(FileId(number), &Path::new("wal").join(name)).expect("create");
        disk.write_at(FileId(number), 0, b"left over").expect("write");
    }
    disk.kill();
    assert_eq!(open(&mut disk).expect("recovers").len(), 3);
    let names = disk.list(Path::new("wal")).expect("list");
    assert_eq!(
        names,
        ["0000000000000000-0000000000000000.wal", "0000000000000000-0000000000000000.wal.broken", "notes.txt"]
    );
}

#[test]
fn a_locked_log_and_a_missing_one() {
    let (mut disk, path) = log(3, 100);
    disk.lock_elsewhere(&path).expect("lock");
    let message = open(&mut disk).expect_err("locked").to_string();
    assert!(message.contains("is locked by another process: is an etcd already running"), "{message}");
    let mut disk = SimDisk::new(1, "wal");
    assert!(matches!(open(&mut disk), Err(RecoverError::Missing { .. })));
    let (mut disk, _) = log(1, 1);
    let again = create(&mut disk, Path::new("wal"), Bytes::from_static(METADATA), &config(), FileId(50));
    assert!(again.expect_err("there is one").to_string().contains("cannot create a log in wal"));
}

/// A log goes on behind a cut as if nothing had been there, also where the torn write was longer than the next one.
#[test]
fn writing_goes_on_behind_a_cut() {
    for keep in 0..8 {
        let (mut disk, path) = log(6, 2000);
        let mut content = disk.content(&path).expect("content");
        let frames = frames(&content);
        let (start, end) = (frames[frames.len() - 3], frames[frames.len() - 1]);
        for (at, sector) in (start / 512..=end / 512).enumerate() {
            if at % 8 == keep {
                content[(sector * 512).max(start)..(sector * 512 + 512).min(end)].fill(0);
            }
        }
        disk.damage(&path, &content).expect("damage");
        let (recovered, entries) = reopen(&mut disk, &options(&config())).expect("recovers");
        let known = entries.len() as u64;
        let mut writer = Writer::new(recovered.tail, &config());
        writer.append(None, &[entry(2, known + 1, vec![3; 10]), entry(2, known + 2, vec![4; 700])]);
        settle(&mut disk, &mut writer);
        disk.crash();
        let entries = open(&mut disk).expect("recovers again");
        assert_eq!(entries.len() as u64, known + 2);
        assert_eq!(entries.last().map(|entry| entry.data.len()), Some(700));
    }
}
