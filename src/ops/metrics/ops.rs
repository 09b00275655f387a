//! Kinds of requests that are timed one by one: the label `op` of applies and `type` of requests.

use super::cells::{Buckets, Histogram};

macro_rules! ops {
    ($($name:ident,)*) => {
        /// What was asked. The names are the label values.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op { $($name,)* }

        impl Op {
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];
        }
    };
}

ops! {
    Range, ReadonlyTxn, Put, DeleteRange, Txn, Compaction,
    LeaseGrant, LeaseRevoke, LeaseCheckpoint, Alarm, Authenticate, AuthEnable, AuthDisable, AuthStatus,
    AuthUserAdd, AuthUserDelete, AuthUserChangePassword, AuthUserGrantRole, AuthUserGet, AuthUserRevokeRole, AuthUserList,
    AuthRoleAdd, AuthRoleGrantPermission, AuthRoleGet, AuthRoleRevokePermission, AuthRoleDelete, AuthRoleList,
    ClusterVersionSet, ClusterMemberAttrSet, DowngradeInfoSet,
}

/// A histogram per kind and outcome. One writer.
#[derive(Debug)]
pub struct OpTimes {
    cells: Box<[[Histogram; 2]]>,
}

impl OpTimes {
    pub fn new(buckets: Buckets) -> OpTimes {
        let pair = |_: &&str| [Histogram::new(buckets), Histogram::new(buckets)];
        OpTimes { cells: Op::NAMES.iter().map(pair).collect() }
    }

    pub fn observe_ns(&self, op: Op, ok: bool, ns: u64) {
        self.cells[op as usize][usize::from(ok)].observe_ns(ns);
    }

    pub fn histogram(&self, op: usize, ok: bool) -> &Histogram {
        &self.cells[op][usize::from(ok)]
    }
}
