//! One client connection: which protocol it speaks and what it still has to send.

use super::Settings;
use crate::reactor::ConnId;
use net::grpc::RequestHead;
use net::grpc::server::{self as grpc, CallKind};
use net::{h1, sniff};

/// What etcd allows a request to be larger than `--max-request-bytes` on the wire, in bytes: its gRPC overhead allowance.
const GRPC_OVERHEAD_BYTES: usize = 512 << 10;

pub(super) enum Protocol {
    /// Too few bytes to tell yet.
    Unknown(Vec<u8>),
    Grpc(Box<grpc::Connection>),
    Web(Box<h1::server::Connection>),
}

pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) protocol: Protocol,
    pub(super) sending: bool,
    pub(super) broken: bool,
    pub(super) dirty: bool,
    /// Its calls that wait for the raft role, and the room for proposals they take, in units.
    pub(super) calls_waiting: usize,
    pub(super) units_waiting: usize,
    /// Receiving is stopped because the peer does not read its answers.
    pub(super) paused: bool,
    /// The send buffer while no send is under way; its capacity is reused.
    pub(super) spare: Vec<u8>,
}

impl Conn {
    pub(super) fn new(id: ConnId) -> Self {
        let protocol = Protocol::Unknown(Vec::new());
        Self {
            id,
            protocol,
            sending: false,
            broken: false,
            dirty: false,
            calls_waiting: 0,
            units_waiting: 0,
            paused: false,
            spare: Vec::new(),
        }
    }

    pub(super) fn receive(&mut self, bytes: &[u8], settings: &Settings, now_ms: u64) {
        match &mut self.protocol {
            Protocol::Unknown(held) => {
                held.extend_from_slice(bytes);
                let Some(found) = sniff::sniff(held) else { return };
                let held = std::mem::take(held);
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
            Protocol::Web(connection) => connection.handle_bytes(bytes),
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

    /// Nothing more will be said or heard on it.
    pub(super) fn is_done(&self) -> bool {
        match &self.protocol {
            Protocol::Unknown(_) => false,
            Protocol::Grpc(connection) => connection.should_close(),
            Protocol::Web(connection) => connection.should_close(),
        }
    }

    /// The peer stopped answering: to be closed at once, whatever waits to be sent.
    pub(super) fn is_gone(&self) -> bool {
        match &self.protocol {
            Protocol::Grpc(connection) => connection.is_gone(),
            Protocol::Unknown(_) | Protocol::Web(_) => false,
        }
    }

    /// True when time brought something to say, or the end.
    pub(super) fn pass_time(&mut self, now_ms: u64) -> bool {
        match &mut self.protocol {
            Protocol::Grpc(connection) => {
                connection.on_time(now_ms);
                connection.is_gone() || (!self.sending && connection.has_output())
            }
            Protocol::Unknown(_) | Protocol::Web(_) => false,
        }
    }

    pub(super) fn drain(&mut self) {
        if let Protocol::Grpc(connection) = &mut self.protocol {
            connection.drain();
        }
    }
}

fn grpc_config(settings: &Settings) -> grpc::Config {
    grpc::Config {
        max_message_bytes: settings.max_request_bytes + GRPC_OVERHEAD_BYTES,
        max_concurrent_streams: settings.max_concurrent_streams,
        accept_http: true,
        keepalive: Some(settings.keepalive),
        classify,
    }
}

/// Every method served so far is unary; others are refused with their first message, whatever their kind.
fn classify(_head: &RequestHead) -> CallKind {
    CallKind::Unary
}
