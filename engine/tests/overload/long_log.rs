//! A start with a long log: entries are applied while the log is read, so memory holds a bounded number of them.

use crate::rig::{SECOND_NS, config};
use engine::apply::cluster::Member;
use engine::disk::SimDisk;
use engine::effect::{FileId, Now};
use engine::limits::LOG_CATCH_UP_ENTRIES;
use engine::pb::etcdserverpb::{InternalRaftRequest, PutRequest, internal_raft_request};
use engine::pb::raftpb::{ConfChange, ConfChangeType, Entry, EntryType, HardState};
use engine::pb::walpb;
use engine::replica::{self, OpenError, Start};
use engine::wal::{self, Writer};
use prost::Message as _;
use std::path::Path;

const ENTRIES: u64 = 200_000;
const BATCH: u64 = 500;
/// Entries at the end of the log that nobody knows to be committed.
const UNCOMMITTED: u64 = 700;
const SEGMENT_BYTES: u64 = 4 << 20;

fn first_entry() -> Entry {
    let member = Member { id: 1, name: "m1".into(), peer_urls: vec!["http://m1:2380".into()], ..Member::default() };
    let change = ConfChange {
        r#type: ConfChangeType::AddNode as i32,
        node_id: 1,
        context: member.to_json().into(),
        ..Default::default()
    };
    let data = change.encode_to_vec().into();
    Entry { r#type: EntryType::ConfChange as i32, term: 1, index: 1, data }
}

fn put(index: u64, term: u64) -> Entry {
    let put = PutRequest { key: format!("k{:04}", index % 1000).into(), value: "v".into(), ..Default::default() };
    let request = Some(internal_raft_request::Request::Put(put));
    let data = InternalRaftRequest { id: index, request, ..Default::default() }.encode_to_vec().into();
    Entry { r#type: EntryType::Normal as i32, term, index, data }
}

/// A log as a member of three leaves it: batches, each with the commit of the one before, and tails that were replaced.
fn write_log(disk: &mut SimDisk) {
    let wal = config(1, 1, SEGMENT_BYTES).wal;
    let metadata = walpb::Metadata { node_id: 1, cluster_id: 7 }.encode_to_vec().into();
    let tail = wal::create(disk, Path::new("wal"), metadata, &wal, FileId(0)).unwrap();
    let mut writer = Writer::new(tail, &wal);
    writer.append(Some(HardState { term: 1, vote: 1, commit: 1 }), &[first_entry()]);
    let mut index = 2;
    while index <= ENTRIES {
        let end = (index + BATCH).min(ENTRIES + 1);
        // The batch is written twice, as after a change of leaders: the second replaces the first.
        for term in [2, 3].into_iter().skip(usize::from(index % 7 != 0)) {
            let entries: Vec<Entry> = (index..end).map(|index| put(index, term)).collect();
            writer.append(None, &entries);
        }
        let commit = (index - 1).clamp(1, ENTRIES - UNCOMMITTED);
        writer.append(Some(HardState { term: 3, vote: 1, commit }), &[]);
        index = end;
        settle(disk, &mut writer);
    }
    writer.append(Some(HardState { term: 3, vote: 1, commit: ENTRIES - UNCOMMITTED }), &[]);
    writer.close();
    settle(disk, &mut writer);
    assert!(writer.is_closed());
}

fn settle(disk: &mut SimDisk, writer: &mut Writer) {
    loop {
        while let Some((id, op)) = writer.poll_effect() {
            disk.submit(id, op);
        }
        let Some((id, result, buf)) = disk.complete() else { return };
        writer.handle(id, result, buf).unwrap();
    }
}

#[test]
fn memory_holds_a_bounded_part_of_a_long_log() {
    let mut disk = SimDisk::new(1, "wal");
    write_log(&mut disk);
    disk.crash();
    let now = Now { mono_ns: SECOND_NS, unix_ms: 1_700_000_000_000 };
    let config = config(1, 1, SEGMENT_BYTES);
    let opened = replica::open(config, &mut disk, Path::new("wal"), Start::Restart, now).unwrap();
    assert_eq!((opened.entries, opened.member_id, opened.cluster_id), (ENTRIES, 1, 7));
    let bound = LOG_CATCH_UP_ENTRIES + UNCOMMITTED + 3 * BATCH;
    assert!(opened.entries_held_max as u64 <= bound, "{} entries were held, {bound} allowed", opened.entries_held_max);
    let store = opened.replica.store();
    assert_eq!(store.revision() as u64, ENTRIES - UNCOMMITTED, "everything committed is applied, nothing else");
    assert_eq!((store.live_keys(), opened.replica.cluster().members().count()), (1000, 1));
}

/// What cannot be applied is refused as before, although it is found while the log is still being read.
#[test]
fn an_entry_of_another_kind_is_refused() {
    let wal = config(1, 1, SEGMENT_BYTES).wal;
    let mut disk = SimDisk::new(2, "wal");
    let metadata = walpb::Metadata { node_id: 1, cluster_id: 7 }.encode_to_vec().into();
    let tail = wal::create(&mut disk, Path::new("wal"), metadata, &wal, FileId(0)).unwrap();
    let mut writer = Writer::new(tail, &wal);
    let odd = Entry { data: b"\xff".as_slice().into(), ..put(2, 1) };
    writer.append(Some(HardState { term: 1, vote: 1, commit: 3 }), &[first_entry(), odd, put(3, 1)]);
    settle(&mut disk, &mut writer);
    drop(writer);
    disk.crash();
    let now = Now { mono_ns: SECOND_NS, unix_ms: 1_700_000_000_000 };
    let opened = replica::open(config(1, 1, SEGMENT_BYTES), &mut disk, Path::new("wal"), Start::Restart, now);
    assert!(matches!(opened, Err(OpenError::Unapplicable(what)) if what.index == 2));
}
