//! A client that floods is refused; the others are served as if it were not there.

use crate::server::{PATIENCE, PLANS, Server, Setup, TempDir};
use bytes::Bytes;
use engine::pb::etcdserverpb::{PutRequest, RangeRequest};
use net::grpc::client::{Config, Connection, Event};
use net::grpc::{Metadata, Status};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prost::Message;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Requests that a flooding client keeps outstanding: several times what a server takes in all.
const OUTSTANDING: usize = 15_000;

/// Requests that the orderly client makes meanwhile.
const ORDERLY: usize = 60;

/// One connection that asks again as soon as it is answered.
struct Flooder {
    socket: TcpStream,
    connection: Connection,
    outgoing: Vec<u8>,
    /// How calls ended: code and text.
    ended: HashMap<(u32, String), u64>,
}

impl Flooder {
    fn connect(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            connection: Connection::new("flood", Config::default()),
            outgoing: Vec::new(),
            ended: HashMap::new(),
        }
    }

    /// Floods until told to stop, then waits for the end of every call.
    fn run(
        mut self,
        path: &str,
        message: &Bytes,
        refused: &AtomicU64,
        stop: &AtomicBool,
    ) -> HashMap<(u32, String), u64> {
        let metadata = Metadata::new();
        let deadline = Instant::now() + PATIENCE;
        while !stop.load(Relaxed) || self.connection.open_calls() > 0 {
            assert!(Instant::now() < deadline, "{} calls do not end", self.connection.open_calls());
            while !stop.load(Relaxed) && self.connection.open_calls() < OUTSTANDING {
                self.connection.start_unary(path, &metadata, message.clone());
            }
            self.exchange();
            while let Some(event) = self.connection.poll_event() {
                if let Event::Trailers { status, .. } = event {
                    refused.fetch_add(u64::from(!status.is_ok()), Relaxed);
                    let Status { code, message, .. } = status;
                    *self.ended.entry((code.number(), message.to_string())).or_default() += 1;
                }
            }
        }
        self.ended
    }

    /// Sends and receives what can be without waiting, or waits until something can.
    fn exchange(&mut self) {
        if self.outgoing.is_empty() {
            self.connection.poll_transmit(&mut self.outgoing, 1 << 20);
        }
        let mut moved = false;
        match self.socket.write(&self.outgoing) {
            Ok(count) => {
                moved = count > 0;
                self.outgoing.drain(..count);
            }
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock, "{e}"),
        }
        let mut received = [0; 64 << 10];
        match self.socket.read(&mut received) {
            Ok(count) => {
                assert!(count > 0, "the server closed the connection");
                self.connection.handle_bytes(&received[..count]);
                moved = true;
            }
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock, "{e}"),
        }
        if !moved {
            let both = PollFlags::POLLIN | PollFlags::POLLOUT;
            let wanted = if self.outgoing.is_empty() { PollFlags::POLLIN } else { both };
            poll(&mut [PollFd::new(self.socket.as_fd(), wanted)], PollTimeout::from(100u16)).unwrap();
        }
    }
}

fn put(key: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: vec![b'v'; 100].into(), ..Default::default() }
}

/// Every request of the orderly client is answered as asked, with `flooders` connections at work.
fn orderly_client_beside(flooders: usize, plan: &[&str]) {
    let dir = TempDir::new("overload");
    let server = Server::start(dir.path(), Setup::with(plan));
    let (refused, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let message = Bytes::from(put("flood").encode_to_vec());
    let threads: Vec<_> = (0..flooders)
        .map(|_| {
            let flooder = Flooder::connect(server.client_port);
            let (message, refused, stop) = (message.clone(), refused.clone(), stop.clone());
            std::thread::spawn(move || flooder.run("/etcdserverpb.KV/Put", &message, &refused, &stop))
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    // Stops the flood also when an assertion below fails, so that the test ends.
    let flood = StopAtEnd(stop.clone());
    while refused.load(Relaxed) == 0 {
        assert!(Instant::now() < deadline && threads.iter().all(|t| !t.is_finished()), "nobody is refused");
        std::thread::yield_now();
    }
    let mut client = server.client();
    for number in 0..ORDERLY {
        let key = format!("orderly-{number}");
        client.put(&put(&key), deadline).unwrap_or_else(|e| panic!("put {number}: {e:?}"));
        let get = RangeRequest { key: key.into(), ..Default::default() };
        let answer = client.range(&get, deadline).unwrap_or_else(|e| panic!("get {number}: {e:?}"));
        assert_eq!(answer.count, 1);
    }
    drop(flood);
    let mut written = ORDERLY as u64;
    for thread in threads {
        for ((code, text), count) in thread.join().unwrap() {
            match (code, text.as_str()) {
                (0, _) => written += count,
                (2, "etcdserver: too many requests") => {}
                other => panic!("{count} calls ended with {other:?}"),
            }
        }
    }
    let get = RangeRequest { key: "flood".into(), ..Default::default() };
    let answer = client.range(&get, deadline).unwrap();
    assert_eq!(
        answer.header.unwrap().revision as u64,
        1 + written,
        "what was refused was not written, what was not was"
    );
}

struct StopAtEnd(Arc<AtomicBool>);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_flood_on_one_connection_is_refused_and_others_are_served() {
    for plan in PLANS {
        orderly_client_beside(1, plan);
    }
}

#[test]
fn a_flood_on_several_connections_is_refused_and_others_are_served() {
    orderly_client_beside(4, PLANS[0]);
}
