//! A disk that stands still: ticks and heartbeats go on whatever operation it is, a leader that is not alone gives up
//! leading, a sole voter stays, and when the write completes everything goes on.

use crate::rig::{ELECTION_NS, Hold, Rig, SECOND_NS, TICK_NS};
use engine::effect::FileOp;
use engine::replica::{Error, Event, Input};

const SEGMENT_BYTES: u64 = 32 << 10;

const KINDS: &[(&str, Hold)] = &[
    ("create", |op| matches!(op, FileOp::Create { .. })),
    ("allocate", |op| matches!(op, FileOp::Allocate { .. })),
    ("write of records", |op| matches!(op, FileOp::Write { durable: true, .. })),
    ("write of zeros", |op| matches!(op, FileOp::Write { durable: false, .. })),
    ("sync", |op| matches!(op, FileOp::Sync { .. })),
    ("sync of the directory", |op| matches!(op, FileOp::SyncDir)),
    ("rename", |op| matches!(op, FileOp::Rename { .. })),
    ("remove", |op| matches!(op, FileOp::Remove { .. })),
    ("truncate", |op| matches!(op, FileOp::Truncate { .. })),
    ("close", |op| matches!(op, FileOp::Close { .. })),
];

/// The longest time between two heartbeats from here on.
fn longest_gap_ns(rig: &Rig, at: usize, from_ns: u64) -> u64 {
    let beats: Vec<u64> = rig.nodes[at].heartbeats_ns.iter().copied().filter(|ns| *ns >= from_ns).collect();
    let edges = std::iter::once(from_ns).chain(beats).chain([rig.now.mono_ns]);
    let edges: Vec<u64> = edges.collect();
    edges.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(u64::MAX)
}

/// Whatever operation stands still, shorter than the deadline: the leader's heartbeats leave at every tick.
#[test]
fn no_stalled_operation_delays_a_tick() {
    for (name, hold) in KINDS {
        for seed in 1..=3 {
            let mut rig = Rig::new(3, seed, SEGMENT_BYTES);
            let leader = rig.leader().expect("there is one");
            rig.nodes[leader].hold = Some(*hold);
            let (from_ns, mut stalled) = (rig.now.mono_ns, false);
            // Enough puts to pass a cut, if the disk lets them.
            for count in 0..18 {
                for part in 0..10 {
                    rig.put(leader, &format!("k{count}-{part}"), 200 + seed as usize);
                }
                rig.pass(ELECTION_NS / 20);
                stalled |= rig.held(leader) > 0;
            }
            let never = ["remove", "sync"].contains(name);
            assert!(stalled || never, "{name}: nothing was held back");
            assert_eq!(rig.leader(), Some(leader), "{name}: too short to lose the lead");
            let gap_ns = longest_gap_ns(&rig, leader, from_ns);
            assert!(gap_ns <= TICK_NS + TICK_NS / 10, "{name}: {gap_ns} ns without a heartbeat");
        }
    }
}

#[test]
fn a_leader_whose_disk_stalls_hands_over() {
    for seed in 1..=10 {
        let mut rig = Rig::new(3, seed, 1 << 20);
        let leader = rig.leader().expect("there is one");
        rig.pass(ELECTION_NS / 2);
        rig.nodes[leader].hold = Some(|op| matches!(op, FileOp::Write { durable: true, .. }));
        let began_ns = rig.now.mono_ns;
        let stuck = rig.put(leader, "stuck", 10);
        rig.until("another one leads", |rig| rig.leader().is_some_and(|at| at != leader));
        let took_ns = rig.now.mono_ns - began_ns;
        assert!(took_ns <= ELECTION_NS + SECOND_NS, "seed {seed}: {took_ns} ns");
        assert!(rig.nodes[leader].events.iter().any(|event| matches!(event, Event::HandedOver { .. })));
        assert!(rig.nodes[leader].replica.status().disk_stalled);
        let heir = rig.leader().expect("just seen");
        let id = rig.put(heir, "goes on", 10);
        rig.until("the group takes writes", |rig| rig.answers.contains_key(&id));
        assert!(rig.answers[&id].is_ok());
        assert!(!matches!(rig.answers.get(&stuck), Some(Ok(_))), "nothing is acknowledged on a stalled disk");

        rig.release(leader);
        rig.until("the old leader catches up", |rig| rig.keys(leader) == rig.keys(heir));
        assert!(!rig.nodes[leader].replica.status().disk_stalled);
        assert_eq!(rig.nodes[leader].events.iter().filter(|e| **e == Event::DiskRecovered).count(), 1);
        assert_eq!(rig.keys(heir), 2, "what the old leader had sent was committed by the others");
    }
}

