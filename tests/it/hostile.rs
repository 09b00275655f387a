//! What clients may do and must not get away with: requests built to break the member that takes them, answers that nobody
//! reads, pages asked for faster than they are read. After each the server serves others as before.

use crate::server::{PATIENCE, PLANS, Server, Setup, TempDir};
use bytes::Bytes;
use engine::pb::etcdserverpb::request_op::Request;
use engine::pb::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest};
use net::grpc::client::{Config, Connection, Event};
use net::grpc::{Metadata, Status};
use prost::Message;
use prost::encoding::{WireType, encode_key};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A gRPC connection on which a test says what it likes.
struct Raw {
    socket: TcpStream,
    connection: Connection,
}

impl Raw {
    fn connect(server: &Server) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", server.client_port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, connection: Connection::new("127.0.0.1", Config::default()) }
    }

    /// Sends a request and does not wait for anything.
    fn start(&mut self, path: &str, message: Vec<u8>) {
        self.connection.start_unary(path, &Metadata::new(), Bytes::from(message));
        let mut out = Vec::new();
        while self.connection.has_output() {
            self.connection.poll_transmit(&mut out, usize::MAX);
        }
        self.socket.write_all(&out).unwrap();
    }

    /// One call. None when the server hung up on it.
    fn call(&mut self, path: &str, message: Vec<u8>) -> Option<Status> {
        self.start(path, message);
        let mut buf = [0; 4096];
        loop {
            while let Some(event) = self.connection.poll_event() {
                if let Event::Trailers { status, .. } = event {
                    return Some(status);
                }
            }
            let mut out = Vec::new();
            self.connection.poll_transmit(&mut out, usize::MAX);
            self.socket.write_all(&out).ok()?;
            match self.socket.read(&mut buf) {
                Ok(len) if len > 0 => self.connection.handle_bytes(&buf[..len]),
                _ => return None,
            }
        }
    }
}

fn put(key: &str, value: Vec<u8>) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() }
}

/// A put inside `depth` transactions.
fn nested(depth: usize) -> Vec<u8> {
    let mut op = RequestOp { request: Some(Request::Put(put("deep", vec![]))) };
    for _ in 1..depth {
        let txn = TxnRequest { success: vec![op], ..Default::default() };
        op = RequestOp { request: Some(Request::Txn(txn)) };
    }
    TxnRequest { success: vec![op], ..Default::default() }.encode_to_vec()
}

/// A put with a field nobody knows: groups inside each other.
fn with_groups(depth: usize) -> Vec<u8> {
    let mut message = put("groups", vec![]).encode_to_vec();
    (0..depth).for_each(|_| encode_key(1000, WireType::StartGroup, &mut message));
    (0..depth).for_each(|_| encode_key(1000, WireType::EndGroup, &mut message));
    message
}

#[test]
fn what_apply_could_not_read_never_enters_the_log() {
    let dir = TempDir::new("depth");
    let server = Server::start(dir.path(), Setup::default());
    let mut raw = Raw::connect(&server);
    // Around the depth at which messages stop being readable, one more or less.
    for depth in 40..=56 {
        let status = raw.call("/etcdserverpb.KV/Txn", nested(depth));
        assert!(status.is_some(), "transactions nested {depth} deep ended the server:\n{}", server.log());
    }
    for depth in 90..=110 {
        let status = raw.call("/etcdserverpb.KV/Put", with_groups(depth));
        assert!(status.is_some(), "groups nested {depth} deep ended the server:\n{}", server.log());
    }
    let server = server.restart();
    server.client().put(&put("a", vec![]), Instant::now() + PATIENCE).unwrap();
}

#[test]
fn an_answer_larger_than_any_client_takes_is_refused() {
    let dir = TempDir::new("large-answer");
    let server = Server::start(dir.path(), Setup::default());
    let mut client = server.client();
    for number in 0..17 {
        client.put(&put(&format!("k{number:02}"), vec![7; 1 << 20]), Instant::now() + PATIENCE).unwrap();
    }
    let all = RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    let op = RequestOp { request: Some(Request::Range(all)) };
    // 128 times 17 MiB are more than 2 GiB.
    let txn = TxnRequest { success: vec![op; 128], ..Default::default() };
    let status = Raw::connect(&server).call("/etcdserverpb.KV/Txn", txn.encode_to_vec()).unwrap();
    assert_eq!(status.code.number(), 8);
    assert!(status.message.starts_with("grpc: trying to send message larger than max ("), "{status:?}");
    assert_eq!(server.http("GET", "/health").0, 200);
}

