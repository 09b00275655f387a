//! Proof that the simulator finds what it is for: each known bug is put back in, and runs over a fixed list of seeds must find
//! it by what members did to their clients: a hole in the ledger, an impossible history, a start refused. That some
//! assert fires is not enough.
//!
//! ETCD_CANARY=Name looks at one only.

use crate::plan::{Fault, Plan};
use crate::run;
use crate::world::{Kind, Transcript};
use engine::canary::Canary;
use std::collections::BTreeMap;

/// Seeds that each bug gets, for each group size. Most are found within ten; the rarest, junk left behind a torn write, needs
/// two power cuts at the right moments.
const SEEDS: std::ops::Range<u64> = 0..5_000;

/// Runs until clients see it; how, and what else was found on the way.
fn find(canary: Canary, members: usize) -> (Option<(u64, Kind)>, BTreeMap<Kind, usize>) {
    let mut others = BTreeMap::new();
    for seed in SEEDS {
        let mut plan = Plan::new(seed, members);
        plan.canary = Some(canary);
        // A disk that lies would explain refused starts.
        plan.faults.retain(|fault| !matches!(fault, Fault::Damage | Fault::IoError));
        plan.faults.push(Fault::PowerCut);
        match run(plan, Transcript::default()) {
            Ok(_) => {}
            Err(failure) if matches!(failure.kind, Kind::Ledger | Kind::Linearizability | Kind::RefusedStart) => {
                return (Some((seed, failure.kind)), others);
            }
            Err(failure) => *others.entry(failure.kind).or_insert(0) += 1,
        }
    }
    (None, others)
}

#[test]
fn canaries_are_found() {
    let one = std::env::var("ETCD_CANARY").ok();
    for canary in Canary::ALL.into_iter().filter(|c| one.as_ref().is_none_or(|one| *one == format!("{c:?}"))) {
        // Without other voters there is no quorum to ask: that bug needs a group.
        let groups: &[usize] = if canary == Canary::ReadIndexBeforeCommit { &[3, 5] } else { &[1, 3] };
        for members in groups {
            let (found, others) = find(canary, *members);
            println!("{canary:?}, {members} members: {found:?}, before that {others:?}");
            assert!(found.is_some(), "{canary:?}, {members} members: clients noticed nothing; others: {others:?}");
        }
    }
}
