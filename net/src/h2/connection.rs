//! One HTTP/2 connection, either side: settings, windows, stream states, floods, GOAWAY. Fed with frames, it answers
//! what the protocol answers by itself and passes up what the layer above must know.
//!
//! `S` is that layer's state of a stream. Header blocks go up undecoded: they must be decoded even when their stream
//! is gone, or the two sides' HPACK tables part.

use super::error::{ConnectionError, Reason};
use super::flood::{Budgets, Flood};
use super::flow::RecvWindow;
use super::frame::{self, MAX_STREAM_ID, PREFACE, setting};
use super::keepalive::{Due, Keepalive, PROBE, Rules};
use super::limits::{
    CONNECTION_WINDOW_BYTES, HPACK_TABLE_BYTES, MAX_FRAME_BYTES, MAX_HEADER_LIST_BYTES, MAX_HELD_ANSWER_BYTES,
    MAX_WINDOW_BYTES, SETTINGS_MS_MAX, STREAM_WINDOW_BYTES, STREAMS_BEFORE_SETTINGS,
};
use super::reader::Frame;
use super::send::{Outbox, SendLine};
use super::streams::{Slot, Streams};
use crate::stage::StageClock;

/// The protocol's window before any SETTINGS, bytes.
const DEFAULT_WINDOW_BYTES: i64 = 65_535;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Server,
    Client,
}

/// What a frame means to the layer above.
#[derive(Debug)]
pub enum Received<'a> {
    Nothing,
    /// Must be decoded in any case. The stream may be new, open or gone.
    Headers {
        stream: u32,
        block: &'a [u8],
        end_stream: bool,
    },
    Data {
        slot: Slot,
        data: &'a [u8],
        end_stream: bool,
    },
    /// The peer, or a fault of the peer, ended this stream; the layer above must `remove` it.
    Reset {
        slot: Slot,
        reason: Reason,
    },
    /// No stream of ours above `last_stream` was or will be looked at.
    GoAway {
        last_stream: u32,
        reason: Reason,
        debug: &'a [u8],
    },
}

/// Answer to a HEADERS frame that is not on an open stream.
#[derive(Debug)]
pub enum Accepted {
    New(Slot),
    /// Refused: nothing to do beyond what was done.
    Refused,
    /// The stream was used before, or passed over: fine for trailers that come late, not for a request.
    Stale,
}

/// How far a graceful close has come (servers).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Drain {
    No,
    /// GOAWAY without a limit and a PING left; its ack proves that the client saw the GOAWAY.
    Announced,
    /// The final GOAWAY named this stream.
    Final {
        last_stream: u32,
    },
}

const DRAIN_PING: [u8; 8] = *b"draining";

#[derive(Debug)]
pub struct Connection<S> {
    pub(super) role: Role,
    pub(super) streams: Streams<S>,
    pub(super) outbox: Outbox,
    /// Streams with pending bytes and an open window, in turn.
    pub(super) sendable: SendLine,
    pub(super) pending_bytes: usize,
    pub(super) held_bytes: usize,
    pub(super) send_window: i64,
    pub(super) budgets: Budgets,
    pub(super) owes_table_update: bool,
    pub(super) parked_count: usize,
    pub(super) keepalive: Keepalive,
    recv: RecvWindow,
    max_concurrent_streams: u32,
    last_peer_stream: u32,
    next_local_stream: u32,
    peer_initial_window: i64,
    peer_max_streams: u32,
    settings_seen: bool,
    drain: Drain,
    peer_goaway: bool,
    failure: Option<ConnectionError>,
    /// The peer stopped answering: not even what is queued can reach it.
    gone: bool,
    capacity_epoch: u64,
    begin: StageClock<bool>,
}

