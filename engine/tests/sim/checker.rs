//! Is a history of one register linearizable? The search of Wing and Gong with Lowe's memory of what was tried. Knows nothing of
//! the cluster: calls with their times, what they did and saw. A search that runs out of budget is a failure, never a pass.

use std::collections::HashSet;

/// Content of a register: the number of the write that made it, None when there is no such key.
pub type State = Option<u64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    /// Sets the state whatever it was. `None` deletes.
    Write(State),
    /// Sets the state to the second if it was the first.
    Swap(State, u64),
}

#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub call: Call,
    /// The state before, as far as the answer told it.
    pub saw: Option<State>,
    /// For a swap with an answer: whether it was done.
    pub swapped: Option<bool>,
    pub start: u64,
    /// `u64::MAX` when no answer came: it may take effect at any time after its start, or never.
    pub end: u64,
    /// Where it probably stands in the order: what is tried first. Decides nothing.
    pub hint: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// No order explains the history; the longest one tried explained this many calls.
    Violation {
        explained: usize,
    },
    Undecided,
}

/// States of the search looked at before giving up, count. Histories of a run need some thousands.
const SEARCH_STEPS_MAX: usize = 3_000_000;

/// `initial`: the register before the first call.
pub fn check(initial: State, steps: &[Step]) -> Verdict {
    let steps = relevant(steps);
    let mut search = Search::new(&steps);
    search.run(initial)
}

/// Calls without an answer that nothing depends on are left out: whether they took effect cannot be told.
fn relevant(steps: &[Step]) -> Vec<Step> {
    let mut used: HashSet<u64> = HashSet::new();
    for step in steps {
        used.extend(step.saw.flatten());
        if let Call::Swap(Some(expected), _) = step.call {
            used.insert(expected);
        }
    }
    let keep = |step: &&Step| match step.call {
        _ if step.end != u64::MAX => true,
        Call::Read => false,
        Call::Write(Some(number)) | Call::Swap(_, number) => used.contains(&number),
        Call::Write(None) => true,
    };
    let mut kept: Vec<Step> = steps.iter().filter(keep).copied().collect();
    kept.sort_by_key(|step| step.start);
    kept
}

struct Search<'s> {
    steps: &'s [Step],
    /// The calls by their hints.
    order: Vec<usize>,
    done: Vec<u64>,
    answered_left: usize,
    /// First call not done, and first place in `order` whose call is not done.
    first: usize,
    first_place: usize,
    tried: HashSet<(Vec<u64>, State)>,
    steps_left: usize,
    explained: usize,
}

impl<'s> Search<'s> {
    fn new(steps: &'s [Step]) -> Self {
        let mut order: Vec<usize> = (0..steps.len()).collect();
        order.sort_by_key(|at| (steps[*at].hint, steps[*at].start));
        Self {
            steps,
            order,
            done: vec![0; steps.len().div_ceil(64)],
            answered_left: steps.iter().filter(|s| s.end != u64::MAX).count(),
            first: 0,
            first_place: 0,
            tried: HashSet::new(),
            steps_left: SEARCH_STEPS_MAX,
            explained: 0,
        }
    }

    fn is_done(&self, at: usize) -> bool {
        self.done[at / 64] >> (at % 64) & 1 == 1
    }

    fn flip(&mut self, at: usize) {
        self.done[at / 64] ^= 1 << (at % 64);
    }

    /// Depth first, with a stack of its own: the call made, its place among the candidates, the state before it.
    fn run(&mut self, initial: State) -> Verdict {
        let mut stack: Vec<(usize, usize, State)> = Vec::new();
        let (mut state, mut from) = (initial, 0);
        loop {
            if self.answered_left == 0 {
                return Verdict::Linearizable;
            }
            if self.steps_left == 0 {
                return Verdict::Undecided;
            }
            self.steps_left -= 1;
            if let Some((at, place, next)) = self.candidate(state, from) {
                self.flip(at);
                if self.tried.insert((self.done.clone(), next)) {
                    self.answered_left -= usize::from(self.steps[at].end != u64::MAX);
                    stack.push((at, place, state));
                    self.explained = self.explained.max(stack.len());
                    (state, from) = (next, 0);
                } else {
                    self.flip(at);
                    from = place + 1;
                }
                continue;
            }
            let Some((at, place, before)) = stack.pop() else {
                return Verdict::Violation { explained: self.explained };
            };
            self.flip(at);
            self.answered_left += usize::from(self.steps[at].end != u64::MAX);
            (self.first, self.first_place) = (0, 0);
            (state, from) = (before, place + 1);
        }
    }

