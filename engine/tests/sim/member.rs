//! One member: the shipped replica on a simulated disk, and what outlives its process. Owned by the world. Starting it is
//! here, power cuts during the start included; so is what its log says when somebody else reads it.

use crate::plan::{LANES, Plan};
use crate::random::Rng;
use crate::world::{Failure, Kind};
use engine::apply::cluster;
use engine::disk::{Disk as _, Fault, OpKind, SimDisk};
use engine::effect::Now;
use engine::pb::raftpb::{Entry, HardState};
use engine::replica::{self, Replica, Start, Status};
use engine::request_id::RequestIds;
use engine::wal;
use std::path::Path;

pub const CLUSTER_ID: u64 = 0xc1;

/// Changes to the disk that a start makes at most: where to cut the power in it.
const START_CHANGES_MAX: u64 = 14;
/// Power cuts in a row during one start, count: each finds what the one before left.
const START_CRASHES_MAX: u64 = 3;

pub struct Member {
    pub id: u64,
    pub disk: SimDisk,
    pub replica: Option<Replica>,
    pub ids: RequestIds,
    /// Counts starts: what was meant for an earlier process finds another number.
    pub life: u64,
    /// As last told.
    pub status: Status,
    pub revision: i64,
    /// When to look at the clock next, if that is planned.
    pub timer_ns: Option<u64>,
    pub turn_planned: bool,
    pub paused_until_ns: u64,
    pub stalled_until_ns: u64,
    pub wall_offset_ms: i64,
    /// Effects to carry out until the power fails, or the process dies.
    pub crash_in: Option<(u64, Crash)>,
    pub is_full: bool,
    /// A file operation was made to fail: stopping is right.
    pub io_error: bool,
    /// The log was damaged behind the member's back: refusing to start is right.
    pub damaged: bool,
    /// Refused to start, rightly: out for good.
    pub is_out: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    Power,
    Process,
}

pub fn wal_dir() -> &'static Path {
    Path::new("wal")
}

impl Member {
    pub fn new(id: u64, seed: u64) -> Self {
        Self {
            id,
            disk: SimDisk::new(seed ^ (id << 40), wal_dir()),
            replica: None,
            ids: RequestIds::new(id, 0, 0, LANES),
            life: 0,
            status: Status::default(),
            revision: 0,
            timer_ns: None,
            turn_planned: false,
            paused_until_ns: 0,
            stalled_until_ns: 0,
            wall_offset_ms: 0,
            crash_in: None,
            is_full: false,
            io_error: false,
            damaged: false,
            is_out: false,
        }
    }

    pub fn now(&self, mono_ns: u64) -> Now {
        let unix_ms = 1_700_000_000_000 + (mono_ns / 1_000_000) as i64 + self.wall_offset_ms;
        Now { mono_ns: mono_ns + 1, unix_ms: unix_ms as u64 }
    }

    pub fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// Ends the process.
    pub fn crash(&mut self, crash: Crash) {
        self.replica = None;
        self.life += 1;
        (self.timer_ns, self.turn_planned, self.crash_in) = (None, false, None);
        (self.status, self.revision, self.io_error) = (Status::default(), 0, false);
        match crash {
            Crash::Power => self.disk.crash(),
            Crash::Process => self.disk.kill(),
        }
    }

    pub fn set_full(&mut self, full: bool) {
        self.is_full = full;
        self.disk.set_full(full);
    }

    fn has_log(&mut self) -> bool {
        self.disk.list(wal_dir()).is_ok_and(|names| names.iter().any(|name| name.ends_with(".wal")))
    }

