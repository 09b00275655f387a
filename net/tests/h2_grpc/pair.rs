//! A client and a server joined by two byte pipes that cut at random places, and an echo owner on the server side.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use net::grpc::client::{self, Event as ClientEvent};
use net::grpc::server::{self, CallKind, Event as ServerEvent};
use net::grpc::{Code, RequestHead, Status, StreamId};

/// xorshift64*: enough randomness for cut points, reproducible from its seed.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Paths that start so are streaming calls.
pub const STREAM_PREFIX: &str = "/stream";

pub fn classify(head: &RequestHead) -> CallKind {
    if head.path.starts_with(STREAM_PREFIX) { CallKind::Stream } else { CallKind::Unary }
}

pub fn config() -> server::Config {
    server::Config {
        max_message_bytes: 4 << 20,
        max_concurrent_streams: 1000,
        accept_http: true,
        keepalive: None,
        classify,
    }
}

/// The n-th message of `/stream/many`.
pub fn many(n: usize) -> Bytes {
    Bytes::from(vec![n as u8; n * 1000])
}

/// How a call ended, with all its messages.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    pub messages: Vec<Bytes>,
    pub status: Option<Status>,
}

pub struct Pair {
    pub client: client::Connection,
    pub server: server::Connection,
    pub rng: Rng,
    pub outcomes: HashMap<StreamId, Outcome>,
    pub resets_seen: Vec<StreamId>,
    /// Path and messages so far of the streaming calls that are not echoed.
    counted: HashMap<StreamId, (String, usize)>,
    /// Largest piece either side receives at once.
    pub max_cut: usize,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

/// Steps without any byte moved or event seen after which two machines are at rest.
const IDLE_STEPS: usize = 3;

impl Pair {
    pub fn new(seed: u64, config: server::Config) -> Self {
        Pair {
            client: client::Connection::new("test:1", client::Config::default()),
            server: server::Connection::new(config),
            rng: Rng::new(seed),
            outcomes: HashMap::new(),
            resets_seen: Vec::new(),
            counted: HashMap::new(),
            max_cut: 20_000,
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    /// Runs both sides until neither has anything to say.
    pub fn settle(&mut self) {
        let mut idle = 0;
        while idle < IDLE_STEPS {
            idle = if self.step() { 0 } else { idle + 1 };
        }
    }

    fn step(&mut self) -> bool {
        let mut moved = false;
        let max_bytes = 1 + self.rng.below(self.max_cut);
        self.client.poll_transmit(&mut self.to_server, max_bytes);
        moved |= !self.to_server.is_empty();
        let cut = (1 + self.rng.below(self.max_cut)).min(self.to_server.len());
        self.server.handle_bytes(&self.to_server[..cut]);
        self.to_server.drain(..cut);
        while let Some(event) = self.server.poll_event() {
            moved = true;
            self.echo(event);
        }
        let max_bytes = 1 + self.rng.below(self.max_cut);
        self.server.poll_transmit(&mut self.to_client, max_bytes);
        moved |= !self.to_client.is_empty();
        let cut = (1 + self.rng.below(self.max_cut)).min(self.to_client.len());
        self.client.handle_bytes(&self.to_client[..cut]);
        self.to_client.drain(..cut);
        while let Some(event) = self.client.poll_event() {
            moved = true;
            self.note(event);
        }
        moved
    }

    /// The owner: echoes messages; `/fail` answers with a status, `/hang` not at all. `/stream/count` answers once, with
    /// the number of messages; `/stream/many` answers with as many messages as the first byte it got, each larger;
    /// `/stream/enough` ends the call at the third message.
    fn echo(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Unary { stream, head, message } => match head.path.as_str() {
                "/fail" => self.server.respond_error(stream, &Status::new(Code::NotFound, "no: 100% π\n")),
                "/hang" => {}
                "/timeout" => {
                    assert_eq!(head.timeout, Some(Duration::from_millis(1500)));
                    self.server.respond_unary(stream, 0, |_| {});
                }
                _ => self.server.respond_unary(stream, message.len(), |out| out.extend_from_slice(&message)),
            },
            ServerEvent::Open { stream, head } => {
                if ["/stream/count", "/stream/many", "/stream/enough"].contains(&head.path.as_str()) {
                    self.counted.insert(stream, (head.path.clone(), 0));
                }
            }
            ServerEvent::Message { stream, message } => match self.counted.get_mut(&stream) {
                None => self.server.send_message(stream, message),
                Some((path, count)) => {
                    *count += 1;
                    if path == "/stream/many" {
                        *count = usize::from(message[0]);
                    } else if path == "/stream/enough" && *count == 3 {
                        self.server.finish(stream, &Status::new(Code::OutOfRange, "enough"));
                    }
                }
            },
            ServerEvent::End { stream } => {
                match self.counted.remove(&stream) {
                    Some((path, count)) if path == "/stream/many" => {
                        (0..count).for_each(|n| self.server.send_message(stream, many(n)));
                    }
                    Some((_, count)) => self.server.send_message(stream, vec![count as u8].into()),
                    None => {}
                }
                self.server.finish(stream, &Status::OK);
            }
            ServerEvent::Reset { stream, .. } => self.resets_seen.push(stream),
            ServerEvent::Http { stream, body, .. } => self.server.respond_http(stream, 200, &[], body),
        }
    }

    fn note(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Headers { .. } => {}
            ClientEvent::Message { stream, message } => {
                self.outcomes.entry(stream).or_default().messages.push(message);
            }
            ClientEvent::Trailers { stream, status, .. } => {
                let outcome = self.outcomes.entry(stream).or_default();
                assert_eq!(outcome.status, None, "a call ends once");
                outcome.status = Some(status);
            }
        }
    }

    pub fn expect_ok(&mut self, stream: StreamId, messages: &[Bytes]) {
        let outcome = self.outcomes.remove(&stream).expect("the call ended");
        assert_eq!(outcome.status, Some(Status::OK));
        assert!(outcome.messages == messages, "messages differ on {stream:?}");
    }
}
