//! The judgement of a run that came to rest: the search for an order of each key's calls, then the members' logs and states
//! against each other and against what was acknowledged.

use crate::checker::{self, Verdict};
use crate::model::{self, Row};
use crate::workload::Workload;
use crate::world::{Failure, Kind, World};
use engine::pb::etcdserverpb::RangeRequest;
use engine::pb::raftpb::Entry;

pub fn judge(world: &mut World) -> Result<(), Failure> {
    for number in 0..world.plan.keys {
        let key = Workload::key(number);
        let steps = world.workload.steps_of(&key);
        match checker::check(None, &steps) {
            Verdict::Linearizable => {}
            Verdict::Violation { explained } => {
                let why = format!("{key}: no order explains its {} calls, {explained} at most: {steps:?}", steps.len());
                return Err(Failure::new(Kind::Linearizability, why));
            }
            Verdict::Undecided => {
                let why = format!("{key}: the search over {} calls ran out of budget", steps.len());
                return Err(Failure::new(Kind::Linearizability, why));
            }
        }
    }
    let mut states: Vec<(usize, u64, Vec<Row>)> = Vec::new();
    for at in 0..world.members.len() {
        states.extend(state_of(world, at));
    }
    let Some((_, applied, rows)) = states.first().cloned() else { return Ok(()) };
    for (at, ..) in &states {
        let log = log_of(world, *at, applied)?;
        model::judge(&world.workload.history, &log, &rows)?;
    }
    match states.iter().find(|(_, _, other)| *other != rows) {
        Some((at, ..)) => Err(Failure::new(Kind::HashKv, format!("m{} holds other keys than the first", at + 1))),
        None => world.take_failure().map_or(Ok(()), Err),
    }
}

fn state_of(world: &World, at: usize) -> Option<(usize, u64, Vec<Row>)> {
    let replica = world.members[at].replica.as_ref()?;
    let all = RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() };
    let range = replica.reader().range(&all, usize::MAX).expect("the current revision is never compacted");
    Some((at, replica.status().applied, range.kvs.iter().map(Row::from).collect()))
}

/// The committed log as this member has it on disk: a member that settled has all of it durable.
fn log_of(world: &mut World, at: usize, applied: u64) -> Result<Vec<Entry>, Failure> {
    world.members[at].crash(crate::member::Crash::Power);
    let plan = world.plan.clone();
    let (entries, state) = world.members[at].read_log(&plan)?;
    world.match_log(at, &entries, state);
    let mut log: Vec<Entry> = Vec::new();
    for entry in entries {
        log.truncate(entry.index as usize - 1);
        log.push(entry);
    }
    if (log.len() as u64) < applied {
        let why = format!("m{} has applied {applied} entries, its log holds {}", at + 1, log.len());
        return Err(Failure::new(Kind::Ledger, why));
    }
    log.truncate(applied as usize);
    Ok(log)
}
