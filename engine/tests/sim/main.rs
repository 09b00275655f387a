//! The simulator: whole members (the shipped consensus, log writer, recovery, store and apply) on simulated disks, clocks and
//! network, in one thread, from one seed. `docs/testing.md` tells how to use it.
//!
//! SIM_SEEDS=FROM..TO runs these seeds instead of the default ones.

#[cfg(feature = "canaries")]
mod canaries;
mod checker;
mod faults;
mod member;
mod model;
mod network;
mod plan;
mod random;
mod scripted;
mod verdict;
mod workload;
mod world;

use plan::Plan;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use world::{Census, Failure, Kind, Transcript};

/// Characters of the transcript that a failure shows: its last, where the cause mostly is.
const TAIL_CHARS: usize = 12_000;

fn run(plan: Plan, transcript: Transcript) -> Result<Census, Failure> {
    panic::catch_unwind(AssertUnwindSafe(|| world::run(plan, transcript))).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure::new(Kind::Panic, text.unwrap_or_default()))
    })
}

/// Runs a seed; when it fails, again with its transcript, and shows where it ends.
fn check(seed: u64, members: usize) -> Census {
    run(Plan::new(seed, members), Transcript::default()).unwrap_or_else(|failure| {
        let transcript = Transcript::on();
        let again = run(Plan::new(seed, members), transcript.clone());
        assert!(again.is_err(), "seed {seed} failed once and not twice: the simulator is not deterministic");
        let text = transcript.text();
        let tail: String = text.chars().skip(text.chars().count().saturating_sub(TAIL_CHARS)).collect();
        let why: String = failure.why.chars().take(TAIL_CHARS).collect();
        panic!(
            "{tail}\nseed {seed}, {members} members: {:?}: {why}\nagain: SIM_SEEDS={seed}..{} cargo test -p engine --test sim \
             group_of_{members}",
            failure.kind,
            seed + 1
        );
    })
}

/// Runs the default seeds, or the ones asked for.
fn check_all(members: usize, default: Range<u64>, calls_min: usize) {
    let asked = std::env::var("SIM_SEEDS").ok().map(|text| {
        let (from, to) = text.split_once("..").expect("SIM_SEEDS=FROM..TO");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let seeds = asked.unwrap_or(default);
    let (count, mut total) = (seeds.end - seeds.start, Census::default());
    for seed in seeds {
        let census = check(seed, members);
        total.events += census.events;
        total.calls += census.calls;
        total.answered += census.answered;
        total.terms += census.terms;
        total.starts += census.starts;
        total.refused += census.refused;
    }
    println!("{count} seeds, {members} members: {total:?}");
    let calls = calls_min * count as usize;
    assert!(total.answered > calls, "{} answers over all seeds prove little", total.answered);
}

#[test]
fn seeds_that_found_something() {
    let rows = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    for row in rows {
        let mut words = row.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).expect("SEED MEMBERS what it found");
        let (seed, members) = (number(), number());
        check(seed, members as usize);
    }
}

#[test]
fn group_of_1() {
    check_all(1, 0..2000, 20);
}

#[test]
fn group_of_3_first_half() {
    check_all(3, 0..1250, 20);
}

#[test]
fn group_of_3_second_half() {
    check_all(3, 1250..2500, 20);
}

#[test]
fn group_of_5() {
    check_all(5, 0..600, 20);
}

#[test]
fn the_same_seed_gives_the_same_transcript() {
    for members in [1, 3, 5] {
        for seed in 0..25 {
            let text = || {
                let transcript = Transcript::on();
                drop(run(Plan::new(seed, members), transcript.clone()));
                transcript.text()
            };
            let first = text();
            assert!(first.lines().count() > 50, "seed {seed}: nothing happened");
            assert!(first == text(), "seed {seed}, {members} members: two runs, two transcripts");
        }
    }
}