/// One HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// SETTINGS with an initial window of streams.
fn window_setting(bytes: u32) -> Vec<u8> {
    frame(4, 0, 0, &[&[0, 4][..], &bytes.to_be_bytes()].concat())
}

/// HEADERS and DATA of a range call.
fn range_frames(stream: u32, request: &RangeRequest) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/etcdserverpb.KV/Range"),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.extend_from_slice(&[0, name.len() as u8]);
        block.extend_from_slice(name.as_bytes());
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    }
    let message = request.encode_to_vec();
    let body = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    [frame(1, 4, stream, &block), frame(0, 1, stream, &body)].concat()
}

/// Reads frames until this many streams have ended.
fn read_ends(stream: &mut TcpStream, mut ends: usize) {
    while ends > 0 {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; len as usize];
        stream.read_exact(&mut payload).unwrap();
        assert!(head[3] != 7, "GOAWAY: {:?}", String::from_utf8_lossy(&payload));
        ends -= usize::from(head[3] == 1 && head[4] & 1 != 0);
    }
}

#[test]
fn answers_that_nobody_reads_hold_a_bounded_amount_of_memory() {
    const ANSWERS: u32 = 600;
    for plan in PLANS {
        let dir = TempDir::new("unread");
        let server = Server::start(dir.path(), Setup::with(plan));
        server.client().put(&put("k", vec![7; 1 << 20]), Instant::now() + PATIENCE).unwrap();
        let get = RangeRequest { key: "k".into(), ..Default::default() };
        let mut stream = TcpStream::connect(("127.0.0.1", server.client_port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Not a byte of an answer may leave.
        let mut out = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &window_setting(0)].concat();
        (0..ANSWERS).for_each(|call| out.extend(range_frames(2 * call + 1, &get)));
        stream.write_all(&out).unwrap();
        // Others are served meanwhile; after so many of them the requests above have been looked at.
        for _ in 0..50 {
            server.client().range(&get, Instant::now() + PATIENCE).unwrap();
        }
        let held = server.resident_bytes();
        assert!(held < 300 << 20, "{plan:?}: {held} bytes");
        // Now the windows open: whoever reads in the end is answered in full.
        let most = (1u32 << 31) - 1;
        stream.write_all(&window_setting(most)).unwrap();
        stream.write_all(&frame(8, 0, 0, &(most - 65_535).to_be_bytes())).unwrap();
        read_ends(&mut stream, ANSWERS as usize);
    }
}

#[test]
fn pages_asked_for_at_once_are_all_answered() {
    const PAGES: usize = 60;
    let dir = TempDir::new("pipelined");
    let server = Server::start(dir.path(), Setup::default());
    let mut stream = TcpStream::connect(("127.0.0.1", server.client_port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(PAGES).as_bytes()).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = Vec::new();
    let result = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), PAGES + 1, "{result:?}");
}

#[test]
fn a_client_that_has_said_everything_is_still_answered() {
    for reactor in ["--reactor=ring", "--reactor=epoll"] {
        let dir = TempDir::new("half-closed");
        let server = Server::start(dir.path(), Setup::with(&[reactor]));
        for _ in 0..20 {
            let mut stream = TcpStream::connect(("127.0.0.1", server.client_port)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 OK"), "{reactor}: {text:?}");
        }
    }
}

#[test]
fn more_connections_than_the_soft_limit_of_descriptors() {
    const CONNECTIONS: usize = 300;
    let dir = TempDir::new("descriptors");
    let setup = Setup { open_files_soft: Some(128), ..Setup::default() };
    let server = Server::start(dir.path(), setup);
    let mut streams: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(("127.0.0.1", server.client_port)).unwrap()).collect();
    for stream in &mut streams {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
    }
}