    /// Starts the process, maybe after starts that end in a power cut. True if it runs; false if it rightly refuses.
    pub fn start(&mut self, plan: &Plan, faults: bool, mono_ns: u64, rng: &mut Rng) -> Result<bool, Failure> {
        for _ in 0..START_CRASHES_MAX {
            if !faults || !rng.percent(plan.crash_in_recovery_percent) {
                break;
            }
            self.disk.crash_after(rng.below(START_CHANGES_MAX));
            // Whatever this start comes to, the power fails; a log refused without need is refused again below.
            drop(self.open(plan, mono_ns));
            self.disk.crash();
        }
        if faults && plan.has(crate::plan::Fault::IoError) && rng.percent(20) {
            let kind = rng.pick(&[OpKind::Sync, OpKind::SyncDir, OpKind::Write, OpKind::Allocate]);
            self.disk.fail(Fault { kind, skip: rng.below(2) as u32, errno: engine::disk::EIO });
            // Whether it refuses or did not meet the fault: this process ends, and its locks with it.
            drop(self.open(plan, mono_ns));
            self.disk.kill();
        }
        match self.open(plan, mono_ns) {
            Err(replica::OpenError::Log(wal::RecoverError::Io { error, .. }))
                if error.raw_os_error() == Some(engine::disk::ENOSPC) =>
            {
                self.disk.kill();
                Ok(false)
            }
            Ok(replica) => {
                self.replica = Some(replica);
                self.ids = RequestIds::new(self.id, self.now(mono_ns).unix_ms, 0, LANES);
                self.damaged = false;
                Ok(true)
            }
            Err(error) => self.refused(&error),
        }
    }

    fn refused(&mut self, error: &replica::OpenError) -> Result<bool, Failure> {
        if self.damaged {
            self.is_out = true;
            return Ok(false);
        }
        Err(Failure::new(Kind::RefusedStart, format!("m{} does not start: {error}", self.id)))
    }

    fn open(&mut self, plan: &Plan, mono_ns: u64) -> Result<Replica, replica::OpenError> {
        let members: Vec<_> = (1..=plan.members as u64)
            .map(|id| cluster::Member {
                id,
                name: format!("m{id}"),
                peer_urls: vec![format!("http://m{id}:2380")],
                ..cluster::Member::default()
            })
            .collect();
        let start =
            if self.has_log() { Start::Restart } else { Start::New { cluster_id: CLUSTER_ID, members: &members } };
        let (config, now) = (plan.replica(self.id, self.life), self.now(mono_ns));
        let opened = replica::open(config, &mut self.disk, wal_dir(), start, now)?;
        assert_eq!((opened.member_id, opened.cluster_id), (self.id, CLUSTER_ID));
        Ok(opened.replica)
    }

    /// What the log of a member that is down holds. Ends as a process that died right after.
    pub fn read_log(&mut self, plan: &Plan) -> Result<(Vec<Entry>, HardState), Failure> {
        assert!(!self.is_up());
        let mut entries = Vec::new();
        let options = wal::Options { config: plan.wal(), canaries: plan.canaries(), ..wal::Options::default() };
        let recovered = wal::recover(&mut self.disk, wal_dir(), &options, &mut |record| {
            if let wal::Replayed::Entry(entry) = record {
                entries.push(entry);
            }
        });
        let recovered = recovered.map_err(|error| {
            Failure::new(Kind::RefusedStart, format!("the log of m{} cannot be read: {error}", self.id))
        })?;
        self.disk.kill();
        Ok((entries, recovered.hard_state))
    }

    /// Changes what is on the medium, as a disk that lies would: one bit, or one sector that went to the wrong place.
    pub fn damage(&mut self, rng: &mut Rng) -> Option<String> {
        assert!(!self.is_up());
        const SECTOR: usize = engine::limits::WAL_SECTOR_BYTES;
        let mut names = self.disk.list(wal_dir()).ok()?;
        names.retain(|name| name.ends_with(".wal"));
        if names.is_empty() {
            return None;
        }
        let name = names[rng.index(names.len())].clone();
        let path = wal_dir().join(&name);
        let mut content = self.disk.content(&path).ok()?;
        let end = content.iter().rposition(|byte| *byte != 0)? + 1;
        let what = if rng.percent(50) {
            let (at, bit) = (rng.index(end), rng.below(8));
            content[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} of {name} flips")
        } else {
            let sectors = end / SECTOR;
            let (from, to) = (rng.index(sectors.max(1)), rng.index(sectors.max(1)));
            let sector = content.get(from * SECTOR..(from + 1) * SECTOR)?.to_vec();
            if from == to || sector.iter().all(|byte| *byte == 0) {
                return None; // A sector of zeros is a write that was lost, which nobody can tell from a torn one.
            }
            content[to * SECTOR..(to + 1) * SECTOR].copy_from_slice(&sector);
            format!("sector {from} of {name} is written to {to}")
        };
        self.disk.damage(&path, &content).ok()?;
        self.damaged = true;
        Some(what)
    }
}
