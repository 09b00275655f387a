//! Crashes: at every step of short lives, and at random steps of long ones, recovery included.

use crate::rig::{Ledger, Rng, fresh, options, reopen, settle, submit_all, tiny};
use engine::disk::SimDisk;
use engine::effect::FileId;
use engine::wal::{Config, Options, Writer, create};
use std::path::Path;

/// Lives per table: `WAL_LIVES` raises it for a long search.
fn lives(default: u64) -> u64 {
    std::env::var("WAL_LIVES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One random step: an append, the start of effects, or the completion of one.
fn step(rng: &mut Rng, disk: &mut SimDisk, writer: &mut Writer, ledger: &mut Ledger) {
    match rng.below(5) {
        0 | 1 => ledger.append(writer),
        2 => drop(submit_all(disk, writer)),
        3 if rng.below(8) == 0 => ledger.flush(writer),
        _ => {
            if let Some((id, result, buf)) = disk.complete() {
                writer.handle(id, result, buf).expect("no faults were asked for");
                ledger.acknowledge(writer);
            }
        }
    }
}

/// Recovers, with crashes inside recovery as the seed will have them.
fn recover_through_crashes(
    rng: &mut Rng,
    disk: &mut SimDisk,
    options: &Options,
) -> Result<(Writer, crate::rig::Found), String> {
    loop {
        let fused = rng.below(3) == 0;
        if fused {
            disk.crash_after(rng.below(8));
        }
        match reopen(disk, options) {
            Ok((recovered, entries)) if !disk.fuse_blown() => {
                let writer = Writer::new(recovered.tail.clone(), &options.config);
                disk.disarm();
                return Ok((writer, (recovered, entries)));
            }
            Err(error) if !disk.fuse_blown() => return Err(error.to_string()),
            _ => disk.crash(),
        }
    }
}

fn life(seed: u64, config: &Config, generations: u64, steps_max: u64) {
    let mut rng = Rng::new(seed);
    let (mut disk, mut writer) = fresh(seed, config);
    let mut ledger = Ledger::new(seed);
    let options = options(config);
    for generation in 0..generations {
        for _ in 0..rng.below(steps_max) {
            step(&mut rng, &mut disk, &mut writer, &mut ledger);
        }
        match rng.below(3) {
            0 => disk.kill(),
            _ => disk.crash(),
        }
        let (next, (recovered, entries)) = recover_through_crashes(&mut rng, &mut disk, &options)
            .unwrap_or_else(|error| panic!("seed {seed} generation {generation}: {error}"));
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ledger.check(&recovered, &entries)));
        assert!(checked.is_ok(), "seed {seed} generation {generation}");
        writer = next;
    }
}

#[test]
fn long_lives_with_random_crashes() {
    for seed in 0..lives(400) {
        life(seed, &tiny(), 6, 60);
    }
}

#[test]
fn long_lives_with_larger_batches_and_segments() {
    let config = Config { segment_bytes: 65536, batch_bytes_max: 16384, zero_piece_bytes: 8192, zero_gap_bytes: 8192 };
    for seed in 0..lives(150) {
        life(seed, &config, 5, 200);
    }
    let config = Config { zero_piece_bytes: 0, ..config };
    for seed in 0..lives(50) {
        life(seed, &config, 5, 200);
    }
}

/// A fixed short life, crashed after each of its steps in turn.
#[test]
fn a_crash_after_every_step() {
    for seed in 0..lives(40) {
        for crash_at in 0..120 {
            let (mut disk, mut writer) = fresh(seed * 1000 + crash_at, &tiny());
            let mut ledger = Ledger::new(seed);
            let mut rng = Rng::new(seed);
            for _ in 0..crash_at {
                step(&mut rng, &mut disk, &mut writer, &mut ledger);
            }
            disk.crash();
            let (recovered, entries) =
                reopen(&mut disk, &options(&tiny())).unwrap_or_else(|e| panic!("seed {seed} at {crash_at}: {e}"));
            ledger.check(&recovered, &entries);
        }
    }
}

/// Creating a log is all or nothing: afterwards there is none, or one that opens.
#[test]
fn a_crash_inside_create() {
    let metadata = bytes::Bytes::from_static(crate::rig::METADATA);
    let (mut missing, mut complete) = (0, 0);
    for seed in 0..200 {
        let mut disk = SimDisk::new(seed, "wal");
        disk.crash_after(seed % 12);
        let created = create(&mut disk, Path::new("wal"), metadata.clone(), &tiny(), FileId(0));
        disk.crash();
        match reopen(&mut disk, &options(&tiny())) {
            Ok((recovered, entries)) => {
                complete += 1;
                assert!(entries.is_empty() && recovered.markers.len() == 1);
            }
            Err(engine::wal::RecoverError::Missing { .. }) => {
                missing += 1;
                assert!(created.is_err(), "seed {seed}: a created log is there");
                create(&mut disk, Path::new("wal"), metadata.clone(), &tiny(), FileId(9)).expect("a second try");
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(missing > 20 && complete > 20, "{missing} missing, {complete} complete");
}

/// What the crashes of this file do must happen often enough to mean something.
#[test]
fn torn_tails_do_occur() {
    let mut torn = 0;
    for seed in 0..60 {
        let config = Config { segment_bytes: 65536, batch_bytes_max: 16384, ..tiny() };
        let (mut disk, mut writer) = fresh(seed, &config);
        let mut ledger = Ledger::new(seed);
        settle(&mut disk, &mut writer);
        for _ in 0..20 {
            ledger.append(&mut writer);
        }
        submit_all(&mut disk, &mut writer);
        disk.crash();
        let (recovered, _) = reopen(&mut disk, &options(&config)).expect("recovers");
        torn += u32::from(recovered.torn_bytes > 0);
    }
    assert!(torn > 10, "{torn} torn tails");
}

/// A record longer than a write is torn in its middle: what lies behind its head is more than one write. Recovery that
/// crashes while it clears that away must still understand it the next time.
#[test]
fn a_crash_while_a_long_torn_record_is_cleared_away() {
    let config = Config { segment_bytes: 65536, ..tiny() };
    let mut blown = 0;
    for seed in 0..300 {
        let (mut disk, mut writer) = fresh(seed, &config);
        settle(&mut disk, &mut writer);
        let data = (0..30_000).map(|at| (at % 255) as u8 + 1).collect();
        writer.append(None, &[crate::rig::entry(1, 1, data)]);
        for _ in 0..1 + seed % 7 {
            submit_all(&mut disk, &mut writer);
            let (id, result, buf) = disk.complete().expect("in flight");
            writer.handle(id, result, buf).expect("no faults were asked for");
        }
        submit_all(&mut disk, &mut writer);
        disk.crash();
        for changes in [seed % 4, 1 + seed % 3] {
            disk.crash_after(changes);
            if reopen(&mut disk, &options(&config)).is_err() {
                assert!(disk.fuse_blown(), "seed {seed}");
                blown += 1;
            }
            disk.crash();
        }
        let found = reopen(&mut disk, &options(&config)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(found.1.is_empty());
    }
    assert!(blown > 100, "{blown} crashes inside recovery");
}
