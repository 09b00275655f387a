//! Proposals between their arrival and their answer: capped by count and bytes, each with a deadline.
//! A proposal that timed out may still be applied later; its answer is then dropped here.

use super::Error;
use crate::limits::{PROPOSALS_PENDING_BYTES_MAX, PROPOSALS_PENDING_MAX, WAL_ENTRY_OVERHEAD_BYTES};
use crate::request_id::IdMap;
use bytes::Bytes;
use std::collections::VecDeque;

pub(super) struct Proposals {
    timeout_ns: u64,
    /// Size in bytes of every proposal that waits for its answer.
    pending: IdMap<usize>,
    pending_bytes: usize,
    /// Ids by deadline; may name proposals that are long answered.
    deadlines: VecDeque<(u64, u64)>,
    /// Admitted and not yet handed to consensus.
    unproposed: VecDeque<(u64, Bytes)>,
    /// What `unproposed` will take in the log.
    unproposed_log_bytes: u64,
    /// The replica's own, not yet handed to consensus.
    own: Vec<(u64, Bytes)>,
}

/// Bytes that a proposal takes in the log.
pub(super) fn log_bytes(request: &Bytes) -> u64 {
    request.len() as u64 + WAL_ENTRY_OVERHEAD_BYTES
}

pub(super) fn log_bytes_of(batch: &[(u64, Bytes)]) -> u64 {
    batch.iter().map(|(_, request)| log_bytes(request)).sum()
}

