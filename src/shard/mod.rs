//! The shard role: connections and the calls on them. A shard owns its connections and reads the store through its own
//! reader; writes, and reads while the gate is shut, go to the raft role and come back as answers. It never blocks, and it
//! keeps no reference into the store across a turn.

mod call;
mod conn;
mod hash;
mod router;
#[cfg(test)]
mod tests;
pub mod web;

use crate::exchange::{FromRaft, ToRaft};
use crate::ops::metrics::ShardProbe;
use crate::published::Published;
use crate::reactor::{ConnId, ListenerId, Reactor, mono_ns};
use call::{Kind, Waiting, WaitingCalls};
use conn::{Conn, Protocol};
use engine::apply::mvcc::Reader;
use engine::request_id::{IdMap, RequestIds};
use net::grpc::StreamId;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Most bytes handed to one send: enough to fill a socket buffer, small enough that one slow reader of a huge answer holds
/// little memory twice.
const SEND_BYTES_MAX: usize = 256 << 10;

/// Bytes of send buffer that a connection keeps between two turns; those it does not use are given back with the next tick.
const SPARE_BYTES_MAX: usize = 64 << 10;

const NS_PER_MS: u64 = 1_000_000;

/// How often connections learn the time, in nanoseconds: the window of their flood budgets.
const TICK_NS: u64 = 1_000_000_000;

/// How often waiting calls are looked at for a deadline that has passed, in nanoseconds, while there are any: late by less
/// than a scheduler's tick on a busy machine, and a look at all of them costs microseconds.
const DEADLINES_NS: u64 = 10_000_000;

/// Calls of one shard that wait for the raft role, count. Above it new ones are answered "too many requests"; it also
/// bounds the mailboxes, which reserve a slot per waiting call.
pub const CALLS_WAITING_MAX: usize = 16_384;

/// What a shard needs to know and does not change.
#[derive(Clone, Debug)]
pub struct Settings {
    pub max_request_bytes: usize,
    pub max_txn_ops: usize,
    pub max_concurrent_streams: u32,
    /// `--grpc-keepalive-*`.
    pub keepalive: net::h2::keepalive::Rules,
}

/// Who a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// gRPC and pages.
    Clients,
    /// The peer URLs: until there are peers to speak to, the pages that need no right are all there is. A client that took the
    /// wrong port must not be served on it.
    Peers,
}

pub struct Shard {
    settings: Settings,
    published: Arc<Published>,
    reader: Reader,
    probe: Arc<ShardProbe>,
    metrics: web::MetricsPage,
    ids: RequestIds,
    /// Sockets that wait for the member to be ready before anybody is accepted on them.
    unopened: Vec<(OwnedFd, Audience)>,
    listeners: Vec<(ListenerId, Audience)>,
    conns: IdMap<Conn>,
    waiting: WaitingCalls,
    outbox: Vec<ToRaft>,
    /// Hashes of the store being computed, a stretch per turn.
    scans: VecDeque<hash::Scan>,
    /// When the bytes or the answer in hand came, on the `mono_ns` clock: one look at it serves everything they bring.
    now_ns: u64,
    /// Connections with something to send, or to close, at the end of this turn.
    dirty: Vec<ConnId>,
    /// Connections to be closed at the end of this turn.
    gone: Vec<ConnId>,
    draining: bool,
    next_tick_ns: u64,
    next_deadlines_ns: u64,
}

impl Shard {
    pub fn new(
        settings: Settings,
        published: Arc<Published>,
        reader: Reader,
        probe: Arc<ShardProbe>,
        metrics: web::MetricsPage,
        ids: RequestIds,
        sockets: Vec<(OwnedFd, Audience)>,
    ) -> Self {
        Self {
            settings,
            published,
            reader,
            probe,
            metrics,
            ids,
            unopened: sockets,
            listeners: Vec::new(),
            conns: IdMap::default(),
            waiting: WaitingCalls::default(),
            outbox: Vec::new(),
            scans: VecDeque::new(),
            now_ns: 0,
            dirty: Vec::new(),
            gone: Vec::new(),
            draining: false,
            next_tick_ns: 0,
            next_deadlines_ns: 0,
        }
    }

