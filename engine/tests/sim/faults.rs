//! Faults that happen to members, links and disks while clients are at work. What may happen in a run, and how often, is
//! its plan's; this file makes it happen.

use crate::member::Crash;
use crate::plan::Fault;
use crate::world::{Event, World};
use engine::disk::{self, OpKind};
use engine::replica::Input;

/// Effects within which a planned crash comes, count: a turn has one to ten.
const CRASH_EFFECTS_MAX: u64 = 30;
/// How long pauses, stalls and cuts last at most, in nanoseconds: some elections.
const TROUBLE_NS_MAX: u64 = 4_000_000_000;
/// How far the wall clock jumps at most, in milliseconds: an hour.
const JUMP_MS_MAX: u64 = 3_600_000;

/// One fault happens, and the next is planned.
pub fn happen(world: &mut World) {
    if world.phase > crate::world::Phase::Faults {
        return;
    }
    let in_ns = world.plan.fault_gap_ns_max / 8 + world.rng.below(world.plan.fault_gap_ns_max);
    world.plan_event(in_ns, Event::Fault);
    let fault = world.rng.pick(&world.plan.faults);
    let at = world.rng.index(world.members.len());
    let until_ns = world.now_ns + 50_000_000 + world.rng.below(TROUBLE_NS_MAX);
    world.note(format_args!("{fault:?} of m{} until {}", at + 1, until_ns / 1000));
    match fault {
        Fault::PowerCut => crash_soon(world, at, Crash::Power),
        Fault::Kill => crash_soon(world, at, Crash::Process),
        Fault::Blackout => {
            for at in 0..world.members.len() {
                if world.members[at].is_up() {
                    world.crash(at, Crash::Power);
                }
            }
        }
        Fault::Stop => world.input(at, Input::Stop),
        Fault::Pause => world.members[at].paused_until_ns = until_ns,
        Fault::DiskStall => world.members[at].stalled_until_ns = until_ns,
        Fault::WallClockJump => {
            let by_ms = world.rng.below(2 * JUMP_MS_MAX) as i64 - JUMP_MS_MAX as i64;
            world.members[at].wall_offset_ms += by_ms;
        }
        Fault::OneWayCut | Fault::Isolation => cut(world, at, until_ns, fault == Fault::Isolation),
        Fault::DiskFull => {
            world.members[at].set_full(true);
            world.plan_event(until_ns - world.now_ns, Event::Space { at });
        }
        Fault::IoError => fail_operation(world, at),
        Fault::Damage => damage(world, at),
    }
}

fn crash_soon(world: &mut World, at: usize, crash: Crash) {
    if !world.members[at].is_up() {
        return;
    }
    if world.rng.percent(30) {
        world.crash(at, crash);
    } else {
        world.members[at].crash_in = Some((world.rng.below(CRASH_EFFECTS_MAX), crash));
    }
}

fn cut(world: &mut World, at: usize, until_ns: u64, both: bool) {
    let id = at as u64 + 1;
    let inward = world.rng.percent(50);
    let alone = both || world.rng.percent(40);
    let only = 1 + world.rng.below(world.members.len() as u64);
    for other in 1..=world.members.len() as u64 {
        if other == id || (!alone && other != only) {
            continue;
        }
        if both || inward {
            world.network.cut(other, id, until_ns);
        }
        if both || !inward {
            world.network.cut(id, other, until_ns);
        }
    }
}

/// From here on this process may stop with an error; errors of operations that no append needs are lived with.
fn fail_operation(world: &mut World, at: usize) {
    if !world.members[at].is_up() {
        return;
    }
    let kinds = [
        OpKind::Write,
        OpKind::Write,
        OpKind::Sync,
        OpKind::SyncDir,
        OpKind::Rename,
        OpKind::Create,
        OpKind::Allocate,
        OpKind::Truncate,
        OpKind::Close,
    ];
    let fault = disk::Fault { kind: world.rng.pick(&kinds), skip: world.rng.below(4) as u32, errno: disk::EIO };
    world.members[at].io_error = true;
    world.members[at].disk.fail(fault);
}

/// At most one member's log is damaged: a cluster bears the loss of one.
fn damage(world: &mut World, at: usize) {
    if !world.members[at].is_up() || world.members.iter().any(|m| m.damaged || m.is_out) {
        return;
    }
    world.crash(at, Crash::Power);
    if let Some(what) = world.members[at].damage(&mut world.rng) {
        world.note(format_args!("m{}: {what}", at + 1));
    }
}
