//! Adaptive spin: how long a reactor polls before it blocks. Owned by one reactor. Off (zero) by default: on machines where
//! cores are shared, a spinning thread takes the time of the one it waits for.

use super::mono_ns;

/// A fruitless spin halves the next budget, down to this fraction of the setting; one that pays restores it.
const BUDGET_DIVISOR_MAX: u64 = 32;

/// Polls between two looks at the clock, count: a clock read costs as much as twenty polls.
const POLLS_PER_CLOCK_READ: u32 = 32;

pub(super) struct Spin {
    setting_ns: u64,
    budget_ns: u64,
}

impl Spin {
    pub(super) fn new(setting: std::time::Duration) -> Self {
        let setting_ns = u64::try_from(setting.as_nanos()).unwrap_or(u64::MAX);
        Self { setting_ns, budget_ns: setting_ns }
    }

    pub(super) fn enabled(&self) -> bool {
        self.setting_ns > 0
    }

    /// Polls `ready` until it says yes, the budget is spent or the deadline is reached. True if it said yes.
    pub(super) fn run(&mut self, deadline_ns: Option<u64>, mut ready: impl FnMut() -> bool) -> bool {
        let end_ns = mono_ns().saturating_add(self.budget_ns).min(deadline_ns.unwrap_or(u64::MAX));
        let found = loop {
            let mut found = false;
            for _ in 0..POLLS_PER_CLOCK_READ {
                if ready() {
                    found = true;
                    break;
                }
                std::hint::spin_loop();
            }
            if found || mono_ns() >= end_ns {
                break found;
            }
        };
        self.budget_ns =
            if found { self.setting_ns } else { (self.budget_ns / 2).max(self.setting_ns / BUDGET_DIVISOR_MAX) };
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_budget_adapts() {
        let mut spin = Spin::new(Duration::from_micros(64));
        assert!(spin.enabled() && !Spin::new(Duration::ZERO).enabled());
        for _ in 0..20 {
            assert!(!spin.run(None, || false));
        }
        assert_eq!(spin.budget_ns, 2_000);
        assert!(spin.run(None, || true));
        assert_eq!(spin.budget_ns, 64_000);
        assert!(!spin.run(Some(0), || false), "a deadline in the past ends it after one round");
    }
}
