//! From a gRPC request to its method, and from an answer back to its connection.

use super::call::{Call, Failure, Kind, NO_DEADLINE, Read, Waiting, unreadable};
use super::conn::{Conn, Protocol};
use super::{CALLS_WAITING_MAX, Shard};
use crate::api::error::Error;
use crate::api::kv::Response;
use crate::api::method::{Found, Method, find};
use crate::api::range_body::{FORMED_BYTES_MIN, RangeBody};
use crate::api::{cluster, health, kv, maintenance, wire};
use crate::exchange::{FromRaft, ToRaft};
use crate::ops::metrics::Op;
use crate::room::{Room, may_take};
use bytes::{BufMut, Bytes, BytesMut};
use engine::apply::kv::{Answer, Outcome, is_read_only, is_serializable, read_txn};
use engine::pb::etcdserverpb::internal_raft_request::Request as Logged;
use engine::pb::etcdserverpb::{
    AlarmRequest, InternalRaftRequest, MemberListRequest, RangeRequest, ResponseHeader, TxnRequest,
};
use engine::replica;
use net::grpc::server::Event;
use net::grpc::{Code, RequestHead, StreamId};
use prost::Message;

/// Most bytes of one answer: above it the call is refused before anything is encoded. Go's own limit for a message
/// (math.MaxInt32).
const ANSWER_BYTES_MAX: usize = i32::MAX as usize;

/// Bytes of answers waiting on one connection above which its further requests wait too: a client that asks and does not
/// read must not collect the store in our memory. Far above what a reading client lets pile up.
const ANSWERS_QUEUED_BYTES_MAX: usize = 64 << 20;

/// Requests that wait so on one connection, count; further ones are answered "too many requests".
const CALLS_HELD_BACK_MAX: usize = 4096;

/// Fields of InternalRaftRequest, from the message table.
mod field {
    pub const PUT: u32 = 4;
    pub const DELETE_RANGE: u32 = 5;
    pub const TXN: u32 = 6;
    pub const COMPACTION: u32 = 7;
    pub const HEADER: u32 = 100;
}

type Handled = Result<(), Failure>;

/// What is to be logged: an encoded InternalRaftRequest and the id in it.
struct Entry {
    id: u64,
    payload: Bytes,
}

impl Shard {
    pub(super) fn serve_grpc(&mut self, conn: &mut Conn) {
        loop {
            let Protocol::Grpc(grpc) = &mut conn.protocol else { return };
            let full = grpc.queued_bytes() >= ANSWERS_QUEUED_BYTES_MAX;
            conn.held_back = full && grpc.events_waiting() > 0;
            if full && grpc.events_waiting() <= CALLS_HELD_BACK_MAX {
                return;
            }
            match grpc.poll_event() {
                None => return,
                Some(Event::Unary { stream, .. } | Event::Http { stream, .. }) if full => {
                    grpc.respond_error(stream, &too_many_requests().status());
                }
                Some(Event::Unary { stream, head, message }) => self.call(conn, stream, &head, message),
                Some(Event::Http { stream, head, .. }) => self.serve_page_h2(conn, stream, &head),
                Some(Event::Reset { tag, .. }) => self.waiting.abandon(tag),
                Some(Event::Open { .. } | Event::Message { .. } | Event::End { .. }) => {
                    unreachable!("every method is classified as unary")
                }
            }
        }
    }

    fn call(&mut self, conn: &mut Conn, stream: StreamId, head: &RequestHead, message: Bytes) {
        let (method, id) = match find(&head.path) {
            Found::Served(method, id) => (method, id),
            Found::Absent(id) => {
                self.probe.method(id).started.add(1);
                let text = format!("{} is not available in this version", head.path.trim_start_matches('/'));
                let call = Call { stream, method: id, op: None, began_ns: self.now_ns, deadline_ns: NO_DEADLINE };
                return self.refuse(conn, call, Failure::Status(Code::Unimplemented, text.into()));
            }
            Found::Unknown(text) => {
                let Protocol::Grpc(grpc) = &mut conn.protocol else { return };
                return grpc.respond_error(stream, &net::grpc::Status::new(Code::Unimplemented, text));
            }
        };
        let probe = self.probe.method(id);
        probe.started.add(1);
        probe.received.add(1);
        let timeout_ns = head.timeout.map_or(NO_DEADLINE, |t| u64::try_from(t.as_nanos()).unwrap_or(NO_DEADLINE));
        let deadline_ns = self.now_ns.saturating_add(timeout_ns);
        let call = Call { stream, method: id, op: op_of(method), began_ns: self.now_ns, deadline_ns };
        if self.published.leader() == 0 && head.header("hasleader") == Some("true") {
            return self.refuse(conn, call, Error::NoLeader.into());
        }
        let handled = match method {
            Method::Range => self.range(conn, call, message),
            Method::Put => self.put(conn, call, message),
            Method::DeleteRange => self.delete_range(conn, call, message),
            Method::Txn => self.txn(conn, call, message),
            Method::Compact => self.compact(conn, call, message),
            Method::MemberList => self.member_list(conn, call, message),
            Method::Status => self.status(conn, call),
            Method::HashKv => self.hash_kv(conn, call, message),
            Method::Alarm => self.alarm(conn, call, message),
            Method::HealthCheck => self.health_check(conn, call, message),
        };
        if let Err(failure) = handled {
            self.refuse(conn, call, failure);
        }
    }