impl Proposals {
    pub(super) fn new(timeout_ns: u64) -> Self {
        Self {
            timeout_ns,
            pending: IdMap::default(),
            pending_bytes: 0,
            deadlines: VecDeque::new(),
            unproposed: VecDeque::new(),
            unproposed_log_bytes: 0,
            own: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes a client's request.
    pub(super) fn admit(&mut self, id: u64, request: Bytes, now_ns: u64) -> Result<(), Error> {
        self.wait(id, &request, now_ns)?;
        self.unproposed_log_bytes += log_bytes(&request);
        self.unproposed.push_back((id, request));
        Ok(())
    }

    /// Takes a request of the replica itself.
    pub(super) fn admit_own(&mut self, id: u64, request: Bytes, now_ns: u64) -> Result<(), Error> {
        self.wait(id, &request, now_ns)?;
        self.own.push((id, request));
        Ok(())
    }

    fn wait(&mut self, id: u64, request: &Bytes, now_ns: u64) -> Result<(), Error> {
        if self.pending.len() >= PROPOSALS_PENDING_MAX || self.pending_bytes >= PROPOSALS_PENDING_BYTES_MAX {
            return Err(Error::TooManyRequests);
        }
        let known = self.pending.insert(id, request.len());
        assert!(known.is_none(), "request id {id:x} used twice");
        self.pending_bytes += request.len();
        self.deadlines.push_back((now_ns + self.timeout_ns, id));
        Ok(())
    }

    /// What the next proposal of a client will take in the log.
    pub(super) fn next_log_bytes(&self) -> Option<u64> {
        self.unproposed.front().map(|(_, request)| log_bytes(request))
    }

    /// Takes the oldest of those not yet proposed for which there is room in the log.
    pub(super) fn take_fitting(&mut self, room_bytes: u64) -> Vec<(u64, Bytes)> {
        if self.unproposed_log_bytes <= room_bytes {
            self.unproposed_log_bytes = 0;
            return std::mem::take(&mut self.unproposed).into();
        }
        let (mut count, mut bytes) = (0, 0);
        for (_, request) in &self.unproposed {
            if bytes + log_bytes(request) > room_bytes {
                break;
            }
            (count, bytes) = (count + 1, bytes + log_bytes(request));
        }
        self.unproposed_log_bytes -= bytes;
        self.unproposed.drain(..count).collect()
    }

    /// Takes the replica's own, for which the log keeps room.
    pub(super) fn take_own(&mut self) -> Vec<(u64, Bytes)> {
        std::mem::take(&mut self.own)
    }

    /// Takes everything not yet proposed: it will not be.
    pub(super) fn refuse_unproposed(&mut self) -> Vec<u64> {
        let refused = self.take_fitting(u64::MAX);
        refused.into_iter().map(|(id, _)| id).filter(|id| self.complete(*id)).collect()
    }

    pub(super) fn is_pending(&self, id: u64) -> bool {
        self.pending.contains_key(&id)
    }

    /// True when somebody still waits for this proposal.
    pub(super) fn complete(&mut self, id: u64) -> bool {
        let Some(bytes) = self.pending.remove(&id) else { return false };
        self.pending_bytes -= bytes;
        // Deadlines of answered proposals leave from the front as they come up, so the queue is as long as the traffic of
        // one timeout at most; trimming answered ones here keeps it near the pending count under load.
        while self.deadlines.front().is_some_and(|(_, id)| !self.pending.contains_key(id)) {
            self.deadlines.pop_front();
        }
        true
    }

    /// Proposals whose time is up; they are no longer waited for.
    pub(super) fn expire(&mut self, now_ns: u64) -> Vec<u64> {
        let mut expired = Vec::new();
        while self.deadlines.front().is_some_and(|&(deadline, _)| deadline <= now_ns) {
            let Some((_, id)) = self.deadlines.pop_front() else { break };
            if let Some(bytes) = self.pending.remove(&id) {
                self.pending_bytes -= bytes;
                expired.push(id);
            }
        }
        if !expired.is_empty() {
            self.forget_unproposed();
        }
        expired
    }

    /// Drops what was not proposed and is not waited for any more.
    fn forget_unproposed(&mut self) {
        let (pending, bytes) = (&self.pending, &mut self.unproposed_log_bytes);
        self.unproposed.retain(|(id, request)| {
            let waited_for = pending.contains_key(id);
            if !waited_for {
                *bytes -= log_bytes(request);
            }
            waited_for
        });
        self.own.retain(|(id, _)| pending.contains_key(id));
    }

    /// Everything still waiting, in the order of arrival.
    pub(super) fn drain(&mut self) -> Vec<u64> {
        let ids = self.deadlines.drain(..).filter(|(_, id)| self.pending.contains_key(id)).map(|(_, id)| id).collect();
        self.pending.clear();
        self.pending_bytes = 0;
        self.unproposed.clear();
        self.unproposed_log_bytes = 0;
        self.own.clear();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capped_by_count_and_bytes() {
        let mut by_count = Proposals::new(10);
        for id in 0..PROPOSALS_PENDING_MAX as u64 {
            by_count.admit(id, Bytes::new(), 0).unwrap();
        }
        assert_eq!(by_count.admit(u64::MAX, Bytes::new(), 0), Err(Error::TooManyRequests));
        assert!(by_count.complete(3));
        assert_eq!(by_count.admit(u64::MAX, Bytes::new(), 0), Ok(()));

        let mut by_bytes = Proposals::new(10);
        let big = Bytes::from(vec![0; PROPOSALS_PENDING_BYTES_MAX / 2 + 1]);
        assert_eq!(by_bytes.admit(1, big.clone(), 0), Ok(()));
        assert_eq!(by_bytes.admit(2, big.clone(), 0), Ok(()));
        assert_eq!(by_bytes.admit(3, big, 0), Err(Error::TooManyRequests));
    }

    #[test]
    fn taken_as_far_as_there_is_room() {
        let mut proposals = Proposals::new(10);
        let request = Bytes::from_static(b"0123456789");
        for id in 1..=3 {
            proposals.admit(id, request.clone(), 0).unwrap();
        }
        proposals.admit_own(9, request.clone(), 0).unwrap();
        let ids = |taken: Vec<(u64, Bytes)>| taken.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        let one = log_bytes(&request);
        assert_eq!(proposals.next_log_bytes(), Some(one));
        assert_eq!(ids(proposals.take_fitting(one - 1)), [0u64; 0]);
        assert_eq!(ids(proposals.take_fitting(2 * one)), [1, 2]);
        assert_eq!(ids(proposals.take_own()), [9]);
        assert_eq!(proposals.refuse_unproposed(), [3]);
        assert_eq!((proposals.len(), proposals.next_log_bytes()), (3, None), "the refused one is not waited for");
    }

    #[test]
    fn expires_in_order_and_only_once() {
        let mut proposals = Proposals::new(10);
        for (id, now) in [(1, 0), (2, 5), (3, 6)] {
            proposals.admit(id, Bytes::new(), now).unwrap();
        }
        assert!(proposals.complete(2));
        assert_eq!(proposals.expire(9), [0u64; 0]);
        assert_eq!(proposals.expire(15), [1]);
        assert!(!proposals.complete(1), "its answer is nobody's any more");
        assert_eq!(proposals.drain(), [3]);
        assert_eq!(proposals.len(), 0);
    }

    #[test]
    fn what_expired_before_a_leader_came_is_never_proposed() {
        let mut proposals = Proposals::new(10);
        proposals.admit(1, Bytes::new(), 0).unwrap();
        proposals.admit(2, Bytes::new(), 5).unwrap();
        assert_eq!(proposals.expire(10), [1]);
        assert_eq!(proposals.take_fitting(u64::MAX).iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2]);
    }
}
