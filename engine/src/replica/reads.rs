//! Linearizable reads that found the gate closed. They wait in batches: one round of read index serves everybody who came
//! before it was asked; then the batch waits until apply has reached the confirmed index.

use super::Error;
use crate::limits::{READ_INDEX_RETRY_NS, READS_WAITING_MAX};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: u64,
    deadline_ns: u64,
}

/// A question to the quorum that is under way: the reads it will serve came before it was asked.
#[derive(Debug)]
struct Round {
    context: u64,
    asked_ns: u64,
    reads: Vec<Waiting>,
}

pub(super) struct Reads {
    timeout_ns: u64,
    arriving: Vec<Waiting>,
    round: Option<Round>,
    confirmed: VecDeque<(u64, Vec<Waiting>)>,
}

impl Reads {
    pub(super) fn new(timeout_ns: u64) -> Self {
        Self { timeout_ns, arriving: Vec::new(), round: None, confirmed: VecDeque::new() }
    }

    fn len(&self) -> usize {
        let under_way = self.round.as_ref().map_or(0, |r| r.reads.len());
        self.arriving.len() + under_way + self.confirmed.iter().map(|(_, reads)| reads.len()).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn admit(&mut self, id: u64, now_ns: u64) -> Result<(), Error> {
        if self.len() >= READS_WAITING_MAX {
            return Err(Error::TooManyRequests);
        }
        self.arriving.push(Waiting { id, deadline_ns: now_ns + self.timeout_ns });
        Ok(())
    }

    /// True when reads wait and no round is under way.
    pub(super) fn wants_round(&self) -> bool {
        self.round.is_none() && !self.arriving.is_empty()
    }

    /// Starts a round for all that wait, or repeats the one under way with a new context. False when nobody waits.
    pub(super) fn start_round(&mut self, context: u64, now_ns: u64) -> bool {
        let mut reads = self.round.take().map_or_else(Vec::new, |r| r.reads);
        reads.append(&mut self.arriving);
        if reads.is_empty() {
            return false;
        }
        self.round = Some(Round { context, asked_ns: now_ns, reads });
        true
    }

    pub(super) fn retry_due(&self, now_ns: u64) -> bool {
        self.round.as_ref().is_some_and(|r| now_ns >= r.asked_ns + READ_INDEX_RETRY_NS)
    }

    /// A quorum confirmed the round with this context at `index`. Answers to older contexts are ignored.
    pub(super) fn confirmed(&mut self, context: u64, index: u64) {
        if self.round.as_ref().is_some_and(|r| r.context == context)
            && let Some(round) = self.round.take()
        {
            self.confirmed.push_back((index, round.reads));
        }
    }

    /// Reads that may be answered now that apply has reached `applied`.
    pub(super) fn take_applied(&mut self, applied: u64) -> Vec<u64> {
        let mut ready = Vec::new();
        while self.confirmed.front().is_some_and(|(index, _)| *index <= applied) {
            let Some((_, reads)) = self.confirmed.pop_front() else { break };
            ready.extend(reads.into_iter().map(|w| w.id));
        }
        ready
    }

    pub(super) fn expire(&mut self, now_ns: u64) -> Vec<u64> {
        let mut expired = Vec::new();
        let mut sweep = |reads: &mut Vec<Waiting>| {
            reads.retain(|w| {
                let keep = w.deadline_ns > now_ns;
                if !keep {
                    expired.push(w.id);
                }
                keep
            });
        };
        self.confirmed.iter_mut().for_each(|(_, reads)| sweep(reads));
        self.round.iter_mut().for_each(|r| sweep(&mut r.reads));
        sweep(&mut self.arriving);
        self.round.take_if(|r| r.reads.is_empty());
        expired
    }

    /// Everybody who waits, oldest first.
    pub(super) fn drain(&mut self) -> Vec<u64> {
        let mut all: Vec<Waiting> = self.confirmed.drain(..).flat_map(|(_, reads)| reads).collect();
        all.extend(self.round.take().map_or_else(Vec::new, |r| r.reads));
        all.append(&mut self.arriving);
        all.into_iter().map(|w| w.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_serves_only_who_came_before_it() {
        let mut reads = Reads::new(100);
        reads.admit(1, 0).unwrap();
        assert!(reads.start_round(70, 0));
        reads.admit(2, 1).unwrap();
        reads.confirmed(70, 10);
        assert_eq!(reads.take_applied(9), [0u64; 0]);
        assert_eq!(reads.take_applied(10), [1]);
        assert!(reads.wants_round());
        assert!(reads.start_round(71, 2));
        reads.confirmed(70, 99);
        assert_eq!(reads.take_applied(99), [0u64; 0], "an old round's answer confirms nothing");
        reads.confirmed(71, 12);
        assert_eq!(reads.take_applied(12), [2]);
    }

    #[test]
    fn repeats_and_expires() {
        let mut reads = Reads::new(2 * READ_INDEX_RETRY_NS);
        reads.admit(1, 0).unwrap();
        reads.start_round(70, 0);
        assert!(!reads.retry_due(READ_INDEX_RETRY_NS - 1));
        assert!(reads.retry_due(READ_INDEX_RETRY_NS));
        reads.start_round(71, READ_INDEX_RETRY_NS);
        reads.confirmed(70, 5);
        assert_eq!(reads.take_applied(5), [0u64; 0]);
        assert_eq!(reads.expire(2 * READ_INDEX_RETRY_NS), [1]);
        assert!(reads.is_empty());
        assert!(!reads.start_round(72, 0));
    }
}
