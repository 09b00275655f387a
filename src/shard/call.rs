//! A call between its request and its answer.

use crate::api::error::Error;
use crate::api::wire::Unread;
use crate::ops::metrics::{MethodId, Op};
use crate::reactor::ConnId;
use engine::pb::etcdserverpb::{AlarmRequest, RangeRequest, TxnRequest};
use net::grpc::StreamId;
use std::borrow::Cow;

/// One gRPC call: where its answer goes, and what it is counted as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) stream: StreamId,
    pub(super) method: MethodId,
    pub(super) op: Option<Op>,
    pub(super) began_ns: u64,
}

/// A call that waits for the raft role.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) conn: ConnId,
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
            Self::Table(error) => {
                net::grpc::Status::new(net::grpc::Code::from_number(error.code() as u32), error.text())
            }
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