impl<S: Default> Connection<S> {
    pub fn new(role: Role, max_concurrent_streams: u32) -> Self {
        let mut outbox = Outbox::default();
        let out = &mut outbox.buf;
        let mut settings = vec![
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
            (setting::MAX_HEADER_LIST_SIZE, MAX_HEADER_LIST_BYTES as u32),
        ];
        match role {
            Role::Server => settings.push((setting::MAX_CONCURRENT_STREAMS, max_concurrent_streams)),
            Role::Client => {
                out.extend_from_slice(PREFACE);
                settings.push((setting::ENABLE_PUSH, 0));
            }
        }
        frame::put_settings(out, &settings);
        frame::put_window_update(out, 0, CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES as u32);
        Connection {
            role,
            streams: Streams::new(),
            outbox,
            sendable: SendLine::new(),
            pending_bytes: 0,
            held_bytes: 0,
            send_window: DEFAULT_WINDOW_BYTES,
            budgets: Budgets::default(),
            owes_table_update: false,
            parked_count: 0,
            keepalive: Keepalive::new(None),
            recv: RecvWindow::new(CONNECTION_WINDOW_BYTES),
            max_concurrent_streams,
            last_peer_stream: 0,
            next_local_stream: 1,
            peer_initial_window: DEFAULT_WINDOW_BYTES,
            peer_max_streams: STREAMS_BEFORE_SETTINGS,
            settings_seen: false,
            drain: Drain::No,
            peer_goaway: false,
            failure: None,
            gone: false,
            capacity_epoch: 0,
            begin: StageClock::default(),
        }
    }

    /// What is expected of the peer as time passes (`on_time`).
    pub fn set_keepalive(&mut self, rules: Option<Rules>) {
        self.keepalive = Keepalive::new(rules);
    }

    #[inline]
    pub fn find(&self, stream: u32) -> Option<Slot> {
        self.streams.find(stream)
    }

    pub fn streams(&self) -> &Streams<S> {
        &self.streams
    }

    #[inline]
    pub fn call(&mut self, slot: Slot) -> &mut S {
        &mut self.streams[slot].call
    }

