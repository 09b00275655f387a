//! Fuzzing without a fuzzer's compiler: a name and a seed give one input, always the same. The corpus is run in CI with some
//! seeds more; long runs by hand:
//!
//!     FUZZ_SEEDS=0..1000000 cargo test --release -p engine --test fuzz requests

mod chance;
mod logs;
mod requests;

use std::panic;

/// Runs one seed; whether the input got through, at least in part.
type Target = fn(u64) -> bool;

/// By name: what is run, and how many seeds CI gives it.
const TARGETS: &[(&str, Target, u64)] =
    &[("logs", logs::wounded, 1500), ("invented", logs::invented, 4000), ("requests", requests::run, 1500)];

fn run(name: &str) {
    let (_, target, count) = TARGETS.iter().find(|row| row.0 == name).expect("a target");
    let asked = std::env::var("FUZZ_SEEDS").ok().map(|text| {
        let (from, to) = text.split_once("..").expect("FUZZ_SEEDS=FROM..TO");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let seeds = asked.unwrap_or(0..*count);
    let (count, mut through) = (seeds.end - seeds.start, 0);
    for seed in seeds {
        let outcome = panic::catch_unwind(|| target(seed));
        let again = || format!("again: FUZZ_SEEDS={seed}..{} cargo test -p engine --test fuzz {name}", seed + 1);
        through += u64::from(outcome.unwrap_or_else(|_| panic!("{}", again())));
    }
    println!("{name}: {through} of {count} got through");
    assert!(count < 100 || through > count / 20, "{name}: {through} of {count} got through: the rest proves little");
}

#[test]
fn logs() {
    run("logs");
}

#[test]
fn invented() {
    run("invented");
}

#[test]
fn requests() {
    run("requests");
}

#[test]
fn corpus() {
    let rows = include_str!("corpus.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    for row in rows {
        let mut words = row.split_whitespace();
        let (name, input) = (words.next().expect("a name"), words.next().expect("an input"));
        if name == "bytes" {
            let digit = |at: usize| u8::from_str_radix(&input[at..at + 2], 16).expect("hexadecimal");
            requests::bytes(&(0..input.len()).step_by(2).map(digit).collect::<Vec<_>>());
        } else {
            let (_, target, _) = TARGETS.iter().find(|target| target.0 == name).expect("a target");
            target(input.parse().expect("a seed"));
        }
    }
}
