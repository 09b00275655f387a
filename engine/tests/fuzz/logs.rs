//! Logs with bytes in them that nobody should have written. Recovery must refuse them, or give back a prefix of what was
//! written that can be recovered a second time; it never panics and never holds more than the files do.

use crate::chance::Chance;
use bytes::Bytes;
use engine::disk::{Disk as _, SimDisk};
use engine::effect::{FileId, Now};
use engine::pb::raftpb::{Entry, HardState};
use engine::pb::walpb;
use engine::replica::{self, Start};
use engine::wal::frame::Chain;
use engine::wal::{Config, Options, Replayed, SegmentName, Writer, create, recover};
use prost::Message as _;
use std::path::Path;

/// Largest record accepted here, in bytes: what recovery may ask memory for at once.
const RECORD_BYTES_MAX: u64 = 1 << 20;

fn config() -> Config {
    Config { segment_bytes: 8192, batch_bytes_max: 8192, zero_piece_bytes: 4096, zero_gap_bytes: 4096 }
}

fn dir() -> &'static Path {
    Path::new("wal")
}

fn metadata() -> Bytes {
    walpb::Metadata { node_id: 1, cluster_id: 2 }.encode_to_vec().into()
}

fn read(disk: &mut SimDisk) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let options = Options { config: config(), record_bytes_max: RECORD_BYTES_MAX, ..Options::default() };
    let recovered = recover(disk, dir(), &options, &mut |record| {
        if let Replayed::Entry(entry) = record {
            entries.push(entry);
        }
    });
    disk.kill();
    recovered.ok().map(|_| entries)
}

/// A log as a member writes it; its entries.
fn written(seed: u64, chance: &mut Chance) -> (SimDisk, Vec<Entry>) {
    let mut disk = SimDisk::new(seed, "wal");
    let tail = create(&mut disk, dir(), metadata(), &config(), FileId(0)).expect("create");
    let mut writer = Writer::new(tail, &config());
    let mut entries = Vec::new();
    for _ in 0..1 + chance.below(12) {
        let batch: Vec<Entry> = (0..1 + chance.below(3))
            .map(|at| Entry {
                r#type: 0,
                term: 1,
                index: entries.len() as u64 + 1 + at,
                data: chance.bytes(1500).into(),
            })
            .collect();
        entries.extend(batch.iter().cloned());
        writer.append(Some(HardState { term: 1, vote: 1, commit: entries.len() as u64 / 2 }), &batch);
        loop {
            while let Some((id, op)) = writer.poll_effect() {
                disk.submit(id, op);
            }
            let Some((id, result, buf)) = disk.complete() else { break };
            writer.handle(id, result, buf).expect("no faults were asked for");
        }
    }
    drop(writer);
    disk.kill();
    (disk, entries)
}

/// A written log, wounded: what is found is a prefix, and found again. True if it was not refused.
pub fn wounded(seed: u64) -> bool {
    let mut chance = Chance::new(seed);
    let (mut disk, entries) = written(seed, &mut chance);
    assert_eq!(read(&mut disk).as_ref(), Some(&entries), "unhurt");
    let names: Vec<String> = disk.list(dir()).expect("listed").into_iter().filter(|n| n.ends_with(".wal")).collect();
    for _ in 0..1 + chance.below(3) {
        let path = dir().join(&names[chance.index(names.len())]);
        let mut content = disk.content(&path).expect("there");
        chance.damage(&mut content);
        disk.damage(&path, &content).expect("there");
    }
    let Some(found) = read(&mut disk) else { return false };
    assert!(entries.starts_with(&found), "what is found was never written in this order");
    assert_eq!(read(&mut disk), Some(found), "a second recovery finds the same");
    true
}

/// A log of records that are whole, with a right checksum, and make no sense; or of bytes alone. A member opened on it
/// refuses or runs. True if it runs.
pub fn invented(seed: u64) -> bool {
    let mut chance = Chance::new(seed);
    let mut content = Vec::new();
    let mut chain = Chain::new(0);
    if chance.percent(90) {
        chain.write_crc(&mut content);
        let sound = chance.percent(90);
        chain.write_metadata(&mut content, &if sound { metadata().to_vec() } else { chance.bytes(30) });
        (0..chance.below(12)).for_each(|at| record(&mut chain, &mut content, at, &mut chance));
    }
    if chance.percent(20) {
        let more = chance.bytes(3000);
        content.extend(more);
    }
    content.resize(content.len().max(8192), 0);
    let mut disk = SimDisk::new(seed, "wal");
    let name = SegmentName { seq: 0, first_index: 0 };
    disk.create_dir(dir()).expect("made");
    disk.create(FileId(900), &dir().join(name.path())).expect("made");
    disk.close(FileId(900)).expect("closed");
    disk.damage(&dir().join(name.path()), &content).expect("there");
    if let Some(found) = read(&mut disk) {
        let held: usize = found.iter().map(|entry| entry.data.len()).sum();
        assert!(held <= content.len(), "more than the file holds");
        assert_eq!(read(&mut disk), Some(found), "a second recovery finds the same");
    }
    let config = replica::Config {
        member_id: 1,
        name: "m1".to_owned(),
        client_urls: Vec::new(),
        tick_ns: 1,
        election_ticks: 10,
        pre_vote: true,
        campaign_at_once: true,
        request_timeout_ns: 1,
        seed,
        id_lanes: 2,
        wal: config(),
        #[cfg(feature = "canaries")]
        canary: None,
    };
    let opened = replica::open(config, &mut disk, dir(), Start::Restart, Now { mono_ns: 1, unix_ms: 1 });
    let Ok(mut opened) = opened else { return false };
    while opened.replica.poll_effect().is_some() {}
    true
}

fn record(chain: &mut Chain, out: &mut Vec<u8>, at: u64, chance: &mut Chance) {
    let orderly = chance.percent(80);
    let index = if orderly { at + 1 } else { chance.number() as u64 };
    let term = if orderly { 1 } else { chance.number() as u64 };
    match chance.below(10) {
        0..6 => {
            let r#type = if orderly { 0 } else { chance.below(4) as i32 };
            let data = if chance.percent(50) { crate::requests::encoded(chance) } else { chance.bytes(100) };
            chain.write_entry(out, &Entry { r#type, term, index, data: data.into() });
        }
        6..9 => chain.write_hard_state(out, &HardState { term, vote: chance.below(3), commit: index }),
        _ if orderly => chain.write_metadata(out, &metadata()),
        _ => chain.write_snapshot(out, &walpb::Snapshot { index, term, conf_state: Some(Default::default()) }),
    }
}
