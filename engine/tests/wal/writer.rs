//! The writer seen through its effects alone: what starts a write, what shares one, and in which order a segment is cut.

use crate::rig::{close, complete, entry, fresh, options, reopen, settle, state, submit_all, tiny};
use engine::disk::{Disk as _, Fault, OpKind, SimDisk};
use engine::effect::{FileOp, OpId};
use engine::pb::walpb;
use engine::wal::{Config, Seq, Writer};
use std::path::Path;

/// Without zeros ahead and with room: data writes are all there is to see.
fn plain() -> Config {
    Config { segment_bytes: 1 << 20, batch_bytes_max: 65536, zero_piece_bytes: 0, zero_gap_bytes: 4096 }
}

/// A writer whose background work is done.
fn settled(config: &Config) -> (SimDisk, Writer) {
    let (mut disk, mut writer) = fresh(3, config);
    settle(&mut disk, &mut writer);
    (disk, writer)
}

fn poll_all(writer: &mut Writer) -> Vec<(OpId, FileOp)> {
    std::iter::from_fn(|| writer.poll_effect()).collect()
}

/// An operation in a word: what tests of order compare.
fn word(op: &FileOp) -> String {
    match op {
        FileOp::Create { path, .. } => format!("create {}", path.display()),
        FileOp::Allocate { len, .. } => format!("allocate {len}"),
        FileOp::Write { offset, buf, durable, .. } => {
            let kind = if *durable { "write" } else { "zero" };
            format!("{kind} {offset}+{}", buf.len())
        }
        FileOp::Sync { .. } => "sync".to_owned(),
        FileOp::SyncDir => "syncdir".to_owned(),
        FileOp::Rename { from, to } => format!("rename {} {}", from.display(), to.display()),
        FileOp::Remove { path } => format!("remove {}", path.display()),
        FileOp::Truncate { len, .. } => format!("truncate {len}"),
        FileOp::Close { .. } => "close".to_owned(),
    }
}

/// Runs to the end, oldest operation first; everything that happened.
fn run(writer: &mut Writer) -> Vec<String> {
    let (mut queue, mut words) = (std::collections::VecDeque::new(), Vec::new());
    loop {
        for (id, op) in poll_all(writer) {
            words.push(word(&op));
            queue.push_back((id, op));
        }
        let Some((id, op)) = queue.pop_front() else { return words };
        complete(writer, id, op);
    }
}

#[test]
fn appends_during_a_write_share_the_next() {
    let (_disk, mut writer) = settled(&plain());
    let first = writer.append(Some(state(1, 1, 0)), &[entry(1, 1, vec![1])]);
    let mut effects = poll_all(&mut writer);
    assert_eq!(effects.len(), 1);
    let mut last = first;
    for index in 2..=500 {
        last = writer.append(Some(state(1, 1, index - 1)), &[entry(1, index, vec![1; 40])]);
        assert!(writer.poll_effect().is_none(), "one write in flight");
    }
    assert_eq!((first, last, writer.durable()), (Seq(1), Seq(500), Seq(0)));
    let (id, op) = effects.pop().expect("the first write");
    complete(&mut writer, id, op);
    assert_eq!(writer.durable(), first);
    let effects = poll_all(&mut writer);
    assert_eq!(effects.len(), 1, "all that came meanwhile is one write");
    for (id, op) in effects {
        complete(&mut writer, id, op);
    }
    assert_eq!((writer.durable(), writer.durable_commit()), (last, 499));
    assert!(!writer.wants_write() && poll_all(&mut writer).is_empty());
}

