//! What kind of run a seed is: group size, sizes of the log, how bad network and disks are, which faults happen. Each seed
//! switches on some faults only: a run with all of them at once hides what two of them do together.

use crate::random::Rng;
use engine::canary::Canaries;
use engine::replica;
use engine::wal;

pub const TICK_NS: u64 = 100_000_000;
/// Lanes of request ids per member: the clients', and the replica's own.
pub const LANES: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A member loses power, now or in the middle of carrying out effects.
    PowerCut,
    /// A member's process dies, the machine does not.
    Kill,
    /// Every member loses power at once.
    Blackout,
    /// A member is told to stop, and started again.
    Stop,
    /// A member does nothing for a while.
    Pause,
    /// A member's disk completes nothing for a while.
    DiskStall,
    WallClockJump,
    /// A link is cut in one direction.
    OneWayCut,
    /// A member is cut off in both.
    Isolation,
    /// A disk has no space left for a while.
    DiskFull,
    /// A file operation fails.
    IoError,
    /// A bit flips, or a sector is written to the wrong place, while a member is down.
    Damage,
}

const FAULTS: [Fault; 12] = [
    Fault::PowerCut,
    Fault::Kill,
    Fault::Blackout,
    Fault::Stop,
    Fault::Pause,
    Fault::DiskStall,
    Fault::WallClockJump,
    Fault::OneWayCut,
    Fault::Isolation,
    Fault::DiskFull,
    Fault::IoError,
    Fault::Damage,
];

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub members: usize,
    pub clients: usize,
    pub keys: u64,
    /// Until when there are faults and clients.
    pub end_ns: u64,
    pub op_gap_ns_max: u64,
    /// How often a client makes `calls_per_burst` calls at once: writes of many blocks come from that.
    pub burst_percent: u64,
    pub calls_per_burst: u64,
    pub value_bytes_max: u64,
    pub latency_ns_max: u64,
    pub loss_percent: u64,
    pub twice_percent: u64,
    pub straggler_percent: u64,
    pub disk_ns_max: u64,
    pub election_ticks: usize,
    pub fault_gap_ns_max: u64,
    pub faults: Vec<Fault>,
    /// How often a start is cut short by a power cut.
    pub crash_in_recovery_percent: u64,
    pub wal: wal::Config,
    #[cfg(feature = "canaries")]
    pub canary: Option<engine::canary::Canary>,
}

impl Plan {
    pub fn new(seed: u64, members: usize) -> Self {
        let mut rng = Rng::new(seed ^ (members as u64) << 56);
        let mut faults: Vec<Fault> = FAULTS.into_iter().filter(|_| rng.percent(50)).collect();
        if faults.is_empty() {
            faults.push(Fault::PowerCut);
        }
        let wal = wal::Config {
            segment_bytes: rng.pick(&[8 << 10, 16 << 10, 32 << 10]),
            batch_bytes_max: rng.pick(&[4 << 10, 8 << 10, 16 << 10]),
            zero_piece_bytes: rng.pick(&[0, 4 << 10, 8 << 10]),
            zero_gap_bytes: rng.pick(&[0, 4 << 10, 8 << 10]),
        };
        // Only a record larger than its segment makes a segment grow, which a full disk does not allow.
        let value_bytes_max = if faults.contains(&Fault::DiskFull) { wal.segment_bytes / 3 } else { u64::MAX };
        Self {
            seed,
            members,
            clients: rng.between(2..6) as usize,
            keys: rng.between(1..5),
            end_ns: 1_000_000_000 * rng.between(8..20),
            op_gap_ns_max: rng.pick(&[100_000_000, 300_000_000, 900_000_000]),
            burst_percent: rng.pick(&[0, 10, 50]),
            calls_per_burst: rng.between(2..9),
            value_bytes_max: rng.pick(&[20, 700, 3000, 6000]).min(value_bytes_max),
            latency_ns_max: rng.pick(&[300_000, 3_000_000, 40_000_000]),
            loss_percent: rng.pick(&[0, 0, 2, 10]),
            twice_percent: rng.pick(&[0, 0, 2, 10]),
            straggler_percent: rng.pick(&[0, 0, 1, 5]),
            disk_ns_max: rng.pick(&[200_000, 2_000_000, 30_000_000, 200_000_000]),
            election_ticks: rng.between(3..11) as usize,
            fault_gap_ns_max: rng.pick(&[700_000_000, 2_000_000_000, 5_000_000_000]),
            faults,
            crash_in_recovery_percent: rng.pick(&[0, 30, 60]),
            wal,
            #[cfg(feature = "canaries")]
            canary: None,
        }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// How member `id` is configured when it starts for the `life`-th time.
    pub fn replica(&self, id: u64, life: u64) -> replica::Config {
        replica::Config {
            member_id: id,
            name: format!("m{id}"),
            client_urls: vec![format!("http://m{id}:2379")],
            tick_ns: TICK_NS,
            election_ticks: self.election_ticks,
            pre_vote: true,
            campaign_at_once: true,
            request_timeout_ns: 5_000_000_000 + 2 * self.election_ticks as u64 * TICK_NS,
            seed: self.seed.wrapping_add(life << 20),
            id_lanes: LANES,
            wal: self.wal(),
            #[cfg(feature = "canaries")]
            canary: self.canary,
        }
    }

    #[cfg(feature = "canaries")]
    pub fn canaries(&self) -> Canaries {
        Canaries::new(self.canary)
    }

    #[cfg(not(feature = "canaries"))]
    pub fn canaries(&self) -> Canaries {
        Canaries::default()
    }

    pub fn wal(&self) -> wal::Config {
        self.wal.clone()
    }
}