    fn range(&mut self, conn: &mut Conn, call: Call, message: Bytes) -> Handled {
        let request: RangeRequest = wire::read(&wire::RANGE, message)?;
        kv::check_range(&request)?;
        if request.serializable || self.published.read_gate_open() {
            return self.answer_range(conn, call, &request);
        }
        self.wait_to_read(conn, call, Read::Range(request))
    }

    fn answer_range(&mut self, conn: &mut Conn, call: Call, request: &RangeRequest) -> Handled {
        let result = self.reader.range(request, ANSWER_BYTES_MAX).map_err(Error::from)?;
        if result.cut {
            return Err(too_large("more"));
        }
        self.probe.ranges.add(1);
        let header = self.header(result.revision);
        let len = result.encoded_len(&header);
        if len < FORMED_BYTES_MIN {
            self.respond(conn, call, len, |out| result.encode(&header, out));
            return Ok(());
        }
        let (len, body) = RangeBody::new(result, &header);
        let Protocol::Grpc(grpc) = &mut conn.protocol else { return Ok(()) };
        grpc.respond_unary_from(call.stream, len, Box::new(body));
        self.answered(call);
        Ok(())
    }

    fn put(&mut self, conn: &mut Conn, call: Call, message: Bytes) -> Handled {
        let (entry, Logged::Put(request)) = self.entry(field::PUT, &wire::for_log(&wire::PUT, message)?)? else {
            unreachable!("a put was wrapped")
        };
        kv::check_put(&request)?;
        self.propose(conn, call, entry)
    }

    fn delete_range(&mut self, conn: &mut Conn, call: Call, message: Bytes) -> Handled {
        let (entry, Logged::DeleteRange(request)) =
            self.entry(field::DELETE_RANGE, &wire::for_log(&wire::DELETE_RANGE, message)?)?
        else {
            unreachable!("a delete was wrapped")
        };
        kv::check_delete_range(&request)?;
        self.propose(conn, call, entry)
    }

    fn txn(&mut self, conn: &mut Conn, call: Call, message: Bytes) -> Handled {
        let (entry, Logged::Txn(request)) = self.entry(field::TXN, &wire::for_log(&wire::TXN, message)?)? else {
            unreachable!("a txn was wrapped")
        };
        kv::check_txn(&request, self.settings.max_txn_ops)?;
        if !is_read_only(&request) {
            return self.propose(conn, call, entry);
        }
        if is_serializable(&request) || self.published.read_gate_open() {
            return self.answer_read_txn(conn, call, &request);
        }
        self.wait_to_read(conn, call, Read::Txn(request))
    }

    fn answer_read_txn(&mut self, conn: &mut Conn, call: Call, request: &TxnRequest) -> Handled {
        let answer = read_txn(self.reader.pin(), request).map_err(Error::from)?;
        self.respond_answer(conn, call, &answer);
        Ok(())
    }

    fn compact(&mut self, conn: &mut Conn, call: Call, message: Bytes) -> Handled {
        let (entry, _) = self.entry(field::COMPACTION, &wire::for_log(&wire::COMPACTION, message)?)?;
        self.propose(conn, call, entry)
    }

    fn member_list(&mut self, conn: &mut Conn, call: Call, message: Bytes) -> Handled {
        let request = MemberListRequest::decode(message).map_err(unreadable)?;
        if request.linearizable && !self.published.read_gate_open() {
            return self.wait_to_read(conn, call, Read::MemberList);
        }
        self.answer_message(conn, call, &cluster::member_list(&self.published));
        Ok(())
    }

    fn status(&mut self, conn: &mut Conn, call: Call) -> Handled {
        let view = self.reader.pin();
        let (revision, bytes) = (view.revision(), view.bytes());
        let status = maintenance::status(&self.published, self.header(revision), bytes);
        self.answer_message(conn, call, &status);
        Ok(())
    }

    fn alarm(&mut self, conn: &mut Conn, call: Call, message: Bytes) -> Handled {
        let request = AlarmRequest::decode(message).map_err(unreadable)?;
        if !self.published.read_gate_open() {
            return self.wait_to_read(conn, call, Read::Alarm(request));
        }
        self.answer_alarm(conn, call, &request)
    }