#[test]
fn a_commit_alone_starts_no_write() {
    let (mut disk, mut writer) = settled(&plain());
    let seq = writer.append(Some(state(1, 1, 0)), &[entry(1, 1, vec![1]), entry(1, 2, vec![1])]);
    settle(&mut disk, &mut writer);
    assert_eq!(writer.append(Some(state(1, 1, 1)), &[]), seq);
    assert_eq!(writer.append(Some(state(1, 1, 2)), &[]), seq);
    assert!(!writer.wants_write() && poll_all(&mut writer).is_empty());
    assert_eq!(writer.durable_commit(), 0);
    let flushed = writer.flush();
    assert!(flushed > seq && writer.wants_write());
    assert_eq!(writer.flush(), flushed, "nothing more to flush");
    settle(&mut disk, &mut writer);
    assert_eq!((writer.durable(), writer.durable_commit()), (flushed, 2));
    // It also rides along with entries that bring no hard state of their own.
    writer.append(Some(state(1, 1, 2)), &[entry(1, 3, vec![1])]);
    writer.append(Some(state(1, 1, 3)), &[]);
    writer.append(None, &[entry(1, 4, vec![1])]);
    settle(&mut disk, &mut writer);
    assert_eq!(writer.durable_commit(), 3);
    close(&mut disk, writer);
    let (recovered, entries) = reopen(&mut disk, &options(&plain())).expect("recovers");
    assert_eq!((recovered.hard_state, entries.len()), (state(1, 1, 3), 4));
}

#[test]
fn a_vote_starts_a_write_and_repeats_do_not() {
    let (mut disk, mut writer) = settled(&plain());
    writer.append(Some(state(1, 0, 0)), &[]);
    assert!(writer.wants_write());
    settle(&mut disk, &mut writer);
    let voted = writer.append(Some(state(1, 2, 0)), &[]);
    assert!(writer.wants_write());
    settle(&mut disk, &mut writer);
    assert_eq!(writer.append(Some(state(1, 2, 0)), &[]), voted);
    assert_eq!(writer.append(None, &[]), voted);
    assert!(!writer.wants_write());
}

#[test]
fn a_full_batch_is_split_into_bounded_writes() {
    let config = Config { batch_bytes_max: 4096, ..plain() };
    let (_disk, mut writer) = settled(&config);
    let small = writer.append(None, &[entry(1, 1, vec![1; 100])]);
    let large = writer.append(None, &[entry(1, 2, vec![2; 10_000])]);
    let mut durable = Vec::new();
    while let Some((id, op)) = writer.poll_effect() {
        let FileOp::Write { buf, .. } = &op else { panic!("only writes") };
        assert_eq!(buf.len(), 4096);
        complete(&mut writer, id, op);
        durable.push(writer.durable());
    }
    assert_eq!(durable, [small, small, large]);
}

#[test]
fn the_tail_block_is_rewritten_with_what_it_held() {
    let (mut disk, mut writer) = settled(&plain());
    let mut before = Vec::new();
    for index in 1..=200 {
        writer.append(None, &[entry(1, index, vec![index as u8; 60])]);
        let (id, op) = writer.poll_effect().expect("a write");
        let FileOp::Write { offset, buf, durable: true, .. } = &op else { panic!("a durable write") };
        let mut after = before.clone();
        after.resize(after.len().max(*offset as usize), 0);
        after.truncate(*offset as usize);
        after.extend_from_slice(buf.as_slice());
        let end = before.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        assert_eq!(after[..end], before[..end], "what was there is overwritten by itself");
        before = after;
        disk.submit(id, op);
        let (id, result, buf) = disk.complete().expect("in flight");
        writer.handle(id, result, buf).expect("no faults");
    }
}

/// Every step of a cut, in order, with the next segment prepared ahead.
#[test]
fn order_of_a_cut() {
    let config = Config { segment_bytes: 8192, batch_bytes_max: 4096, zero_piece_bytes: 4096, zero_gap_bytes: 4096 };
    let (_disk, mut writer) = fresh(1, &config);
    assert_eq!(run(&mut writer), ["create 0.tmp", "allocate 8192", "zero 0+4096", "zero 4096+4096", "sync"]);
    writer.append(Some(state(1, 1, 0)), &[entry(1, 1, vec![1; 7900])]);
    assert_eq!(run(&mut writer), ["write 0+4096", "write 4096+4096"]);
    writer.append(None, &[entry(1, 2, vec![2; 200])]);
    assert_eq!(
        run(&mut writer),
        [
            "write 0+4096",
            "rename 0.tmp 0000000000000001-0000000000000002.wal",
            "syncdir",
            "write 0+4096",
            "truncate 8016",
            "close",
            "create 1.tmp",
            "allocate 8192",
            "zero 0+4096",
            "zero 4096+4096",
            "sync",
        ]
    );
    assert_eq!(writer.durable(), Seq(2));
    writer.close();
    assert_eq!(run(&mut writer), ["close", "remove 1.tmp", "close"]);
    assert!(writer.is_closed());
}

