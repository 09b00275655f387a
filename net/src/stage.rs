//! How long a conversation has been in one stage, by its owner's clock. Kept beside the state it measures and asked at any
//! rate: it costs nothing between two looks, and is late by at most one.

#[derive(Debug)]
pub struct StageClock<T> {
    stage: Option<T>,
    since_ms: u64,
}

impl<T> Default for StageClock<T> {
    fn default() -> Self {
        StageClock { stage: None, since_ms: 0 }
    }
}

impl<T: PartialEq> StageClock<T> {
    /// Milliseconds since the stage was first seen to be this one.
    pub fn lasted_ms(&mut self, stage: T, now_ms: u64) -> u64 {
        if self.stage.as_ref() != Some(&stage) {
            self.stage = Some(stage);
            self.since_ms = now_ms;
        }
        now_ms.saturating_sub(self.since_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_stage_starts_anew() {
        let mut clock = StageClock::default();
        assert_eq!([clock.lasted_ms(1, 100), clock.lasted_ms(1, 150)], [0, 50]);
        assert_eq!([clock.lasted_ms(2, 160), clock.lasted_ms(2, 170), clock.lasted_ms(1, 180)], [0, 10, 0]);
    }
}
