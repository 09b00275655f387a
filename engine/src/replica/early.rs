//! The canary `EarlyPublication`: what applying entries before they are committed would look like. Does nothing unless
//! that canary is chosen, which no release can.

use super::Replica;
use crate::apply::Applied;
use crate::canary::Canary;
use crate::consensus::Role;
use crate::pb::raftpb;
use std::collections::VecDeque;

/// What was applied before its time, by index; whoever waits for it is still answered when it is committed.
#[derive(Default)]
pub(super) struct Early(VecDeque<(u64, Applied)>);

impl Early {
    pub(super) fn take(&mut self, index: u64) -> Option<Applied> {
        self.0.front().filter(|(at, _)| *at == index)?;
        self.0.pop_front().map(|(_, applied)| applied)
    }
}

impl Replica {
    pub(super) fn publish_early(&mut self, entries: &[raftpb::Entry]) {
        if !self.config.canaries().has(Canary::EarlyPublication) || self.node.role() != Role::Leader {
            return;
        }
        for entry in entries {
            let next = entry.index == self.machine.applied() + 1;
            if !next || entry.r#type != raftpb::EntryType::Normal as i32 {
                break;
            }
            if let Ok(applied) = self.machine.apply(entry, &|id| self.proposals.is_pending(id)) {
                self.early.0.push_back((entry.index, applied));
            }
        }
        self.machine.store.publish();
    }
}