    fn answer_alarm(&mut self, conn: &mut Conn, call: Call, request: &AlarmRequest) -> Handled {
        let revision = self.reader.pin().revision();
        let Some(answer) = maintenance::alarm(request, self.header(revision)) else {
            let text = "raising and lowering alarms is not available in this version";
            return Err(Failure::Status(Code::Unimplemented, text.into()));
        };
        self.answer_message(conn, call, &answer);
        Ok(())
    }

    fn health_check(&mut self, conn: &mut Conn, call: Call, message: Bytes) -> Handled {
        let request = health::HealthCheckRequest::decode(message).map_err(unreadable)?;
        let answer = health::check(&request).ok_or(Error::HealthUnknownService)?;
        self.answer_message(conn, call, &answer);
        Ok(())
    }

    /// Wraps the request's own bytes into a log entry's payload and decodes it from there: nothing is encoded twice, what is
    /// logged is what the client sent, and nothing is logged that apply could not read. A bare request may be nested as deep
    /// as can be read at all; with the wrapper around it, it is one level deeper, and would end every member for good.
    fn entry(&mut self, field: u32, message: &[u8]) -> Result<(Entry, Logged), Failure> {
        let id = self.ids.next_id();
        let payload = wrap(field, message, id);
        let wrapped = InternalRaftRequest::decode(payload.clone()).map_err(unreadable)?;
        Ok((Entry { id, payload }, wrapped.request.expect("the field of a request was written")))
    }

    fn propose(&mut self, conn: &mut Conn, call: Call, entry: Entry) -> Handled {
        self.check_room(conn)?;
        let Entry { id, payload } = entry;
        if payload.len() > self.settings.max_request_bytes {
            return Err(Error::RequestTooLarge.into());
        }
        let units = Room::units(payload.len());
        if !self.published.room.take(conn.units_waiting, units) {
            return Err(too_many_requests());
        }
        self.park(conn, id, Kind::Proposal(call), Some(call.stream), units);
        self.outbox.push(ToRaft::Propose { id, request: payload });
        Ok(())
    }

    fn wait_to_read(&mut self, conn: &mut Conn, call: Call, read: Read) -> Handled {
        self.check_room(conn)?;
        let id = self.ids.next_id();
        self.park(conn, id, Kind::Read(call, read), Some(call.stream), 0);
        self.outbox.push(ToRaft::Read { id });
        Ok(())
    }

    /// One connection may take its share of the calls that can wait, so that others find room.
    pub(super) fn check_room(&self, conn: &Conn) -> Handled {
        let room = may_take(conn.calls_waiting, self.waiting.len(), CALLS_WAITING_MAX);
        if room { Ok(()) } else { Err(too_many_requests()) }
    }

    /// Takes an answer of the raft role to the call that waited for it.
    pub(super) fn finish(&mut self, conn: &mut Conn, waiting: Waiting, message: FromRaft) {
        match (waiting.kind, message) {
            (Kind::Proposal(call), FromRaft::Answer { result: Ok(answer), .. }) => {
                self.respond_answer(conn, call, &answer);
            }
            (Kind::Proposal(call), FromRaft::Answer { result: Err(error), .. }) => {
                self.refuse(conn, call, failure_of(error));
            }
            (Kind::Read(call, read), FromRaft::ReadReady { result: Ok(()), .. }) => {
                let handled = match &read {
                    Read::Range(request) => self.answer_range(conn, call, request),
                    Read::Txn(request) => self.answer_read_txn(conn, call, request),
                    Read::Alarm(request) => self.answer_alarm(conn, call, request),
                    Read::MemberList => {
                        self.answer_message(conn, call, &cluster::member_list(&self.published));
                        Ok(())
                    }
                };
                if let Err(failure) = handled {
                    self.refuse(conn, call, failure);
                }
            }
            (Kind::Read(call, _), FromRaft::ReadReady { result: Err(error), .. }) => {
                self.refuse(conn, call, failure_of(error));
            }
            (Kind::Page { target, stream }, FromRaft::ReadReady { result, .. }) => {
                self.finish_page(conn, &target, stream, result);
            }
            (Kind::Abandoned, _) => {}
            (kind, message) => unreachable!("{message:?} answers {kind:?}"),
        }
    }

    /// Tells the clients whose calls have waited too long.
    pub(super) fn expire_calls(&mut self, mono_ns: u64) {
        self.now_ns = mono_ns;
        for (id, call) in self.waiting.take_expired(mono_ns) {
            let Some(mut conn) = self.conns.remove(&id.0) else { continue };
            let status = net::grpc::Status::deadline_exceeded();
            self.refuse(&mut conn, call, Failure::Status(status.code, status.message));
            self.mark_dirty(&mut conn);
            self.conns.insert(id.0, conn);
        }
    }

