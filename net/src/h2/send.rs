//! The outgoing half of a connection: formed frames wait in one buffer, bodies that may not leave yet wait in their
//! stream. A frame is formed only when it is about to leave, so a peer that does not read costs no copies.

use std::collections::VecDeque;

use bytes::Bytes;

use super::connection::{Connection, Role};
use super::error::{ConnectionError, Reason};
use super::frame::{self, flag, kind};
use super::limits::{
    FAIR_RESERVE_BYTES, INLINE_BODY_BYTES, MAX_FRAME_BYTES, MAX_IDLE_BUFFER_BYTES, MAX_QUEUED_CONTROL_BYTES,
    OUTGOING_HIGH_WATER_BYTES,
};
use super::streams::Slot;

/// Bytes of body waiting in a stream. `lead` is room for the length prefix of the layer above, so that a shared
/// message need not be copied to put five bytes before it.
#[derive(Debug)]
pub struct Chunk {
    lead: [u8; LEAD_BYTES],
    lead_sent: u8,
    body: Body,
    /// Bytes of memory the chunk keeps until it is gone.
    held_bytes: usize,
}

#[derive(Debug)]
enum Body {
    Ready(Bytes),
    Formed { left: usize, source: Box<dyn Source> },
}

/// A body that is formed while it leaves, so that a large one never is in memory as a whole.
pub trait Source: std::fmt::Debug + Send {
    /// Appends the next `len` bytes to `out`; never asked for more than there are.
    fn fill(&mut self, out: &mut Vec<u8>, len: usize);
    /// Bytes of memory it holds for as long as it lives.
    fn held_bytes(&self) -> usize;
}

/// Bytes of a chunk's prefix.
pub const LEAD_BYTES: usize = 5;

impl Chunk {
    pub fn prefixed(lead: [u8; LEAD_BYTES], body: Bytes) -> Self {
        Chunk { lead, lead_sent: 0, held_bytes: body.len(), body: Body::Ready(body) }
    }

    pub fn plain(body: Bytes) -> Self {
        Chunk { lead: [0; LEAD_BYTES], lead_sent: LEAD_BYTES as u8, held_bytes: body.len(), body: Body::Ready(body) }
    }

    /// `len` bytes that `source` forms when they are wanted.
    pub fn formed(lead: [u8; LEAD_BYTES], len: usize, source: Box<dyn Source>) -> Self {
        Chunk { lead, lead_sent: 0, held_bytes: source.held_bytes(), body: Body::Formed { left: len, source } }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Bytes not sent yet.
    pub fn left(&self) -> usize {
        let body = match &self.body {
            Body::Ready(body) => body.len(),
            Body::Formed { left, .. } => *left,
        };
        LEAD_BYTES - self.lead_sent as usize + body
    }

    /// Moves up to `want` bytes out of the chunk; returns how many.
    fn take_into(&mut self, out: &mut Vec<u8>, want: usize) -> usize {
        let lead = &self.lead[self.lead_sent as usize..];
        let lead_len = lead.len().min(want);
        out.extend_from_slice(&lead[..lead_len]);
        self.lead_sent += lead_len as u8;
        let want = want - lead_len;
        lead_len
            + match &mut self.body {
                Body::Ready(body) => {
                    let len = want.min(body.len());
                    out.extend_from_slice(&body[..len]);
                    bytes::Buf::advance(body, len);
                    len
                }
                Body::Formed { left, source } => {
                    let len = want.min(*left);
                    let before = out.len();
                    source.fill(out, len);
                    assert_eq!(out.len() - before, len, "a source forms what it is asked for");
                    *left -= len;
                    len
                }
            }
    }
}

/// How our side of a stream ends once its pending bytes are gone.
#[derive(Clone, Debug)]
pub enum Tail {
    None,
    End,
    Trailers(Bytes),
}

/// Formed frames, waiting to be taken.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub buf: Vec<u8>,
    start: usize,
    control_bytes: usize,
}

impl Outbox {
    pub fn len(&self) -> usize {
        self.buf.len() - self.start
    }

    /// Writes a frame the peer made us write. One that provokes them and does not read is cut off.
    pub fn control(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Result<(), ConnectionError> {
        let before = self.buf.len();
        put(&mut self.buf);
        self.control_bytes += self.buf.len() - before;
        if self.control_bytes > MAX_QUEUED_CONTROL_BYTES {
            return Err(ConnectionError::calm("too many control frames not read"));
        }
        Ok(())
    }

    fn drain_into(&mut self, out: &mut Vec<u8>, max_bytes: usize) {
        let len = self.len().min(max_bytes);
        if len == 0 {
            return;
        }
        if out.is_empty() && self.start == 0 && len == self.buf.len() {
            std::mem::swap(out, &mut self.buf);
        } else {
            out.extend_from_slice(&self.buf[self.start..self.start + len]);
            self.start += len;
            // The rest moves to the front once it is the smaller part: without that a buffer that never is quite empty grows
            // by everything that ever passes through it.
            if self.start >= self.len() {
                self.buf.drain(..self.start);
                self.start = 0;
            }
        }
        if self.buf.is_empty() && self.buf.capacity() > MAX_IDLE_BUFFER_BYTES {
            self.buf = Vec::new();
        }
        self.control_bytes = self.control_bytes.saturating_sub(len);
    }
}

impl<S: Default> Connection<S> {
    /// Whether `poll_transmit` would yield bytes now.
    pub fn has_output(&self) -> bool {
        self.outbox.len() > 0 || (self.send_window > 0 && !self.sendable.is_empty())
    }