    /// Everything a frame does at this level.
    #[inline]
    pub fn on_frame<'a>(&mut self, frame: Frame<'a>) -> Result<Received<'a>, ConnectionError> {
        if !self.settings_seen {
            if !matches!(frame, Frame::Settings { ack: false, .. }) {
                return Err(ConnectionError::protocol("first frame was not SETTINGS"));
            }
            self.settings_seen = true;
        }
        match frame {
            Frame::Headers { stream, block, end_stream } => Ok(Received::Headers { stream, block, end_stream }),
            Frame::Data { stream, data, flow_len, end_stream } => self.on_data(stream, data, flow_len, end_stream),
            Frame::WindowUpdate { stream, increment } => self.on_window_update(stream, increment),
            Frame::Reset { stream, reason } => self.on_reset(stream, reason),
            Frame::Settings { ack, payload } => self.on_settings(ack, payload),
            Frame::Ping { ack, payload } => self.on_ping(ack, payload),
            Frame::GoAway { last_stream, reason, debug } => {
                self.peer_goaway = true;
                Ok(Received::GoAway { last_stream, reason, debug })
            }
            Frame::Malformed { stream, reason } => match self.find(stream) {
                Some(slot) => self.stream_error(slot, reason),
                // A stream that is not open cannot be reset; a fault of one may be answered as the connection's.
                None => Err(ConnectionError::new(reason, "malformed frame")),
            },
            Frame::Ignored => Ok(Received::Nothing),
        }
    }

    #[inline]
    fn on_data<'a>(
        &mut self,
        id: u32,
        data: &'a [u8],
        flow_len: u32,
        end_stream: bool,
    ) -> Result<Received<'a>, ConnectionError> {
        if !self.recv.receive(flow_len) {
            return Err(ConnectionError::flow("connection window exceeded"));
        }
        // Given back at once: what a layer above buffers is bounded there, by bytes it refuses to keep.
        if let Some(increment) = self.recv.update_due() {
            self.outbox.control(|out| frame::put_window_update(out, 0, increment))?;
        }
        let Some(slot) = self.streams.find(id) else {
            self.check_not_idle(id)?;
            return Ok(Received::Nothing);
        };
        let stream = &mut self.streams[slot];
        if stream.remote_closed {
            return self.stream_error(slot, Reason::STREAM_CLOSED);
        }
        if !stream.recv.receive(flow_len) {
            return self.stream_error(slot, Reason::FLOW_CONTROL_ERROR);
        }
        if end_stream {
            stream.remote_closed = true;
        } else {
            if let Some(increment) = stream.recv.update_due() {
                self.outbox.control(|out| frame::put_window_update(out, id, increment))?;
            }
            if data.is_empty() {
                self.budgets.spend(Flood::EmptyData)?;
            }
        }
        Ok(Received::Data { slot, data, end_stream })
    }

    /// A frame on a stream that was never opened condemns the connection; on one that is gone it is late, no more.
    pub fn check_not_idle(&self, id: u32) -> Result<(), ConnectionError> {
        let idle = match self.role {
            Role::Server => id.is_multiple_of(2) || id > self.last_peer_stream,
            Role::Client => id.is_multiple_of(2) || id >= self.next_local_stream,
        };
        if idle { Err(ConnectionError::protocol("frame on an idle stream")) } else { Ok(()) }
    }

    /// The peer broke the rules of one stream: told so, counted, and passed up for removal.
    pub fn stream_error(&mut self, slot: Slot, reason: Reason) -> Result<Received<'static>, ConnectionError> {
        let id = self.streams[slot].id;
        self.refuse(id, reason)?;
        Ok(Received::Reset { slot, reason })
    }

    /// RST_STREAM provoked by the peer. Costs it budget: provoking resets is as cheap a flood as sending them.
    pub fn refuse(&mut self, id: u32, reason: Reason) -> Result<(), ConnectionError> {
        self.budgets.spend(Flood::Reset)?;
        self.outbox.control(|out| frame::put_reset(out, id, reason))
    }

    /// Costs the peer one reset: it cancelled a call that was not answered.
    pub fn count_unanswered_reset(&mut self) -> Result<(), ConnectionError> {
        self.budgets.spend(Flood::Reset)
    }

    /// Real work was done: a call answered by the owner, a message received. It earns back budget; refusals by the
    /// layer above do not count.
    #[inline]
    pub fn count_work(&mut self) {
        self.budgets.progress();
    }

    fn on_reset<'a>(&mut self, id: u32, reason: Reason) -> Result<Received<'a>, ConnectionError> {
        match self.streams.find(id) {
            Some(slot) => Ok(Received::Reset { slot, reason }),
            None => {
                self.check_not_idle(id)?;
                Ok(Received::Nothing)
            }
        }
    }

    fn on_window_update<'a>(&mut self, id: u32, increment: u32) -> Result<Received<'a>, ConnectionError> {
        self.capacity_epoch += 1;
        if id == 0 {
            if increment == 0 {
                return Err(ConnectionError::protocol("window update of 0"));
            }
            self.send_window += i64::from(increment);
            if self.send_window > MAX_WINDOW_BYTES {
                return Err(ConnectionError::flow("connection window overflow"));
            }
            return Ok(Received::Nothing);
        }
        let Some(slot) = self.streams.find(id) else {
            self.check_not_idle(id)?;
            return Ok(Received::Nothing);
        };
        if increment == 0 {
            return self.stream_error(slot, Reason::PROTOCOL_ERROR);
        }
        let stream = &mut self.streams[slot];
        stream.send_window += i64::from(increment);
        if stream.send_window > MAX_WINDOW_BYTES {
            return self.stream_error(slot, Reason::FLOW_CONTROL_ERROR);
        }
        self.make_sendable(slot);
        Ok(Received::Nothing)
    }

    fn on_settings<'a>(&mut self, ack: bool, payload: &[u8]) -> Result<Received<'a>, ConnectionError> {
        self.budgets.spend(Flood::Settings)?;
        if ack {
            return Ok(Received::Nothing);
        }
        // Walking all streams once per entry would let one frame cost millions of steps: only the last value counts.
        let mut initial_window = self.peer_initial_window;
        for entry in payload.chunks_exact(6) {
            let id = u16::from_be_bytes([entry[0], entry[1]]);
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            match id {
                setting::HEADER_TABLE_SIZE if (value as usize) < HPACK_TABLE_BYTES => self.owes_table_update = true,
                setting::ENABLE_PUSH if value > 1 => return Err(ConnectionError::protocol("ENABLE_PUSH above 1")),
                setting::MAX_CONCURRENT_STREAMS => self.peer_max_streams = value,
                setting::INITIAL_WINDOW_SIZE => {
                    initial_window = i64::from(value);
                    if initial_window > MAX_WINDOW_BYTES {
                        return Err(ConnectionError::flow("INITIAL_WINDOW_SIZE too large"));
                    }
                }
                setting::MAX_FRAME_SIZE if !(MAX_FRAME_BYTES as u32..1 << 24).contains(&value) => {
                    return Err(ConnectionError::protocol("MAX_FRAME_SIZE out of range"));
                }
                _ => {}
            }
        }
        self.outbox.control(frame::put_settings_ack)?;
        if initial_window != self.peer_initial_window {
            self.shift_windows(initial_window)?;
        }
        self.capacity_epoch += 1;
        Ok(Received::Nothing)
    }

    fn shift_windows(&mut self, initial_window: i64) -> Result<(), ConnectionError> {
        let delta = initial_window - self.peer_initial_window;
        self.peer_initial_window = initial_window;
        // The line is formed anew: windows that closed leave it, those that opened join.
        self.sendable.clear();
        let slots: Vec<Slot> = self.streams.open().collect();
        for slot in slots {
            let stream = &mut self.streams[slot];
            stream.queued = false;
            stream.send_window += delta;
            if stream.send_window > MAX_WINDOW_BYTES {
                return Err(ConnectionError::flow("stream window overflow by SETTINGS"));
            }
            self.make_sendable(slot);
        }
        Ok(())
    }

    fn on_ping<'a>(&mut self, ack: bool, payload: [u8; 8]) -> Result<Received<'a>, ConnectionError> {
        self.budgets.spend(Flood::Ping)?;
        if !ack {
            self.outbox.control(|out| frame::put_ping(out, payload, true))?;
            self.keepalive.on_ping(!self.streams.is_empty())?;
        } else if payload == DRAIN_PING && self.drain == Drain::Announced {
            self.finish_drain();
        }
        Ok(Received::Nothing)
    }

    /// A peer's HEADERS on a stream that is not open (servers).
    pub fn accept(&mut self, id: u32) -> Result<Accepted, ConnectionError> {
        assert!(self.role == Role::Server);
        if id.is_multiple_of(2) {
            return Err(ConnectionError::protocol("client stream with an even id"));
        }
        if id <= self.last_peer_stream {
            return Ok(Accepted::Stale);
        }
        self.last_peer_stream = id;
        if matches!(self.drain, Drain::Final { .. }) {
            return Ok(Accepted::Refused);
        }
        if self.streams.len() >= self.max_concurrent_streams as usize || self.held_bytes > MAX_HELD_ANSWER_BYTES {
            self.refuse(id, Reason::REFUSED_STREAM)?;
            return Ok(Accepted::Refused);
        }
        let slot = self.streams.insert(id, self.peer_initial_window);
        Ok(Accepted::New(slot))
    }

    /// A stream of ours (clients), parked until `unpark`. None once ids have run out.
    pub fn open_parked(&mut self) -> Option<Slot> {
        assert!(self.role == Role::Client);
        if self.next_local_stream > MAX_STREAM_ID {
            return None;
        }
        let slot = self.streams.insert(self.next_local_stream, self.peer_initial_window);
        self.next_local_stream += 2;
        self.streams[slot].parked = true;
        self.parked_count += 1;
        Some(slot)
    }

    /// Whether the peer's stream limit has room for one more (clients).
    pub fn may_unpark(&self) -> bool {
        self.streams.len() - self.parked_count < self.peer_max_streams as usize && !self.peer_goaway
    }

    /// The stream's HEADERS leave, and what was queued behind them may follow.
    pub fn unpark(&mut self, slot: Slot, block: &[u8]) {
        let stream = &mut self.streams[slot];
        assert!(stream.parked);
        stream.parked = false;
        self.parked_count -= 1;
        self.send_headers(slot, block, false);
        if self.streams[slot].pending_bytes > 0 {
            self.make_sendable(slot);
        } else {
            self.send_tail(slot);
        }
    }

    /// Peer END_STREAM seen in HEADERS.
    pub fn close_remote(&mut self, slot: Slot) {
        self.streams[slot].remote_closed = true;
    }

    /// Ends the connection: GOAWAY with the reason, nothing is read or queued any more.
    pub fn fail(&mut self, error: ConnectionError) {
        if self.failure.is_none() {
            self.failure = Some(error);
            frame::put_goaway(&mut self.outbox.buf, self.last_peer_stream, error.reason, error.detail);
        }
    }

    pub fn failure(&self) -> Option<ConnectionError> {
        self.failure
    }

    /// Begins a graceful close; called again, it stops waiting for the client to notice.
    pub fn drain(&mut self) {
        match self.drain {
            Drain::No => {
                self.drain = Drain::Announced;
                frame::put_goaway(&mut self.outbox.buf, MAX_STREAM_ID, Reason::NO_ERROR, "");
                frame::put_ping(&mut self.outbox.buf, DRAIN_PING, false);
            }
            Drain::Announced => self.finish_drain(),
            Drain::Final { .. } => {}
        }
    }

    fn finish_drain(&mut self) {
        let last_stream = self.last_peer_stream;
        self.drain = Drain::Final { last_stream };
        frame::put_goaway(&mut self.outbox.buf, last_stream, Reason::NO_ERROR, "");
    }

    /// Nothing more will come of this connection: close it once the output is flushed.
    pub fn should_close(&self) -> bool {
        let ending = self.peer_goaway || matches!(self.drain, Drain::Final { .. });
        self.failure.is_some() || (ending && self.streams.is_empty())
    }

    /// Changes whenever some stream's send capacity may have grown through the peer.
    pub fn capacity_epoch(&self) -> u64 {
        self.capacity_epoch
    }

    /// Lets time refill the flood budgets, and probes a peer that has been silent for long.
    pub fn on_time(&mut self, now_ms: u64) {
        self.budgets.on_time(now_ms);
        if !self.settings_seen && self.begin.lasted_ms(false, now_ms) >= SETTINGS_MS_MAX {
            self.fail(ConnectionError::protocol("SETTINGS took too long"));
        }
        match self.keepalive.on_time(now_ms) {
            Due::Nothing => {}
            Due::Probe => frame::put_ping(&mut self.outbox.buf, PROBE, false),
            Due::Gone => {
                self.gone = true;
                self.fail(ConnectionError::new(Reason::NO_ERROR, "keepalive ping not acked within timeout"));
            }
        }
    }

    /// Gives back the outgoing buffer while nothing is in it.
    pub fn trim(&mut self) {
        if self.outbox.len() == 0 {
            self.outbox.buf = Vec::new();
        }
    }

    /// Bytes came from the peer, whatever they say.
    #[inline]
    pub fn heard(&mut self) {
        self.keepalive.heard();
    }

    /// The peer does not answer any more: close without waiting for output to leave.
    pub fn is_gone(&self) -> bool {
        self.gone
    }
}
