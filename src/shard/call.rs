//! A call between its request and its answer.

use crate::api::error::Error;
use crate::api::wire::Unread;
use crate::ops::metrics::{MethodId, Op};
use crate::reactor::ConnId;
use engine::pb::etcdserverpb::{AlarmRequest, RangeRequest, TxnRequest};
use engine::request_id::IdMap;
use net::grpc::StreamId;
use std::borrow::Cow;

/// One gRPC call: where its answer goes, and what it is counted as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) stream: StreamId,
    pub(super) method: MethodId,
    pub(super) op: Option<Op>,
    pub(super) began_ns: u64,
    /// When the client stops waiting, on the `mono_ns` clock; `NO_DEADLINE` when it never does.
    pub(super) deadline_ns: u64,
}

pub(super) const NO_DEADLINE: u64 = u64::MAX;

/// A call that waits for the raft role.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) conn: ConnId,
    /// Room for proposals that it takes, in units.
    pub(super) units: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// The answer brings everything needed.
    Proposal(Call),
    /// To be read from the store when the raft role says so.
    Read(Call, Read),
    /// A page that does a linearizable read first.
    Page { target: String, stream: Option<StreamId> },
    /// Nobody waits any more: cancelled, out of time, or the connection is gone. What the raft role answers is dropped, but
    /// until then the call counts, because a slot of the mailbox is kept for that answer.
    Abandoned,
}

impl Kind {
    fn call(&self) -> Option<Call> {
        match self {
            Self::Proposal(call) | Self::Read(call, _) => Some(*call),
            Self::Page { .. } | Self::Abandoned => None,
        }
    }
}

/// The calls of one shard that wait for the raft role, by request id.
#[derive(Debug, Default)]
pub(super) struct WaitingCalls {
    by_id: IdMap<Waiting>,
    /// How many of them have a deadline.
    with_deadline: usize,
}

impl WaitingCalls {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn insert(&mut self, id: u64, waiting: Waiting) {
        self.with_deadline += usize::from(has_deadline(&waiting.kind));
        self.by_id.insert(id, waiting);
    }

    /// The raft role has answered.
    pub(super) fn remove(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.by_id.remove(&id)?;
        self.with_deadline -= usize::from(has_deadline(&waiting.kind));
        Some(waiting)
    }

    /// Gives up what the call holds.
    pub(super) fn abandon(&mut self, id: u64) {
        if let Some(waiting) = self.by_id.get_mut(&id) {
            let kind = std::mem::replace(&mut waiting.kind, Kind::Abandoned);
            self.with_deadline -= usize::from(has_deadline(&kind));
        }
    }

    pub(super) fn any_with_deadline(&self) -> bool {
        self.with_deadline > 0
    }

    /// Abandons the calls whose time is over, and says which they were.
    pub(super) fn take_expired(&mut self, now_ns: u64) -> Vec<(ConnId, Call)> {
        let mut expired = Vec::new();
        for waiting in self.by_id.values_mut() {
            if let Some(call) = waiting.kind.call()
                && call.deadline_ns <= now_ns
            {
                waiting.kind = Kind::Abandoned;
                self.with_deadline -= 1;
                expired.push((waiting.conn, call));
            }
        }
        expired
    }
}

fn has_deadline(kind: &Kind) -> bool {
    kind.call().is_some_and(|call| call.deadline_ns != NO_DEADLINE)
}

#[derive(Debug)]
pub(super) enum Read {
    Range(RangeRequest),
    Txn(TxnRequest),
    MemberList,
    Alarm(AlarmRequest),
}

/// Why a call failed, for the client.
#[derive(Debug)]
pub(super) enum Failure {
    Table(Error),
    Status(net::grpc::Code, Cow<'static, str>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Table(error)
    }
}

impl Failure {
    pub(super) fn status(self) -> net::grpc::Status {
        match self {
            Self::Table(error) => net::grpc::Status::new(error.code(), error.text()),
            Self::Status(code, text) => net::grpc::Status::new(code, text),
        }
    }
}

/// A request that is not the message its method takes.
pub(super) fn unreadable(_: prost::DecodeError) -> Failure {
    Unread::Malformed.into()
}

impl From<Unread> for Failure {
    fn from(unread: Unread) -> Self {
        match unread.error() {
            Some(error) => error.into(),
            None => Self::Status(net::grpc::Code::Internal, Unread::MALFORMED_TEXT.into()),
        }
    }
}
