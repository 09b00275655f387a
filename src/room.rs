//! The room for proposals that the connections of all shards share, and how much of it one may take. One number, written by
//! every shard: this is what keeps the raft role's own limits from being the place where a flood meets everybody.
//! It must never happen here that a client with nothing under way is refused while one that floods is served.

use engine::limits::{PROPOSALS_PENDING_BYTES_MAX, PROPOSALS_PENDING_MAX};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Room for proposals, in units: small requests take one each, so that as many fit as etcd lets wait.
const UNITS: usize = PROPOSALS_PENDING_MAX;

/// Bytes of a request that take one unit more, so that what fits is bounded in bytes, too.
const UNIT_BYTES: usize = PROPOSALS_PENDING_BYTES_MAX / UNITS;

/// How much of the room one connection may take, as a multiple of what is left free. Alone it gets four fifths of all; the
/// more connections take their share, the less each gets.
const SHARE_OF_FREE: usize = 4;

/// Kept for connections that hold nothing yet, so that a hundred floods leave something to one that comes new.
const KEPT_FOR_NEWCOMERS: usize = 128;

/// True if one that holds `held` may take more, where `taken` of `room` are taken by all.
pub fn may_take(held: usize, taken: usize, room: usize) -> bool {
    let free = room.saturating_sub(taken);
    if held == 0 { free > 0 } else { held < SHARE_OF_FREE * free.saturating_sub(KEPT_FOR_NEWCOMERS) }
}

#[derive(Debug, Default)]
pub struct Room {
    taken: AtomicUsize,
}

impl Room {
    /// Units that a request of so many bytes takes.
    pub fn units(request_bytes: usize) -> usize {
        1 + request_bytes / UNIT_BYTES
    }

    /// Takes units for a connection that holds `held`. False: it has its share, or nothing is left.
    #[must_use]
    pub fn take(&self, held: usize, units: usize) -> bool {
        // Only the count matters, nothing is published by it. It is raised first: two shards cannot both take the last.
        let taken = self.taken.fetch_add(units, Relaxed);
        let granted = may_take(held, taken, UNITS);
        if !granted {
            self.give_back(units);
        }
        granted
    }

    pub fn give_back(&self, units: usize) {
        let before = self.taken.fetch_sub(units, Relaxed);
        assert!(before >= units, "{units} units given back of {before}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(room: &Room, held: &mut [usize], units: usize) {
        while held.iter_mut().any(|held| {
            let granted = room.take(*held, units);
            *held += if granted { units } else { 0 };
            granted
        }) {}
    }

    #[test]
    fn a_newcomer_finds_room_beside_a_hundred_floods() {
        for floods in [1, 2, 10, 100] {
            let room = Room::default();
            let mut held = vec![0; floods];
            fill(&room, &mut held, 1);
            assert!(room.take(0, 1), "{floods} floods");
            let all: usize = held.iter().sum();
            assert!((UNITS * 3 / 4..UNITS).contains(&all), "{floods} floods hold {all}");
        }
    }

    #[test]
    fn large_requests_are_bounded_by_their_bytes() {
        let room = Room::default();
        let mut held = [0; 3];
        let large = 1 << 20;
        fill(&room, &mut held, Room::units(large));
        let requests = held.iter().sum::<usize>() / Room::units(large);
        assert!(requests * large <= PROPOSALS_PENDING_BYTES_MAX && requests >= 40, "{requests} requests");
        held.into_iter().for_each(|held| room.give_back(held));
        assert!(room.take(0, 1));
    }
}