    /// Bytes of memory that answers hold while windows keep them back.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Bytes waiting to leave: formed frames and bodies held back by windows.
    pub fn queued_bytes(&self) -> usize {
        self.outbox.len() + self.pending_bytes
    }

    /// Appends up to `max_bytes` to `out`.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>, max_bytes: usize) {
        while self.outbox.len() < max_bytes && self.send_window > 0 {
            let Some(id) = self.sendable.pop_front() else { break };
            let slot = self.streams.find(id).expect("a removed stream leaves the line");
            self.streams[slot].queued = false;
            self.emit_frame(slot);
        }
        self.outbox.drain_into(out, max_bytes);
    }

    /// Forms one DATA frame from the head of a stream's pending bytes and puts the stream back in line, or ends it.
    fn emit_frame(&mut self, slot: Slot) {
        let stream = &mut self.streams[slot];
        let room = stream.send_window.min(self.send_window).clamp(0, MAX_FRAME_BYTES as i64) as usize;
        let len = room.min(stream.pending_bytes);
        assert!(len > 0 && !stream.parked, "a stream in line can send");
        let last = len == stream.pending_bytes;
        let flags = if last && matches!(stream.tail, Tail::End) { flag::END_STREAM } else { 0 };
        self.keepalive.spoke();
        let out = &mut self.outbox.buf;
        out.extend_from_slice(&frame::header(len, kind::DATA, flags, stream.id));
        let mut left = len;
        while left > 0 {
            let chunk = stream.pending.front_mut().expect("pending_bytes counts the chunks");
            left -= chunk.take_into(out, left);
            if chunk.left() == 0 {
                self.held_bytes -= chunk.held_bytes();
                stream.pending.pop_front();
            }
        }
        stream.pending_bytes -= len;
        stream.send_window -= len as i64;
        self.pending_bytes -= len;
        self.send_window -= len as i64;
        if !last {
            self.make_sendable(slot);
        } else if flags != 0 {
            self.finish_local(slot);
        } else {
            self.send_tail(slot);
        }
    }

    /// Puts a stream in line if it has something to send and may.
    pub(super) fn make_sendable(&mut self, slot: Slot) {
        let stream = &mut self.streams[slot];
        if !stream.queued && !stream.parked && stream.pending_bytes > 0 && stream.send_window > 0 {
            stream.queued = true;
            self.sendable.push_back(stream.id);
        }
    }

    /// Header block now, ahead of any body. The stream's other headers must have left.
    pub fn send_headers(&mut self, slot: Slot, block: &[u8], end_stream: bool) {
        let stream = &self.streams[slot];
        assert!(!stream.local_closed && !stream.parked);
        assert!(stream.pending_bytes == 0 || !end_stream);
        let id = stream.id;
        self.put_headers(id, block, end_stream);
        if end_stream {
            self.finish_local(slot);
        }
    }

    fn put_headers(&mut self, id: u32, block: &[u8], end_stream: bool) {
        self.keepalive.spoke();
        if self.owes_table_update {
            // The peer shrank its HPACK table: the next block must say that we follow. We use none at all.
            self.owes_table_update = false;
            let mut with_update = vec![0x20];
            with_update.extend_from_slice(block);
            frame::put_headers(&mut self.outbox.buf, id, &with_update, end_stream);
            return;
        }
        frame::put_headers(&mut self.outbox.buf, id, block, end_stream);
    }

    /// Whether `len` body bytes may go straight into the outgoing buffer.
    #[inline]
    pub fn can_inline(&self, slot: Slot, len: usize) -> bool {
        let stream = &self.streams[slot];
        let reserve = if self.sendable.is_empty() { 0 } else { FAIR_RESERVE_BYTES };
        len <= INLINE_BODY_BYTES
            && stream.pending_bytes == 0
            && !stream.parked
            && !self.owes_table_update
            && stream.send_window >= len as i64
            && self.send_window - reserve >= len as i64
    }

    /// The whole answer of a call in one go: HEADERS, one DATA frame of `len` bytes that `write` fills, trailers.
    /// Only after `can_inline(slot, len)`.
    #[inline]
    pub fn send_whole(
        &mut self,
        slot: Slot,
        head: &[u8],
        len: usize,
        write: impl FnOnce(&mut Vec<u8>),
        trailers: &[u8],
    ) {
        let stream = &mut self.streams[slot];
        assert!(!stream.local_closed && len > 0);
        stream.send_window -= len as i64;
        self.send_window -= len as i64;
        self.keepalive.spoke();
        let id = stream.id;
        let out = &mut self.outbox.buf;
        out.reserve(3 * frame::HEADER_BYTES + head.len() + len + trailers.len());
        frame::put_headers(out, id, head, false);
        out.extend_from_slice(&frame::header(len, kind::DATA, 0, id));
        let before = out.len();
        write(out);
        assert_eq!(out.len() - before, len, "the announced length is the written one");
        frame::put_headers(out, id, trailers, true);
        self.finish_local(slot);
    }

