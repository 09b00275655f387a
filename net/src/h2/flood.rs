//! Budgets against peers that make us work for nothing: resets, PINGs, SETTINGS, empty DATA.
//! A budget is refilled by calls that were really answered, and by the clock where the owner passes it.

use super::error::ConnectionError;
use super::limits::{FLOOD_WINDOW_MS, MAX_EMPTY_DATA, MAX_PINGS, MAX_SETTINGS, MAX_UNANSWERED_RESETS};

/// What can be flooded; the discriminant is the row of `LIMITS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flood {
    Reset = 0,
    Ping = 1,
    Settings = 2,
    EmptyData = 3,
}

const LIMITS: [(u32, &str); 4] = [
    (MAX_UNANSWERED_RESETS, "too many resets"),
    (MAX_PINGS, "too many pings"),
    (MAX_SETTINGS, "too many settings"),
    (MAX_EMPTY_DATA, "too many empty DATA frames"),
];

/// What is left of each limit in the present flood window.
#[derive(Debug)]
pub struct Budgets {
    left: [u32; LIMITS.len()],
    window_start_ms: u64,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets { left: LIMITS.map(|(limit, _)| limit), window_start_ms: 0 }
    }
}

impl Budgets {
    pub fn spend(&mut self, what: Flood) -> Result<(), ConnectionError> {
        let row = what as usize;
        match self.left[row].checked_sub(1) {
            Some(left) => {
                self.left[row] = left;
                Ok(())
            }
            None => Err(ConnectionError::calm(LIMITS[row].1)),
        }
    }

    /// One call was answered: the peer does real work, so it earns back one reset and one PING.
    #[inline]
    pub fn progress(&mut self) {
        for what in [Flood::Reset, Flood::Ping] {
            let row = what as usize;
            self.left[row] = LIMITS[row].0.min(self.left[row] + 1);
        }
    }

    /// A new flood window starts when the old one is over.
    pub fn on_time(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.window_start_ms) >= FLOOD_WINDOW_MS {
            *self = Budgets { window_start_ms: now_ms, ..Budgets::default() };
        }
    }
}