    fn respond_answer(&mut self, conn: &mut Conn, call: Call, answer: &Answer) {
        let header = self.header(answer.revision);
        if let Outcome::Range(_) = answer.outcome {
            self.probe.ranges.add(1);
        }
        self.respond(conn, call, answer.outcome.encoded_len(&header), |out| answer.outcome.encode(&header, out));
    }

    pub(super) fn answer_message(&mut self, conn: &mut Conn, call: Call, message: &impl Message) {
        self.respond(conn, call, message.encoded_len(), |out| {
            message.encode(out).expect("a vector takes everything");
        });
    }

    fn respond(&mut self, conn: &mut Conn, call: Call, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        if len > ANSWER_BYTES_MAX {
            return self.refuse(conn, call, too_large(&len.to_string()));
        }
        let Protocol::Grpc(grpc) = &mut conn.protocol else { return };
        grpc.respond_unary(call.stream, len, encode);
        self.answered(call);
    }

    fn answered(&mut self, call: Call) {
        let probe = self.probe.method(call.method);
        probe.sent.add(1);
        probe.handled(Code::Ok.number());
        self.observe(call, true);
    }

    fn refuse(&mut self, conn: &mut Conn, call: Call, failure: Failure) {
        let Protocol::Grpc(grpc) = &mut conn.protocol else { return };
        let status = failure.status();
        grpc.respond_error(call.stream, &status);
        self.probe.method(call.method).handled(status.code.number());
        self.observe(call, false);
    }

    fn observe(&self, call: Call, ok: bool) {
        if let Some(op) = call.op {
            self.probe.requests.observe_ns(op, ok, self.now_ns.saturating_sub(call.began_ns));
        }
    }

    pub(super) fn header(&self, revision: i64) -> ResponseHeader {
        let identity = &self.published.identity;
        ResponseHeader {
            cluster_id: identity.cluster_id,
            member_id: identity.member_id,
            revision,
            raft_term: self.published.term(),
        }
    }
}

/// What etcd's request duration metric calls a method.
fn op_of(method: Method) -> Option<Op> {
    match method {
        Method::Range => Some(Op::Range),
        Method::Put => Some(Op::Put),
        Method::DeleteRange => Some(Op::DeleteRange),
        Method::Txn => Some(Op::Txn),
        Method::Compact => Some(Op::Compaction),
        Method::Alarm => Some(Op::Alarm),
        Method::MemberList | Method::Status | Method::HashKv | Method::HealthCheck => None,
    }
}

/// etcd declares ResourceExhausted for this and sends Unknown; clients know it by its text.
fn too_many_requests() -> Failure {
    Error::TooManyRequests.into()
}

/// Go's text for an answer that no client would take.
fn too_large(len: &str) -> Failure {
    let text = format!("grpc: trying to send message larger than max ({len} vs. {ANSWER_BYTES_MAX})");
    Failure::Status(Code::ResourceExhausted, text.into())
}

fn failure_of(error: replica::Error) -> Failure {
    match error {
        replica::Error::Apply(error) => Error::from(error).into(),
        replica::Error::TooManyRequests => too_many_requests(),
        replica::Error::NoSpace => Error::NoSpace.into(),
        replica::Error::Timeout => Error::Timeout.into(),
        replica::Error::LeaderChanged => Error::LeaderChanged.into(),
        replica::Error::Stopped => Error::Stopped.into(),
        replica::Error::Dropped => Error::ProposalDropped.into(),
    }
}

/// An InternalRaftRequest around a request that is encoded already: its field, then the header with the id.
fn wrap(field: u32, message: &[u8], id: u64) -> Bytes {
    let header_len = 1 + prost::encoding::encoded_len_varint(id);
    let mut out = BytesMut::with_capacity(16 + message.len() + header_len);
    prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(message.len() as u64, &mut out);
    out.put_slice(message);
    prost::encoding::encode_key(field::HEADER, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(header_len as u64, &mut out);
    prost::encoding::uint64::encode(1, &id, &mut out);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::pb::etcdserverpb::{PutRequest, RequestHeader};

    #[test]
    fn wrapping_is_encoding() {
        for id in [1, 0x1234_5678_9abc_def0, u64::MAX] {
            let put = PutRequest { key: "foo".into(), value: vec![7; 300].into(), ..Default::default() };
            let whole = InternalRaftRequest {
                header: Some(RequestHeader { id, ..Default::default() }),
                request: Some(Logged::Put(put.clone())),
                ..Default::default()
            };
            assert_eq!(wrap(field::PUT, &put.encode_to_vec(), id), whole.encode_to_vec());
        }
        // The header's bytes as a Go member writes them for id 5.
        assert_eq!(
            wrap(field::PUT, b"\x0a\x03foo\x12\x03bar", 5),
            b"\x22\x0a\x0a\x03foo\x12\x03bar\xa2\x06\x02\x08\x05"[..]
        );
    }
}