    /// The first of the calls that may come next, from place `from` on: the one the hints put first, then a delete without
    /// an answer, then the others.
    fn candidate(&mut self, state: State, from: usize) -> Option<(usize, usize, State)> {
        while self.first < self.steps.len() && self.is_done(self.first) {
            self.first += 1;
        }
        while self.first_place < self.order.len() && self.is_done(self.order[self.first_place]) {
            self.first_place += 1;
        }
        let open_until = self.open_until();
        let lead = self.order.get(self.first_place).copied();
        for place in from..self.order.len() + 2 {
            let at = match place {
                0 => lead,
                1 => (self.first..self.steps.len()).find(|at| !self.is_done(*at) && is_lost_delete(&self.steps[*at])),
                place => {
                    Some(self.order[place - 2]).filter(|at| Some(*at) != lead && !is_lost_delete(&self.steps[*at]))
                }
            };
            let Some(at) = at.filter(|at| !self.is_done(*at) && self.steps[*at].start <= open_until) else { continue };
            let step = &self.steps[at];
            if let Some(next) = outcome(step, state)
                && (step.end != u64::MAX || (next != state && self.is_wanted(next, at)))
            {
                return Some((at, place, next));
            }
        }
        None
    }

    /// A call that began later than this may not come next: one that is not done had ended by then.
    fn open_until(&self) -> u64 {
        let mut earliest_end = u64::MAX;
        for at in self.first..self.steps.len() {
            if self.steps[at].start > earliest_end {
                break;
            }
            if !self.is_done(at) {
                earliest_end = earliest_end.min(self.steps[at].end);
            }
        }
        earliest_end
    }

    /// Whether a call that may come right after this one depends on `state`. If none does, a call without an answer that
    /// leads there need not have happened.
    fn is_wanted(&self, state: State, after: usize) -> bool {
        let mut earliest_end = u64::MAX;
        for at in (self.first..self.steps.len()).filter(|at| *at != after && !self.is_done(*at)) {
            let step = &self.steps[at];
            if step.start > earliest_end {
                return false;
            }
            let swaps = matches!(step.call, Call::Swap(expected, _) if expected == state);
            if step.saw == Some(state) || (swaps && step.end == u64::MAX) {
                return true;
            }
            earliest_end = earliest_end.min(step.end);
        }
        false
    }
}

/// Deletes without an answer are all the same: the first will do.
fn is_lost_delete(step: &Step) -> bool {
    step.end == u64::MAX && step.call == Call::Write(None)
}

/// The state after the call, if its answer agrees with the state before.
fn outcome(step: &Step, state: State) -> Option<State> {
    if step.saw.is_some_and(|saw| saw != state) {
        return None;
    }
    match step.call {
        Call::Read => Some(state),
        Call::Write(next) => Some(next),
        Call::Swap(expected, next) => {
            let swaps = expected == state;
            if step.swapped.is_some_and(|swapped| swapped != swaps) {
                return None;
            }
            Some(if swaps { Some(next) } else { state })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(call: Call, saw: Option<State>, start: u64, end: u64) -> Step {
        let swapped = match (call, saw) {
            (Call::Swap(expected, _), Some(saw)) => Some(saw == expected),
            _ => None,
        };
        Step { call, saw, swapped, start, end, hint: start % 2 }
    }

    const NEVER: u64 = u64::MAX;

    #[test]
    fn verdicts() {
        use Call::{Read, Swap, Write};
        let violation = |explained| Verdict::Violation { explained };
        let cases: &[(&str, &[Step], Verdict)] = &[
            ("nothing", &[], Verdict::Linearizable),
            (
                "reads while writing may see either",
                &[step(Write(Some(1)), None, 0, 9), step(Read, Some(None), 1, 2), step(Read, Some(Some(1)), 3, 4)],
                Verdict::Linearizable,
            ),
            (
                "a read never goes back",
                &[step(Write(Some(1)), None, 0, 9), step(Read, Some(Some(1)), 1, 2), step(Read, Some(None), 3, 4)],
                violation(2),
            ),
            (
                "an acknowledged write is seen",
                &[step(Write(Some(1)), None, 0, 1), step(Read, Some(None), 2, 3)],
                violation(1),
            ),
            (
                "an unanswered write may show late",
                &[
                    step(Write(Some(1)), None, 0, NEVER),
                    step(Write(Some(2)), None, 1, 2),
                    step(Read, Some(Some(2)), 3, 4),
                    step(Read, Some(Some(1)), 5, 6),
                ],
                Verdict::Linearizable,
            ),
            (
                "but not twice",
                &[
                    step(Write(Some(1)), None, 0, NEVER),
                    step(Read, Some(Some(1)), 1, 2),
                    step(Write(Some(2)), None, 3, 4),
                    step(Read, Some(Some(1)), 5, 6),
                ],
                violation(3),
            ),
            (
                "only one of two swaps of the same state succeeds",
                &[step(Swap(None, 1), Some(None), 0, 5), step(Swap(None, 2), Some(None), 0, 5)],
                violation(1),
            ),
            (
                "a delete without an answer explains an empty register",
                &[step(Write(Some(1)), None, 0, 1), step(Write(None), None, 2, NEVER), step(Read, Some(None), 3, 4)],
                Verdict::Linearizable,
            ),
        ];
        for (what, steps, expected) in cases {
            assert_eq!(check(None, steps), *expected, "{what}");
        }
    }
}
