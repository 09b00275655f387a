//! Opening a replica on logs that it must not go on with, and on one it must.

use engine::apply::cluster::Member;
use engine::disk::SimDisk;
use engine::effect::{FileId, Now};
use engine::pb::{raftpb, walpb};
use engine::replica::{self, Config, OpenError, Start};
use engine::wal::{self, Writer};
use prost::Message as _;
use std::path::Path;

const NOW: Now = Now { mono_ns: 1, unix_ms: 1 };

fn dir() -> &'static Path {
    Path::new("wal")
}

fn sizes() -> wal::Config {
    wal::Config {
        segment_bytes: 64 << 10,
        batch_bytes_max: 8 << 10,
        zero_piece_bytes: 4 << 10,
        zero_gap_bytes: 8 << 10,
    }
}

fn config() -> Config {
    Config {
        member_id: 7,
        name: "m".into(),
        client_urls: Vec::new(),
        tick_ns: 100_000_000,
        election_ticks: 10,
        pre_vote: true,
        campaign_at_once: true,
        request_timeout_ns: 1_000_000_000,
        seed: 1,
        id_lanes: 2,
        wal: sizes(),
    }
}

/// A log with what `write` appends to it, closed in order.
fn log(metadata: &walpb::Metadata, write: impl FnOnce(&mut Writer)) -> SimDisk {
    let mut disk = SimDisk::new(1, dir());
    let settings = sizes();
    let tail = wal::create(&mut disk, dir(), metadata.encode_to_vec().into(), &settings, FileId(0)).unwrap();
    let mut writer = Writer::new(tail, &settings);
    write(&mut writer);
    writer.close();
    while !writer.is_closed() {
        while let Some((id, op)) = writer.poll_effect() {
            disk.submit(id, op);
        }
        if let Some((id, result, buf)) = disk.complete() {
            writer.handle(id, result, buf).unwrap();
        }
    }
    disk.kill();
    disk
}

fn entry(index: u64, term: u64, data: &[u8]) -> raftpb::Entry {
    raftpb::Entry { index, term, data: data.to_vec().into(), ..Default::default() }
}

fn open(disk: &mut SimDisk) -> Result<replica::Opened, OpenError> {
    replica::open(config(), disk, dir(), Start::Restart, NOW)
}

const OURS: walpb::Metadata = walpb::Metadata { node_id: 7, cluster_id: 9 };

#[test]
fn a_marker_means_a_db_file_that_cannot_be_read_yet() {
    let mut disk = log(&OURS, |writer| {
        writer.append(Some(raftpb::HardState { term: 1, vote: 0, commit: 1 }), &[entry(1, 1, b"")]);
        let voters = raftpb::ConfState { voters: vec![7], ..Default::default() };
        writer.append_marker(&walpb::Snapshot { index: 1, term: 1, conf_state: Some(voters) });
    });
    let error = open(&mut disk).err().expect("a marker above 0 is refused");
    assert!(matches!(error, OpenError::HasCheckpoint { index: 1 }), "{error}");
}

#[test]
fn requests_of_a_later_version_are_refused_and_named() {
    // A lease grant: etcd's field 8.
    let mut disk = log(&OURS, |writer| {
        let grant = entry(1, 1, b"\x42\x02\x08\x3c");
        writer.append(Some(raftpb::HardState { term: 1, vote: 0, commit: 1 }), &[grant]);
    });
    let error = open(&mut disk).err().expect("a lease request cannot be applied");
    assert!(error.to_string().contains("log entry 1 holds a lease request"), "{error}");
}

#[test]
fn a_log_that_belongs_to_nobody_is_refused() {
    let mut disk = log(&walpb::Metadata { node_id: 0, cluster_id: 9 }, |_| {});
    assert!(matches!(open(&mut disk).err(), Some(OpenError::NoIdentity)));
}

#[test]
fn ids_come_from_the_log() {
    let members = [Member { id: 7, name: "m".into(), peer_urls: vec!["http://m:2380".into()], ..Member::default() }];
    let mut disk = SimDisk::new(1, dir());
    let start = Start::New { cluster_id: 9, members: &members };
    let mut replica = replica::open(config(), &mut disk, dir(), start, NOW).unwrap().replica;
    // The first write makes the bootstrap entries durable.
    while let Some(effect) = replica.poll_effect() {
        if let replica::Effect::File { id, op } = effect {
            disk.submit(id, op);
            let (id, result, buf) = disk.complete_one(id).unwrap();
            replica.handle(replica::Input::FileDone { id, result, buf }, NOW);
        }
    }
    assert!(replica.status().ready);
    drop(replica);
    disk.crash();
    let other = Config { member_id: 1, ..config() };
    let opened = replica::open(other, &mut disk, dir(), Start::Restart, NOW).unwrap();
    assert_eq!((opened.member_id, opened.cluster_id), (7, 9));
    assert_eq!(opened.replica.cluster().members().map(|m| m.id).collect::<Vec<_>>(), [7]);
}
