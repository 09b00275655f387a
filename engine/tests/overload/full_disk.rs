//! The disk has no space for the next segment of the log: requests are refused before raft's own tail is used up, reads go
//! on, writes resume by themselves, nothing acknowledged is lost.

use crate::rig::{Rig, SECOND_NS, TICK_NS};
use engine::replica::{Error, Event};
use engine::wal;

const SEGMENT_BYTES: u64 = 32 << 10;

/// Puts one after the other until one is refused; how many were acknowledged.
fn fill(rig: &mut Rig, at: usize) -> usize {
    for count in 0.. {
        assert!(count < 10_000, "a full disk takes everything");
        let id = rig.put(at, &format!("k{count:05}"), 100);
        rig.settle();
        match rig.answers.remove(&id) {
            Some(Ok(_)) => {}
            Some(Err(Error::NoSpace)) => return count,
            other => panic!("put {count}: {other:?}"),
        }
    }
    unreachable!("the loop ends inside");
}

#[test]
fn requests_are_refused_reads_go_on_and_writes_resume() {
    for seed in 1..=20 {
        let mut rig = Rig::new(1, seed, SEGMENT_BYTES);
        rig.nodes[0].disk.set_full(true);
        let acked = fill(&mut rig, 0);
        // The prepared segment and the rest of the first were used before anybody was refused.
        let used_bytes = acked as u64 * 200;
        assert!(used_bytes > SEGMENT_BYTES && used_bytes < 3 * SEGMENT_BYTES, "seed {seed}: {acked} puts");
        let status = *rig.nodes[0].replica.status();
        assert!(status.log_full && status.is_leader && status.read_gate_open, "seed {seed}: {status:?}");
        let read = rig.read(0);
        rig.settle();
        assert_eq!(rig.reads[&read], Ok(()));
        assert!(matches!(rig.nodes[0].events[..], [.., Event::LogSpaceShort { .. }, Event::LogFull]));

        // A full disk stays full: later and smaller requests are refused too, and each at once.
        rig.pass(5 * SECOND_NS);
        let id = rig.put(0, "a", 1);
        rig.settle();
        assert_eq!(rig.answers[&id], Err(Error::NoSpace));
        assert_eq!(rig.nodes[0].replica.status().pending, 0);

        rig.nodes[0].disk.set_full(false);
        rig.pass(2 * SECOND_NS);
        let id = rig.put(0, "resumed", 1);
        rig.settle();
        assert!(rig.answers[&id].is_ok(), "seed {seed}: {:?}", rig.answers[&id]);
        assert!(!rig.nodes[0].replica.status().log_full);
        assert_eq!(rig.nodes[0].events.last(), Some(&Event::LogSpaceRestored));

        let revision = rig.revision(0);
        rig.power_cut(0);
        rig.until("it is ready again", |rig| rig.nodes[0].replica.status().ready);
        assert_eq!((rig.revision(0), rig.keys(0)), (revision, acked as u64 + 1), "seed {seed}: all acked is there");
    }
}

/// Elections write: a new leader's empty entry, terms, votes. The tail must have room for them.
#[test]
fn raft_goes_on_in_the_reserve() {
    let mut rig = Rig::new(1, 3, SEGMENT_BYTES);
    rig.nodes[0].disk.set_full(true);
    let acked = fill(&mut rig, 0);
    for _ in 0..4 {
        // Full even for what recovery does: the segment has its space already.
        rig.power_cut(0);
        rig.until("it leads and is ready", |rig| rig.nodes[0].replica.status().ready);
        let id = rig.put(0, "more", 2000);
        rig.settle();
        assert_eq!(rig.answers[&id], Err(Error::NoSpace));
        assert_eq!(rig.keys(0), acked as u64);
    }
}

/// A follower with a full disk takes no entries but stays a follower; with space it catches up. A group goes on meanwhile.
#[test]
fn a_full_follower_holds_up_nobody() {
    let mut rig = Rig::new(3, 5, SEGMENT_BYTES);
    let leader = rig.leader().expect("there is one");
    let full = (leader + 1) % 3;
    rig.nodes[full].disk.set_full(true);
    let term = rig.nodes[leader].replica.status().term;
    for count in 0..600 {
        let id = rig.put(leader, &format!("k{count:05}"), 100);
        rig.settle();
        assert!(matches!(rig.answers.remove(&id), Some(Ok(_))), "put {count}");
        if count % 50 == 0 {
            rig.pass(TICK_NS);
        }
    }
    let status = *rig.nodes[full].replica.status();
    assert!(status.log_full && status.leader == leader as u64 + 1, "{status:?}");
    assert!(rig.keys(full) < 600);
    let id = rig.put(full, "a", 1);
    rig.settle();
    assert_eq!(rig.answers[&id], Err(Error::NoSpace));

    rig.nodes[full].disk.set_full(false);
    rig.until("it has caught up", |rig| rig.keys(full) == 600);
    assert_eq!(rig.nodes[leader].replica.status().term, term, "no election was needed");
    let hash = |at: usize| rig.nodes[at].replica.reader().pin().hash_of_rows();
    assert!(hash(0) == hash(1) && hash(1) == hash(2));
}

/// While the next segment is only on its way, requests wait for it instead of being refused.
#[test]
fn a_segment_that_comes_late_is_waited_for() {
    let mut rig = Rig::new(1, 9, SEGMENT_BYTES);
    let ids: Vec<u64> = (0..400).map(|count| rig.put(0, &format!("k{count:05}"), 500)).collect();
    rig.settle();
    assert!(ids.iter().all(|id| matches!(rig.answers.get(id), Some(Ok(_)))), "six segments, one after the other");
    assert!(!rig.nodes[0].replica.status().log_full);
}

/// A segment is never left for one that does not exist.
#[test]
fn the_reserve_is_a_part_of_every_segment() {
    let config = wal::Config::default();
    assert!(engine::limits::WAL_RESERVE_BYTES < config.segment_bytes / engine::limits::WAL_RESERVE_SHARE);
}
