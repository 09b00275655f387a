//! A call between its request and its answer.

use crate::reactor::ConnId;
use engine::pb::etcdserverpb::{MemberListRequest, RangeRequest, TxnRequest};
use net::grpc::server::StreamId;

/// A call that waits for the raft role.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) conn: ConnId,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// The answer brings everything needed.
    Proposal { stream: StreamId, row: usize },
    /// To be read from the store when the raft role says so.
    Read { stream: StreamId, row: usize, read: Read },
    /// A health page that does a linearizable read.
    Health { target: String },
}

#[derive(Debug)]
pub(super) enum Read {
    Range(RangeRequest),
    Txn(TxnRequest),
    MemberList(MemberListRequest),
}