    /// Sends or queues a chunk of body; the stream stays open on our side.
    pub fn send_chunk(&mut self, slot: Slot, mut chunk: Chunk) {
        let len = chunk.left();
        assert!(!self.streams[slot].local_closed && matches!(self.streams[slot].tail, Tail::None));
        if len == 0 {
            return;
        }
        if self.can_inline(slot, len) {
            let stream = &mut self.streams[slot];
            stream.send_window -= len as i64;
            self.send_window -= len as i64;
            self.keepalive.spoke();
            self.outbox.buf.extend_from_slice(&frame::header(len, kind::DATA, 0, stream.id));
            chunk.take_into(&mut self.outbox.buf, len);
            return;
        }
        self.held_bytes += chunk.held_bytes();
        let stream = &mut self.streams[slot];
        stream.pending.push_back(chunk);
        stream.pending_bytes += len;
        self.pending_bytes += len;
        self.make_sendable(slot);
    }

    /// Sends or queues the last chunk of body, END_STREAM on its last frame.
    pub fn send_last(&mut self, slot: Slot, mut chunk: Chunk) {
        let len = chunk.left();
        if len == 0 || !self.can_inline(slot, len) {
            self.send_chunk(slot, chunk);
            self.send_end(slot, Tail::End);
            return;
        }
        let stream = &mut self.streams[slot];
        assert!(!stream.local_closed && matches!(stream.tail, Tail::None));
        stream.send_window -= len as i64;
        self.send_window -= len as i64;
        self.keepalive.spoke();
        self.outbox.buf.extend_from_slice(&frame::header(len, kind::DATA, flag::END_STREAM, stream.id));
        chunk.take_into(&mut self.outbox.buf, len);
        self.finish_local(slot);
    }

    /// Ends our side of the stream after everything pending.
    pub fn send_end(&mut self, slot: Slot, tail: Tail) {
        let stream = &mut self.streams[slot];
        assert!(!stream.local_closed && matches!(stream.tail, Tail::None));
        stream.tail = tail;
        if stream.pending_bytes == 0 && !stream.parked {
            self.send_tail(slot);
        }
    }

    pub(super) fn send_tail(&mut self, slot: Slot) {
        let stream = &mut self.streams[slot];
        let id = stream.id;
        match std::mem::replace(&mut stream.tail, Tail::None) {
            Tail::None => return,
            Tail::End => {
                self.outbox.buf.extend_from_slice(&frame::header(0, kind::DATA, flag::END_STREAM, id));
            }
            Tail::Trailers(block) => self.put_headers(id, &block, true),
        }
        self.finish_local(slot);
    }

    /// Our END_STREAM left. A server is then done with the stream: a client still talking is told to stop.
    fn finish_local(&mut self, slot: Slot) {
        let stream = &mut self.streams[slot];
        stream.local_closed = true;
        let (id, remote_closed) = (stream.id, stream.remote_closed);
        match self.role {
            Role::Server => {
                if !remote_closed {
                    frame::put_reset(&mut self.outbox.buf, id, Reason::NO_ERROR);
                }
                self.remove(slot);
            }
            // The layer above removes a client's stream when the answer has ended.
            Role::Client => {}
        }
    }

    /// Forgets a stream, its queued bytes included.
    pub fn remove(&mut self, slot: Slot) -> S {
        let stream = &self.streams[slot];
        if stream.pending_bytes > 0 {
            self.pending_bytes -= stream.pending_bytes;
            self.held_bytes -= stream.pending.iter().map(Chunk::held_bytes).sum::<usize>();
        }
        if stream.queued {
            let id = stream.id;
            self.sendable.retain(|waiting| *waiting != id);
        }
        if stream.parked {
            self.parked_count -= 1;
        }
        self.streams.remove(slot)
    }

    /// RST_STREAM and forget.
    pub fn reset(&mut self, slot: Slot, reason: Reason) -> S {
        frame::put_reset(&mut self.outbox.buf, self.streams[slot].id, reason);
        self.remove(slot)
    }

    /// Body bytes that would leave at once. None while the connection's backlog is above its high water mark.
    pub fn send_capacity(&self, slot: Slot) -> usize {
        let stream = &self.streams[slot];
        if self.is_congested() || stream.parked || stream.local_closed {
            return 0;
        }
        let window = stream.send_window.min(self.send_window).max(0) as usize;
        let backlog = OUTGOING_HIGH_WATER_BYTES - self.outbox.len();
        window.min(backlog).saturating_sub(stream.pending_bytes)
    }

    /// Whether so many formed bytes wait that producing more would only fill memory.
    pub fn is_congested(&self) -> bool {
        self.outbox.len() >= OUTGOING_HIGH_WATER_BYTES
    }
}

/// The line of streams that may send.
pub(super) type SendLine = VecDeque<u32>;