/// Records exactly up to the end of a segment stay in it; a little more goes to the next.
#[test]
fn cut_at_the_exact_boundary() {
    let mut exact = 0;
    for len in 7990..8060 {
        let (mut disk, mut writer) = fresh(1, &tiny());
        writer.append(None, &[entry(1, 1, vec![7; 8])]);
        writer.append(None, &[entry(1, 2, vec![7; len])]);
        settle(&mut disk, &mut writer);
        let in_first = writer.segment().seq == 0;
        let first = disk.content(Path::new("wal/0000000000000000-0000000000000000.wal")).expect("content");
        assert!(first.len() <= 8192, "never beyond what was reserved");
        disk.crash();
        let (recovered, entries) = reopen(&mut disk, &options(&tiny())).expect("recovers");
        assert_eq!(entries.len(), 2);
        assert_eq!(in_first, recovered.tail.name.seq == 0);
        if in_first && recovered.tail.end == 8192 {
            exact += 1;
            let mut writer = Writer::new(recovered.tail, &tiny());
            writer.append(None, &[entry(1, 3, vec![])]);
            settle(&mut disk, &mut writer);
            assert_eq!((writer.segment().seq, writer.segment().first_index), (1, 3));
        }
        assert!(in_first || exact > 0, "{len}: a segment is filled before it is cut");
    }
    assert!(exact >= 7, "all lengths that pad to the last multiple of 8; the checksum's own length varies");
}

#[test]
fn an_entry_larger_than_a_segment_makes_it_grow() {
    let (mut disk, mut writer) = fresh(1, &tiny());
    for index in 1..=4 {
        writer.append(None, &[entry(1, index, vec![index as u8; 20_000])]);
    }
    settle(&mut disk, &mut writer);
    assert_eq!((writer.segment().seq, writer.durable()), (3, Seq(4)), "the first fits no better elsewhere");
    disk.crash();
    let (_, entries) = reopen(&mut disk, &options(&tiny())).expect("recovers");
    assert_eq!(entries.iter().map(|entry| entry.data.len()).collect::<Vec<_>>(), [20_000; 4]);
}

/// Zeros ahead and records in flight never overlap, whatever the disk does first.
#[test]
fn zeros_never_meet_records() {
    for seed in 0..200 {
        let config =
            Config { segment_bytes: 65536, batch_bytes_max: 8192, zero_piece_bytes: 8192, zero_gap_bytes: 4096 };
        let (_disk, mut writer) = fresh(seed, &config);
        let mut rng = crate::rig::Rng::new(seed);
        let mut in_flight: Vec<(OpId, FileOp)> = Vec::new();
        for index in 1..300 {
            writer.append(None, &[entry(1, index, vec![1; rng.below(3000) as usize])]);
            in_flight.extend(poll_all(&mut writer));
            let ranges: Vec<_> = in_flight
                .iter()
                .filter_map(|(_, op)| match op {
                    FileOp::Write { file, offset, buf, .. } => Some((*file, *offset, *offset + buf.len() as u64)),
                    _ => None,
                })
                .collect();
            for (at, a) in ranges.iter().enumerate() {
                assert!(ranges[at + 1..].iter().all(|b| a.0 != b.0 || a.2 <= b.1 || b.2 <= a.1), "{ranges:?}");
            }
            assert!(in_flight.len() <= 2, "one for records, one in the background");
            // Completions of zeros are starved now and then, so that records catch up with them.
            let pick = rng.below(in_flight.len() as u64 + 1) as usize;
            if pick < in_flight.len() {
                let (id, op) = in_flight.remove(pick);
                complete(&mut writer, id, op);
            }
        }
    }
}

