//! The simulated network between members: what becomes of each message. Messages are delayed (and so reordered), lost,
//! delivered twice, or stopped by a link that is cut in one direction. Holds no message itself.

use crate::plan::Plan;
use crate::random::Rng;
use engine::pb::raftpb::{Message, MessageType};
use std::collections::BTreeMap;

/// How late a straggler may be, in nanoseconds: longer than an election, so that it meets another term.
const STRAGGLER_NS_MAX: u64 = 4_000_000_000;

pub struct Network {
    latency_ns_max: u64,
    loss_percent: u64,
    twice_percent: u64,
    straggler_percent: u64,
    /// Until when the link from the first member to the second is cut.
    cut_until_ns: BTreeMap<(u64, u64), u64>,
}

impl Network {
    pub fn new(plan: &Plan) -> Self {
        Self {
            latency_ns_max: plan.latency_ns_max,
            loss_percent: plan.loss_percent,
            twice_percent: plan.twice_percent,
            straggler_percent: plan.straggler_percent,
            cut_until_ns: BTreeMap::new(),
        }
    }

    pub fn cut(&mut self, from: u64, to: u64, until_ns: u64) {
        self.cut_until_ns.insert((from, to), until_ns);
    }

    /// From here on every message arrives once, soon.
    pub fn heal(&mut self) {
        self.cut_until_ns.clear();
        (self.loss_percent, self.twice_percent, self.straggler_percent) = (0, 0, 0);
    }

    /// After how many nanoseconds each copy of the message arrives; none when it is lost.
    pub fn fate(&mut self, message: &Message, now_ns: u64, rng: &mut Rng) -> [Option<u64>; 2] {
        let link = (message.from, message.to);
        if self.cut_until_ns.get(&link).is_some_and(|until_ns| *until_ns > now_ns) || rng.percent(self.loss_percent) {
            return [None, None];
        }
        // A peer stream delivers a request of a client at most once; were it delivered twice, it would be done twice.
        let once = message.r#type == MessageType::Prop as i32;
        let copy = !once && rng.percent(self.twice_percent);
        [Some(self.delay_ns(rng)), copy.then(|| self.delay_ns(rng))]
    }

    fn delay_ns(&self, rng: &mut Rng) -> u64 {
        let straggler = rng.percent(self.straggler_percent);
        20_000 + rng.below(if straggler { STRAGGLER_NS_MAX } else { self.latency_ns_max })
    }
}
