//! Request ids: unique across members and restarts, because they end up in the log and answers are matched by them.
//! etcd's layout: the member id's low 16 bits, 40 bits of milliseconds at start, an 8-bit counter that runs over into them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Ids are well spread already; multiplying spreads the counter over the high bits. Deterministic, unlike std's default.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed");
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// A table keyed by request id (or any other well-spread number).
pub type IdMap<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;

/// Hands out ids of one lane. Lanes of one member (its shards and the replica itself) interleave and never meet.
#[derive(Clone, Debug)]
pub struct RequestIds {
    prefix: u64,
    next: u64,
    stride: u64,
}

/// The low 48 bits count; the high 16 say whose request it is.
const COUNTER_MASK: u64 = (1 << 48) - 1;

impl RequestIds {
    /// Lane `lane` of `lanes`, for a process that started at `unix_ms`.
    pub fn new(member_id: u64, unix_ms: u64, lane: u64, lanes: u64) -> Self {
        assert!(lane < lanes, "lane {lane} of {lanes}");
        let start = (unix_ms << 8) & COUNTER_MASK;
        // The first of a lane is congruent to the lane, so that lanes stay apart whatever the start.
        Self { prefix: member_id << 48, next: start - start % lanes + lanes + lane, stride: lanes }
    }

    pub fn next_id(&mut self) -> u64 {
        let id = self.prefix | (self.next & COUNTER_MASK);
        self.next += self.stride;
        id
    }

    /// Which lane of `lanes` an id belongs to.
    pub fn lane_of(id: u64, lanes: u64) -> u64 {
        (id & COUNTER_MASK) % lanes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn lanes_never_meet_and_members_differ() {
        let mut seen = HashSet::new();
        for lane in 0..3 {
            let mut ids = RequestIds::new(0xabcd_1234, 1_700_000_000_123, lane, 3);
            for _ in 0..1000 {
                let id = ids.next_id();
                assert_eq!(id >> 48, 0x1234);
                assert_eq!(RequestIds::lane_of(id, 3), lane);
                assert!(seen.insert(id));
            }
        }
    }
}