/// Nobody can take over, since the others stall too: the leader steps down instead of looking alive.
#[test]
fn a_leader_without_an_heir_steps_down() {
    let mut rig = Rig::new(3, 4, 1 << 20);
    let leader = rig.leader().expect("there is one");
    for node in &mut rig.nodes {
        node.hold = Some(|op| matches!(op, FileOp::Write { durable: true, .. }));
    }
    let id = rig.put(leader, "stuck", 10);
    rig.until("nobody leads", |rig| rig.leader().is_none());
    rig.until("the request is answered", |rig| rig.answers.contains_key(&id));
    assert_eq!(rig.answers[&id], Err(Error::Timeout));
    for at in 0..3 {
        rig.release(at);
    }
    rig.until("somebody leads again", |rig| rig.leader().is_some());
    let leader = rig.leader().expect("just seen");
    let id = rig.put(leader, "goes on", 10);
    rig.until("it takes writes", |rig| rig.answers.contains_key(&id));
    assert!(rig.answers[&id].is_ok());
}

#[test]
fn a_sole_voter_stays_and_its_requests_time_out() {
    let mut rig = Rig::new(1, 1, 1 << 20);
    let before = rig.put(0, "before", 10);
    rig.settle();
    assert!(rig.answers[&before].is_ok());
    rig.nodes[0].hold = Some(|op| matches!(op, FileOp::Write { durable: true, .. }));
    let stuck = rig.put(0, "stuck", 10);
    rig.pass(ELECTION_NS + 2 * TICK_NS);
    let status = *rig.nodes[0].replica.status();
    assert!(status.disk_stalled && status.is_leader && status.read_gate_open, "{status:?}");
    let late: Vec<u64> = (0..100).map(|count| rig.put(0, &format!("late{count}"), 10)).collect();
    let read = rig.read(0);
    rig.settle();
    assert_eq!(rig.reads[&read], Ok(()), "what was acknowledged can be read");
    rig.pass(30 * SECOND_NS);
    assert!(late.iter().chain([&stuck]).all(|id| rig.answers[id] == Err(Error::Timeout)));
    assert_eq!(rig.nodes[0].events.iter().filter(|e| **e == Event::DiskStalled).count(), 1);
    assert!(!rig.nodes[0].events.contains(&Event::SteppedDown));

    rig.release(0);
    rig.settle();
    let status = *rig.nodes[0].replica.status();
    assert!(!status.disk_stalled && status.is_leader && status.pending == 0, "{status:?}");
    assert_eq!(rig.keys(0), 2, "what waited in the log is there, what was never proposed is not");
    let id = rig.put(0, "after", 10);
    rig.settle();
    assert!(rig.answers[&id].is_ok());
}

/// A disk that is slow but moves is not a stalled one.
#[test]
fn slow_is_not_stalled() {
    let mut rig = Rig::new(3, 2, 1 << 20);
    let leader = rig.leader().expect("there is one");
    for count in 0..20 {
        rig.nodes[leader].hold = Some(|op| matches!(op, FileOp::Write { durable: true, .. }));
        let id = rig.put(leader, &format!("k{count}"), 10);
        rig.pass(ELECTION_NS * 8 / 10);
        rig.release(leader);
        rig.settle();
        assert!(rig.answers[&id].is_ok(), "put {count}");
    }
    assert_eq!(rig.leader(), Some(leader));
    assert!(!rig.nodes[leader].events.contains(&Event::DiskStalled));
}

/// A thread that was held up finds a late write and blames nobody: its completion may just not have been looked at.
#[test]
fn a_pause_of_the_thread_is_not_a_stall() {
    let mut rig = Rig::new(1, 6, 1 << 20);
    rig.nodes[0].hold = Some(|op| matches!(op, FileOp::Write { durable: true, .. }));
    let id = rig.put(0, "a", 10);
    rig.settle();
    rig.now.mono_ns += 5 * ELECTION_NS;
    rig.input(0, Input::Tick);
    assert!(!rig.nodes[0].replica.status().disk_stalled);
    rig.release(0);
    rig.settle();
    assert!(rig.answers[&id].is_ok());
    assert!(!rig.nodes[0].events.contains(&Event::DiskStalled));
}