#[test]
fn a_full_disk_stops_nothing_before_the_segment_is_full() {
    let (mut disk, mut writer) = fresh(1, &tiny());
    disk.set_full(true);
    settle(&mut disk, &mut writer);
    assert_eq!(writer.next_segment_error(), Some(libc::ENOSPC));
    let fits = writer.append(None, &[entry(1, 1, vec![1; 5000])]);
    settle(&mut disk, &mut writer);
    assert_eq!(writer.durable(), fits);
    let waits = writer.append(None, &[entry(1, 2, vec![2; 5000])]);
    settle(&mut disk, &mut writer);
    assert_eq!(writer.durable(), fits);
    assert!(writer.wants_write() && writer.pending_bytes() > 5000);
    writer.retry_prepare();
    settle(&mut disk, &mut writer);
    assert_eq!((writer.durable(), writer.next_segment_error()), (fits, Some(libc::ENOSPC)));
    disk.set_full(false);
    writer.retry_prepare();
    assert_eq!(writer.next_segment_error(), None);
    settle(&mut disk, &mut writer);
    assert_eq!(writer.durable(), waits);
    close(&mut disk, writer);
    assert_eq!(reopen(&mut disk, &options(&tiny())).expect("recovers").1.len(), 2);
}

#[test]
fn closing_on_a_full_disk_gives_up_what_was_never_acknowledged() {
    let (mut disk, mut writer) = fresh(1, &tiny());
    disk.set_full(true);
    writer.append(None, &[entry(1, 1, vec![1; 5000]), entry(1, 2, vec![2; 5000])]);
    settle(&mut disk, &mut writer);
    assert_eq!(writer.durable(), Seq(0));
    close(&mut disk, writer);
    disk.kill();
    disk.set_full(false);
    assert_eq!(reopen(&mut disk, &options(&tiny())).expect("recovers").1.len(), 1);
}

/// Whatever fails in the way of records ends the log: nothing is tried again, nothing more becomes durable.
#[test]
fn a_failed_write_or_sync_is_the_end() {
    for (kind, skip) in [
        (OpKind::Write, 0),
        (OpKind::Write, 2),
        (OpKind::Write, 5),
        (OpKind::Sync, 0),
        (OpKind::Rename, 0),
        (OpKind::SyncDir, 0),
        (OpKind::Allocate, 0),
    ] {
        let (mut disk, mut writer) = fresh(1, &tiny());
        disk.fail(Fault { kind, skip, errno: libc::EIO });
        for index in 1..20 {
            writer.append(None, &[entry(1, index, vec![1; 3000])]);
        }
        let fatal = loop {
            submit_all(&mut disk, &mut writer);
            let (id, result, buf) = disk.complete().expect("the fault comes before the end");
            if let Err(fatal) = writer.handle(id, result, buf) {
                break fatal;
            }
        };
        assert_eq!(fatal.errno, libc::EIO);
        let durable = writer.durable();
        assert!(writer.poll_effect().is_none() && !writer.wants_write());
        while let Some((id, result, buf)) = disk.complete() {
            assert_eq!(writer.handle(id, result, buf), Err(fatal.clone()));
        }
        assert!(writer.durable() == durable && writer.poll_effect().is_none());
    }
}

#[test]
fn a_short_write_is_a_failed_one() {
    let (_disk, mut writer) = settled(&plain());
    writer.append(None, &[entry(1, 1, vec![1])]);
    let (id, op) = writer.poll_effect().expect("a write");
    let FileOp::Write { buf, .. } = op else { panic!("a write") };
    assert_eq!(writer.handle(id, Ok(buf.len() - 512), Some(buf)).expect_err("fatal").errno, libc::EIO);
    assert_eq!(writer.durable(), Seq(0));
}

