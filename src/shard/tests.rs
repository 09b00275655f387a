//! The shard with a reactor that only writes down what it is told, and a raft role that is this test.

use super::*;
use crate::published::Identity;
use crate::reactor::{FileOp, Handler, Waker};
use engine::apply::mvcc::Store;
use engine::pb::etcdserverpb::{PutRequest, RangeRequest};
use net::grpc::client::{self, Event};
use net::grpc::{Code, Metadata, Status, timeout};
use prost::Message;
use std::time::Duration;

#[derive(Default)]
struct Notes {
    sent: Vec<(ConnId, Vec<u8>)>,
    closed: Vec<ConnId>,
}

impl Reactor for Notes {
    fn listen(&mut self, _: OwnedFd) -> ListenerId {
        unreachable!()
    }
    fn stop_listening(&mut self, _: ListenerId) {}
    fn connect(&mut self, _: std::net::SocketAddr) -> ConnId {
        unreachable!()
    }
    fn send(&mut self, conn: ConnId, buf: Vec<u8>) {
        self.sent.push((conn, buf));
    }
    fn receive(&mut self, _: ConnId, _: bool) {}
    fn close(&mut self, conn: ConnId) {
        self.closed.push(conn);
    }
    fn file(&mut self, _: u64, _: FileOp) {
        unreachable!()
    }
    fn waker(&self) -> Waker {
        unreachable!()
    }
    fn wake(&mut self, _: &Waker) {
        unreachable!()
    }
    fn turn<H: Handler>(&mut self, _: Option<u64>, _: &mut H) -> std::io::Result<()> {
        Ok(())
    }
    fn mono_ns(&self) -> u64 {
        mono_ns()
    }
    fn name(&self) -> &'static str {
        "notes"
    }
}

struct Rig {
    shard: Shard,
    reactor: Notes,
    client: client::Connection,
}

const CONN: ConnId = ConnId(7);

impl Rig {
    fn new() -> Self {
        let published = Arc::new(Published::new(Identity { cluster_id: 1, member_id: 2 }));
        let metrics = web::MetricsPage { shards: Arc::new([]), raft: Arc::default(), server: Arc::default() };
        let keepalive = net::h2::keepalive::Rules { ping_min_ms: 5_000, interval_ms: 7_200_000, timeout_ms: 20_000 };
        let settings =
            Settings { max_request_bytes: 1 << 20, max_txn_ops: 128, max_concurrent_streams: 100, keepalive };
        let reader = Store::new().reader();
        let ids = RequestIds::new(2, 0, 0, 2);
        let shard = Shard::new(settings, published, reader, Arc::default(), metrics, ids, Vec::new());
        let client = client::Connection::new("test:1", client::Config::default());
        let mut rig = Self { shard, reactor: Notes::default(), client };
        rig.shard.accepted(CONN);
        rig
    }

    /// Starts a call and brings it to the shard; answers its request id with the raft role.
    fn park(&mut self, path: &str, request: &impl Message, limit: Option<Duration>) -> (net::grpc::StreamId, u64) {
        let mut metadata = Metadata::new();
        if let Some(limit) = limit {
            metadata.insert("grpc-timeout", &timeout::format(limit));
        }
        let stream = self.client.start_unary(path, &metadata, request.encode_to_vec().into());
        self.talk();
        let outbox = self.shard.take_outbox();
        let id = match outbox.pop() {
            Some(ToRaft::Read { id } | ToRaft::Propose { id, .. }) => id,
            None => panic!("nothing was asked of the raft role"),
        };
        (stream, id)
    }

    /// Carries bytes both ways until nothing moves.
    fn talk(&mut self) {
        loop {
            let mut out = Vec::new();
            self.client.poll_transmit(&mut out, usize::MAX);
            if !out.is_empty() {
                self.shard.received(CONN, &out);
            }
            self.shard.flush(&mut self.reactor);
            let sent = std::mem::take(&mut self.reactor.sent);
            if out.is_empty() && sent.is_empty() {
                return;
            }
            for (id, buf) in sent {
                self.client.handle_bytes(&buf);
                self.shard.sent(id, buf, Ok(()));
            }
        }
    }

    fn ended(&mut self) -> Option<Status> {
        while let Some(event) = self.client.poll_event() {
            if let Event::Trailers { status, .. } = event {
                return Some(status);
            }
        }
        None
    }
}

fn range() -> RangeRequest {
    RangeRequest { key: "a".into(), ..Default::default() }
}

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";

#[test]
fn a_parked_call_ends_at_its_deadline() {
    let put = PutRequest { key: "a".into(), ..Default::default() };
    let mut rig = Rig::new();
    let began_ns = mono_ns();
    let (_, read) = rig.park(RANGE, &range(), Some(Duration::from_secs(5)));
    let (_, patient) = rig.park(RANGE, &range(), None);
    rig.shard.pass_time(began_ns + 1_000_000);
    rig.talk();
    assert_eq!(rig.ended(), None);
    let later_ns = mono_ns() + 5_000_000_000;
    assert_eq!(rig.shard.pass_time(later_ns), later_ns, "what time brought does not wait for the next event");
    rig.talk();
    assert_eq!(rig.ended(), Some(Status::new(Code::DeadlineExceeded, "context deadline exceeded")));
    // The answer that comes all the same finds nobody; until then the call counts.
    assert_eq!(rig.shard.waiting.len(), 2);
    rig.shard.answer(FromRaft::ReadReady { id: read, result: Ok(()) });
    rig.shard.answer(FromRaft::ReadReady { id: patient, result: Ok(()) });
    rig.talk();
    assert_eq!((rig.ended(), rig.shard.waiting.len()), (Some(Status::OK), 0));
    let (_, id) = rig.park(PUT, &put, Some(Duration::from_millis(1)));
    rig.shard.pass_time(mono_ns() + 20_000_000_000);
    rig.talk();
    assert_eq!(rig.ended().map(|status| status.code), Some(Code::DeadlineExceeded));
    rig.shard.answer(FromRaft::Answer { id, result: Err(engine::replica::Error::Timeout) });
    rig.talk();
    assert_eq!((rig.ended(), rig.shard.waiting.len()), (None, 0));
}

#[test]
fn a_cancelled_call_lets_go_of_its_request() {
    let mut rig = Rig::new();
    let (stream, id) = rig.park(RANGE, &range(), Some(Duration::from_secs(5)));
    rig.client.cancel(stream);
    rig.talk();
    assert!(!rig.shard.waiting.any_with_deadline() && rig.shard.waiting.len() == 1);
    rig.shard.answer(FromRaft::ReadReady { id, result: Ok(()) });
    rig.talk();
    assert_eq!((rig.ended(), rig.shard.waiting.len()), (None, 0));
}

#[test]
fn a_lost_connection_lets_go_of_all_its_calls() {
    let mut rig = Rig::new();
    let ids: Vec<u64> = (0..5).map(|_| rig.park(RANGE, &range(), Some(Duration::from_secs(5))).1).collect();
    rig.shard.closed(CONN, None);
    rig.shard.flush(&mut rig.reactor);
    assert!(!rig.shard.waiting.any_with_deadline() && rig.reactor.closed == [CONN]);
    for id in ids {
        rig.shard.answer(FromRaft::ReadReady { id, result: Ok(()) });
    }
    assert_eq!(rig.shard.waiting.len(), 0);
}
