//! One client connection: which protocol it speaks and what it still has to send.

use super::{Audience, Settings};
use crate::reactor::ConnId;
use net::grpc::RequestHead;
use net::grpc::server::{self as grpc, CallKind};
use net::{h1, sniff};

/// What etcd allows a request to be larger than `--max-request-bytes` on the wire, in bytes: its gRPC overhead allowance.
const GRPC_OVERHEAD_BYTES: usize = 512 << 10;

/// Milliseconds a connection may take to say which protocol it speaks: silent sockets cost descriptors.
const SILENT_MS_MAX: u64 = 10_000;

/// Milliseconds one send may take, two minutes: a peer that takes in less than a quarter of a mebibyte in that time does not
/// read, and what waits for it is given back.
const SEND_MS_MAX: u64 = 120_000;

pub(super) enum Protocol {
    /// Too few bytes to tell yet.
    Unknown(Vec<u8>),
    Grpc(Box<grpc::Connection>),
    Web(Box<h1::server::Connection>),
}

pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) audience: Audience,
    pub(super) protocol: Protocol,
    pub(super) sending: bool,
    pub(super) send_began_ms: u64,
    accepted_ms: u64,
    /// Time ran out on it: to be closed at once, whatever waits to be sent.
    expired: bool,
    pub(super) broken: bool,
    pub(super) dirty: bool,
    /// Its calls that wait for the raft role, and the room for proposals they take, in units.
    pub(super) calls_waiting: usize,
    pub(super) units_waiting: usize,
    /// Receiving is stopped because the peer does not read its answers.
    pub(super) paused: bool,
    /// Requests have arrived that are not looked at before more answers have left.
    pub(super) held_back: bool,
    /// The peer has said everything; it may still be reading.
    pub(super) ended: bool,
    /// The send buffer while no send is under way; its capacity is reused.
    pub(super) spare: Vec<u8>,
}

impl Conn {
    pub(super) fn new(id: ConnId, audience: Audience, now_ms: u64) -> Self {
        Self {
            id,
            audience,
            protocol: Protocol::Unknown(Vec::new()),
            sending: false,
            send_began_ms: now_ms,
            accepted_ms: now_ms,
            expired: false,
            broken: false,
            dirty: false,
            calls_waiting: 0,
            units_waiting: 0,
            paused: false,
            held_back: false,
            ended: false,
            spare: Vec::new(),
        }
    }

    pub(super) fn receive(&mut self, bytes: &[u8], settings: &Settings, now_ms: u64) {
        match &mut self.protocol {
            Protocol::Unknown(held) => {
                held.extend_from_slice(bytes);
                let Some(found) = sniff::sniff(held) else { return };
                let held = std::mem::take(held);
                if found == sniff::Protocol::Http2 && self.audience == Audience::Peers {
                    // Peers speak HTTP/1.1, and clients have URLs of their own.
                    self.broken = true;
                    return;
                }
                self.protocol = match found {
                    sniff::Protocol::Http2 => Protocol::Grpc(Box::new(grpc::Connection::new(grpc_config(settings)))),
                    sniff::Protocol::Http1 => {
                        Protocol::Web(Box::new(h1::server::Connection::new(h1::Limits::default())))
                    }
                };
                self.receive(&held, settings, now_ms);
            }
            Protocol::Grpc(connection) => {
                connection.on_time(now_ms);
                connection.handle_bytes(bytes);
            }
            Protocol::Web(connection) => {
                connection.handle_bytes(bytes);
                connection.on_time(now_ms);
            }
        }
    }

    pub(super) fn transmit(&mut self, out: &mut Vec<u8>, max_bytes: usize) {
        match &mut self.protocol {
            Protocol::Unknown(_) => {}
            Protocol::Grpc(connection) => connection.poll_transmit(out, max_bytes),
            Protocol::Web(connection) => {
                connection.poll_transmit(out, max_bytes);
            }
        }
    }

    pub(super) fn has_output(&self) -> bool {
        match &self.protocol {
            Protocol::Unknown(_) => false,
            Protocol::Grpc(connection) => connection.has_output(),
            Protocol::Web(connection) => connection.has_output(),
        }
    }

    /// The peer lets answers pile up: nothing more is taken from it until it reads.
    pub(super) fn is_congested(&self) -> bool {
        match &self.protocol {
            Protocol::Unknown(_) | Protocol::Web(_) => false,
            Protocol::Grpc(connection) => connection.is_congested(),
        }
    }

    /// Nothing more will be said or heard on it, once its output is sent.
    pub(super) fn is_done(&self) -> bool {
        match &self.protocol {
            Protocol::Unknown(_) => self.ended,
            Protocol::Grpc(connection) => connection.should_close() || self.ended,
            Protocol::Web(connection) => connection.should_close() || (self.ended && !connection.owes_answer()),
        }
    }

    /// The peer stopped answering: to be closed at once, whatever waits to be sent.
    pub(super) fn is_gone(&self) -> bool {
        self.expired || matches!(&self.protocol, Protocol::Grpc(connection) if connection.is_gone())
    }

    /// True when time brought something to say, or the end.
    pub(super) fn pass_time(&mut self, now_ms: u64) -> bool {
        if !self.sending {
            // An allocation a second costs a busy connection nothing; a buffer each costs ten thousand idle ones much.
            self.spare = Vec::new();
        }
        match &mut self.protocol {
            Protocol::Unknown(_) => self.expired = now_ms.saturating_sub(self.accepted_ms) >= SILENT_MS_MAX,
            Protocol::Grpc(connection) => {
                connection.on_time(now_ms);
                connection.trim();
            }
            Protocol::Web(connection) => connection.on_time(now_ms),
        }
        self.expired |= self.sending && now_ms.saturating_sub(self.send_began_ms) >= SEND_MS_MAX;
        self.is_gone() || (!self.sending && (self.has_output() || self.is_done()))
    }

    pub(super) fn drain(&mut self) {
        if let Protocol::Grpc(connection) = &mut self.protocol {
            connection.drain();
        }
    }
}

/// Streams of one connection, count, whatever `--max-concurrent-streams` allows (by default any number): an open stream costs
/// memory, about 20 MiB for all of these.
const STREAMS_MAX: u32 = 65_536;

fn grpc_config(settings: &Settings) -> grpc::Config {
    grpc::Config {
        max_message_bytes: settings.max_request_bytes + GRPC_OVERHEAD_BYTES,
        max_concurrent_streams: settings.max_concurrent_streams.min(STREAMS_MAX),
        accept_http: true,
        keepalive: Some(settings.keepalive),
        classify,
    }
}

/// Every method served so far is unary; others are refused with their first message, whatever their kind.
fn classify(_head: &RequestHead) -> CallKind {
    CallKind::Unary
}