#[test]
fn old_segments_are_removed_oldest_first_and_the_one_in_use_stays() {
    let (mut disk, mut writer) = fresh(1, &tiny());
    for index in 1..=6 {
        writer.append(None, &[entry(1, index, vec![1; 5000])]);
    }
    settle(&mut disk, &mut writer);
    writer.append_marker(&marker(4));
    settle(&mut disk, &mut writer);
    writer.remove_before(4);
    let words = run(&mut writer);
    assert_eq!(
        words,
        [
            "remove 0000000000000000-0000000000000000.wal",
            "syncdir",
            "remove 0000000000000001-0000000000000002.wal",
            "syncdir",
            "remove 0000000000000002-0000000000000003.wal",
            "syncdir",
        ]
    );
    writer.remove_before(4);
    assert!(run(&mut writer).is_empty());
    writer.append_marker(&marker(6));
    settle(&mut disk, &mut writer);
    writer.remove_before(u64::MAX);
    assert_eq!(run(&mut writer).len(), 4, "all but the one being written");
}

fn marker(index: u64) -> walpb::Snapshot {
    let conf_state = Some(engine::pb::raftpb::ConfState { voters: vec![1], ..Default::default() });
    walpb::Snapshot { index, term: 1, conf_state }
}

/// `--max-wals`: only what a durable marker covers goes, and the newest stay.
#[test]
fn without_a_durable_marker_nothing_is_purged() {
    for kill in [false, true] {
        let (mut disk, mut writer) = fresh(1, &tiny());
        for index in 1..=8 {
            writer.append(Some(state(1, 1, index - 1)), &[entry(1, index, vec![1; 5000])]);
        }
        settle(&mut disk, &mut writer);
        for index in [1, 5, u64::MAX] {
            writer.remove_before(index);
            writer.purge(1);
        }
        assert!(run(&mut writer).is_empty(), "the log is all there is");
        writer.append_marker(&marker(6));
        writer.purge(1);
        assert_eq!(writer.durable(), Seq(8), "the marker is on its way");
        let (id, op) = writer.poll_effect().expect("the write of the marker");
        assert!(matches!(op, FileOp::Write { .. }), "nothing goes before the marker is durable: {op:?}");
        disk.submit(id, op);
        settle(&mut disk, &mut writer);
        if kill {
            // A recovered log knows its marker.
            drop(writer);
            disk.crash();
            let (recovered, _) = reopen(&mut disk, &options(&tiny())).expect("recovers");
            writer = Writer::new(recovered.tail, &tiny());
        }
        writer.purge(0);
        writer.purge(20);
        run(&mut writer);
        let segments =
            |disk: &mut SimDisk| disk.list(Path::new("wal")).unwrap().iter().filter(|n| n.ends_with(".wal")).count();
        let before = segments(&mut disk);
        writer.purge(6);
        settle(&mut disk, &mut writer);
        assert_eq!((before, segments(&mut disk)), (8, 6), "kill {kill}");
        writer.purge(1);
        settle(&mut disk, &mut writer);
        assert_eq!(segments(&mut disk), 3, "kill {kill}: the segment that holds the marker's entry, and what follows");
        drop(writer);
        disk.crash();
        let (_, entries) = reopen(&mut disk, &options(&tiny())).expect("recovers from the middle");
        assert_eq!(entries.last().map(|entry| entry.index), Some(8));
    }
}

/// The same inputs give the same effects, whatever ran before in this process.
#[test]
fn effects_depend_on_inputs_alone() {
    let words = || {
        let (_disk, mut writer) = fresh(9, &tiny());
        for index in 1..40 {
            writer.append(
                Some(state(1, 1, index / 2)),
                &[entry(1, index, vec![index as u8; (index * 97 % 3000) as usize])],
            );
        }
        writer.remove_before(12);
        writer.close();
        run(&mut writer)
    };
    assert_eq!(words(), words());
}