    /// Starts accepting once the member has published itself; true when it just did.
    pub fn open_when_ready<R: Reactor>(&mut self, reactor: &mut R) -> bool {
        let open = !self.unopened.is_empty() && self.published.ready() && !self.draining;
        if open {
            let sockets = self.unopened.drain(..);
            self.listeners = sockets.map(|(socket, audience)| (reactor.listen(socket), audience)).collect();
        }
        open
    }

    pub fn accepted(&mut self, listener: ListenerId, conn: ConnId) {
        let found = self.listeners.iter().find(|(id, _)| *id == listener);
        let audience = found.map_or(Audience::Clients, |(_, audience)| *audience);
        self.conns.insert(conn.0, Conn::new(conn, audience, mono_ns() / NS_PER_MS));
    }

    pub fn received(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(mut conn) = self.conns.remove(&id.0) else { return };
        self.now_ns = mono_ns();
        self.probe.grpc_received_bytes.add(bytes.len() as u64);
        conn.receive(bytes, &self.settings, self.now_ns / NS_PER_MS);
        self.serve(&mut conn);
        self.mark_dirty(&mut conn);
        self.conns.insert(id.0, conn);
    }

    /// The peer is gone: its calls have nobody to answer. Over HTTP/1.1 one that closed its side without an error may be
    /// waiting for its answers (`nc`, shell scripts), and gets them.
    pub fn closed(&mut self, id: ConnId, error: Option<i32>) {
        if error.is_none()
            && let Some(conn) = self.conns.get_mut(&id.0)
            && matches!(conn.protocol, Protocol::Web(_))
        {
            conn.ended = true;
            if !conn.dirty {
                conn.dirty = true;
                self.dirty.push(id);
            }
        } else if let Some(conn) = self.conns.remove(&id.0) {
            self.abandon_calls(&conn);
            self.gone.push(id);
        }
    }

