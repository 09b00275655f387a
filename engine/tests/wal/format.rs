//! The bytes themselves: headers derived by hand from the format, record by record.

use crate::rig::{METADATA, close, entry, fresh, options, reopen, settle, state, tiny};
use engine::pb::raftpb::ConfState;
use engine::pb::walpb;
use engine::wal::Config;
use std::path::Path;

const FIRST: &str = "wal/0000000000000000-0000000000000000.wal";

/// CRC-32C, one bit at a time: independent of the table the log uses.
fn crc32c(crc: u32, data: &[u8]) -> u32 {
    let mut crc = !crc;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A record as the format says: length with padding, {1: type, 2: crc, 3: data}, zeros to the next multiple of 8.
fn record(kind: u8, crc: u32, data: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![0x08, kind, 0x10];
    body.extend(varint(u64::from(crc)));
    if let Some(data) = data {
        body.push(0x1a);
        body.extend(varint(data.len() as u64));
        body.extend_from_slice(data);
    }
    let pad = (8 - body.len() % 8) % 8;
    let mut out = (body.len() as u64).to_le_bytes().to_vec();
    if pad > 0 {
        out[7] = 0x80 | pad as u8;
    }
    out.extend(body);
    out.resize(out.len() + pad, 0);
    out
}

fn chained(crc: &mut u32, kind: u8, data: &[u8]) -> Vec<u8> {
    *crc = crc32c(*crc, data);
    record(kind, *crc, Some(data))
}

/// The first 64 bytes of a log of member 1 in cluster 2, byte for byte.
#[test]
fn golden_header_of_a_fresh_log() {
    let (mut disk, _writer) = fresh(1, &tiny());
    let content = disk.content(Path::new(FIRST)).expect("the first segment");
    #[rustfmt::skip]
    let golden = [
        // checksum record: 4 bytes of protobuf, 4 of padding; type 4, checksum 0
        0x04, 0, 0, 0, 0, 0, 0, 0x84,  0x08, 0x04, 0x10, 0x00, 0, 0, 0, 0,
        // metadata: 14 bytes, 2 of padding; type 1, checksum, {node 1, cluster 2}
        0x0e, 0, 0, 0, 0, 0, 0, 0x82,  0x08, 0x01, 0x10, 0xa9, 0xf6, 0xf0, 0xac, 0x0c, 0x1a, 0x04, 0x08, 0x01, 0x10, 0x02, 0, 0,
        // marker: 14 bytes, 2 of padding; type 5, checksum, {index 0, term 0}
        0x0e, 0, 0, 0, 0, 0, 0, 0x82,  0x08, 0x05, 0x10, 0x99, 0xcf, 0xff, 0xfd, 0x0d, 0x1a, 0x04, 0x08, 0x00, 0x10, 0x00, 0, 0,
    ];
    assert_eq!(content[..64], golden);
    assert!(content[64..].iter().all(|byte| *byte == 0));
    assert_eq!(content.len(), 8192);
}

#[test]
fn every_record_and_the_header_of_the_next_segment() {
    let config = Config { segment_bytes: 4096, ..tiny() };
    let (mut disk, mut writer) = fresh(1, &config);
    let conf_state = Some(ConfState { voters: vec![7], ..Default::default() });
    writer.append(Some(state(1, 7, 0)), &[entry(1, 1, vec![0xaa; 300]), entry(1, 2, Vec::new())]);
    writer.append_marker(&walpb::Snapshot { index: 1, term: 1, conf_state });
    writer.append(Some(state(1, 7, 2)), &[entry(1, 3, vec![0xbb; 3800])]);
    settle(&mut disk, &mut writer);

    let mut crc = 0;
    let mut expected = record(4, 0, None);
    expected.extend(chained(&mut crc, 1, METADATA));
    expected.extend(chained(&mut crc, 5, &[0x08, 0, 0x10, 0]));
    let mut data = vec![0x08, 0, 0x10, 1, 0x18, 1, 0x22, 0xac, 0x02];
    data.extend([0xaa; 300]);
    expected.extend(chained(&mut crc, 2, &data));
    expected.extend(chained(&mut crc, 2, &[0x08, 0, 0x10, 1, 0x18, 2]));
    expected.extend(chained(&mut crc, 3, &[0x08, 1, 0x10, 7, 0x18, 0]));
    expected.extend(chained(&mut crc, 5, &[0x08, 1, 0x10, 1, 0x1a, 2, 0x08, 7]));
    let content = disk.content(Path::new(FIRST)).expect("the first segment");
    assert_eq!(content, expected, "truncated to its last record");

    let mut expected = record(4, crc, None);
    expected.extend(chained(&mut crc, 1, METADATA));
    expected.extend(chained(&mut crc, 3, &[0x08, 1, 0x10, 7, 0x18, 0]));
    let mut data = vec![0x08, 0, 0x10, 1, 0x18, 3, 0x22, 0xd8, 0x1d];
    data.extend([0xbb; 3800]);
    expected.extend(chained(&mut crc, 2, &data));
    expected.extend(chained(&mut crc, 3, &[0x08, 1, 0x10, 7, 0x18, 2]));
    let content = disk.content(Path::new("wal/0000000000000001-0000000000000003.wal")).expect("the second segment");
    assert_eq!(content[..expected.len()], expected);
    assert!(content[expected.len()..].iter().all(|byte| *byte == 0));
    assert_eq!(content.len(), 4096);
}

/// Go leaves zero fields out in newer versions and writes them in older ones; both must be read.
#[test]
fn fields_left_out_are_zero() {
    let (mut disk, writer) = fresh(1, &tiny());
    close(&mut disk, writer);
    let mut crc = 0;
    let mut content = record(4, 0, None);
    content.extend(chained(&mut crc, 1, METADATA));
    content.extend(chained(&mut crc, 5, &[]));
    content.extend(chained(&mut crc, 2, &[0x10, 1, 0x18, 1]));
    content.extend(chained(&mut crc, 3, &[0x08, 1, 0x10, 7]));
    disk.damage(Path::new(FIRST), &content).expect("the first segment");
    let (recovered, entries) = reopen(&mut disk, &options(&tiny())).expect("recovers");
    assert_eq!(entries, [entry(1, 1, Vec::new())]);
    assert_eq!(recovered.hard_state, state(1, 7, 0));
    assert_eq!(recovered.markers, [walpb::Snapshot::default()]);
    assert_eq!(disk.content(Path::new(FIRST)).expect("the first segment").len(), 8192, "sized back");
}