    pub fn sent(&mut self, id: ConnId, buf: Vec<u8>, result: Result<(), i32>) {
        let Some(conn) = self.conns.get_mut(&id.0) else { return };
        conn.sending = false;
        conn.broken |= result.is_err();
        if buf.capacity() <= SPARE_BYTES_MAX {
            conn.spare = buf;
            conn.spare.clear();
        }
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Answers of one turn share one look at the clock; call it before the first of them.
    pub fn look_at_clock(&mut self) {
        self.now_ns = mono_ns();
    }

    pub fn answer(&mut self, message: FromRaft) {
        let Some(waiting) = self.waiting.remove(message.id()) else { return };
        self.published.room.give_back(waiting.units);
        let Some(mut conn) = self.conns.remove(&waiting.conn.0) else { return };
        conn.calls_waiting -= 1;
        conn.units_waiting -= waiting.units;
        if let Kind::Abandoned = waiting.kind {
            self.conns.insert(conn.id.0, conn);
            return;
        }
        self.finish(&mut conn, waiting, message);
        self.mark_dirty(&mut conn);
        self.conns.insert(conn.id.0, conn);
    }

    /// Something is to be asked of the raft role, so that the next turn must not wait.
    pub fn has_requests(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// What this turn asks of the raft role.
    pub fn take_outbox(&mut self) -> &mut Vec<ToRaft> {
        &mut self.outbox
    }

    /// One send for every connection that has something to say and is not already sending.
    pub fn flush<R: Reactor>(&mut self, reactor: &mut R) {
        for id in self.gone.drain(..) {
            reactor.close(id);
        }
        let mut resumed = Vec::new();
        for id in std::mem::take(&mut self.dirty) {
            let Some(conn) = self.conns.get_mut(&id.0) else { continue };
            conn.dirty = false;
            if conn.is_gone() {
                self.close(id, reactor);
                continue;
            }
            let congested = conn.is_congested();
            if congested != conn.paused {
                conn.paused = congested;
                reactor.receive(id, !congested);
            }
            if conn.sending {
                continue;
            }
            let mut buf = std::mem::take(&mut conn.spare);
            conn.transmit(&mut buf, SEND_BYTES_MAX);
            if !buf.is_empty() && !conn.broken {
                self.probe.grpc_sent_bytes.add(buf.len() as u64);
                conn.sending = true;
                conn.send_began_ms = self.now_ns / NS_PER_MS;
                reactor.send(id, buf);
                if conn.held_back {
                    resumed.push(id);
                }
            } else if conn.broken || conn.is_done() {
                self.close(id, reactor);
            } else {
                conn.spare = if buf.capacity() > SPARE_BYTES_MAX { Vec::new() } else { buf };
            }
        }
        for id in resumed {
            let Some(mut conn) = self.conns.remove(&id.0) else { continue };
            self.now_ns = mono_ns();
            self.serve(&mut conn);
            self.mark_dirty(&mut conn);
            self.conns.insert(id.0, conn);
        }
    }

    fn close<R: Reactor>(&mut self, id: ConnId, reactor: &mut R) {
        if let Some(conn) = self.conns.remove(&id.0) {
            self.abandon_calls(&conn);
        }
        reactor.close(id);
    }

    /// The calls of a connection that ends have nobody to answer.
    fn abandon_calls(&mut self, conn: &Conn) {
        if let Protocol::Grpc(grpc) = &conn.protocol {
            grpc.tags().for_each(|id| self.waiting.abandon(id));
        }
    }

    /// Remembers a call until the raft role has answered, under a name that its stream gives back when it is cancelled.
    fn park(&mut self, conn: &mut Conn, id: u64, kind: Kind, stream: Option<StreamId>, units: usize) {
        if let (Protocol::Grpc(grpc), Some(stream)) = (&mut conn.protocol, stream) {
            grpc.set_tag(stream, id);
        }
        conn.calls_waiting += 1;
        conn.units_waiting += units;
        self.waiting.insert(id, Waiting { conn: conn.id, units, kind });
    }

    /// Stops accepting and tells every connection that no new calls are taken.
    pub fn drain<R: Reactor>(&mut self, reactor: &mut R) {
        self.draining = true;
        self.unopened.clear();
        for (listener, _) in self.listeners.drain(..) {
            reactor.stop_listening(listener);
        }
        for conn in self.conns.values_mut() {
            conn.drain();
            if !conn.dirty {
                conn.dirty = true;
                self.dirty.push(conn.id);
            }
        }
    }

    /// True when no call waits and everything said has left.
    pub fn is_drained(&self) -> bool {
        self.waiting.len() == 0 && self.dirty.is_empty() && self.conns.values().all(|c| !c.sending && !c.has_output())
    }

    /// Lets connections know the time: flood budgets are refilled, silent clients probed, calls whose time is up are ended.
    /// Answers when to be called again.
    pub fn pass_time(&mut self, mono_ns: u64) -> u64 {
        if mono_ns >= self.next_tick_ns {
            self.now_ns = mono_ns;
            self.next_tick_ns = mono_ns + TICK_NS;
            // A shard that nobody asks anything must not keep an old state of the store in memory.
            self.reader.pin();
            for conn in self.conns.values_mut() {
                if conn.pass_time(mono_ns / NS_PER_MS) && !conn.dirty {
                    conn.dirty = true;
                    self.dirty.push(conn.id);
                }
            }
        }
        let mut next_ns = self.next_tick_ns;
        if self.waiting.any_with_deadline() {
            if mono_ns >= self.next_deadlines_ns {
                self.next_deadlines_ns = mono_ns + DEADLINES_NS;
                self.expire_calls(mono_ns);
            }
            next_ns = next_ns.min(self.next_deadlines_ns);
        }
        // What time brought leaves by the next flush: the turn before it must not wait.
        if self.dirty.is_empty() { next_ns } else { mono_ns }
    }

    fn mark_dirty(&mut self, conn: &mut Conn) {
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(conn.id);
        }
    }

    /// Takes every whole request that has arrived on a connection.
    fn serve(&mut self, conn: &mut Conn) {
        match &mut conn.protocol {
            Protocol::Unknown(_) => {}
            Protocol::Grpc(_) => self.serve_grpc(conn),
            Protocol::Web(_) => self.serve_web(conn),
        }
    }
}
