//! The server side of one gRPC connection, owned by whoever owns its socket.
//!
//! Order of use: `handle_bytes` with what was received, `poll_event` until None, `respond_*`/`send_*` in any order and
//! at any later time, `poll_transmit` while `has_output`. Answers to streams that are gone are dropped silently: the
//! peer may cancel at any moment. A peer's fault never surfaces as an error here; it becomes RST_STREAM or GOAWAY.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::StreamId;
use super::block_cache::BlockCache;
use super::gzip;
use super::head::{GRPC_CONTENT_TYPE, HeadBuilder, HeadFault, RequestHead, is_grpc};
use super::limits::{MAX_BUFFERED_REQUEST_BYTES, MAX_UNFINISHED_HEAD_BYTES};
use super::message::{Assembler, Framed, PREFIX_BYTES, Refusal, not_installed, packed_prefix, prefix};
use super::status::{Code, Status, encode_message};
use crate::h2::hpack::{Decoder, put_indexed, put_literal, put_literal_indexed_name};
use crate::h2::keepalive::Rules;
use crate::h2::limits::HPACK_TABLE_BYTES;
use crate::h2::{self, Accepted, Chunk, ConnectionError, Frame, Reader, Reason, Received, Role, Slot, Source, Tail};

/// How a call is delivered to the owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallKind {
    /// One `Event::Unary` with the whole request.
    Unary,
    /// `Event::Open`, then messages as they come.
    Stream,
}

#[derive(Clone, Debug)]
pub struct Config {
    /// Largest request message (and largest body of a plain HTTP request), bytes.
    pub max_message_bytes: usize,
    /// Streams a client may have open; further ones are refused.
    pub max_concurrent_streams: u32,
    /// Whether requests that are not gRPC reach the owner as `Event::Http`, instead of 415.
    pub accept_http: bool,
    /// Probing of silent clients, and how often they may probe us; None for neither. Needs `on_time`.
    pub keepalive: Option<Rules>,
    /// Kind of a call, from its head alone. The result is remembered with the head.
    pub classify: fn(&RequestHead) -> CallKind,
}

/// What the owner has to do.
#[derive(Debug)]
pub enum Event {
    /// A whole unary request: exactly one message and the end of the stream.
    Unary {
        stream: StreamId,
        head: Arc<RequestHead>,
        message: Bytes,
    },
    Open {
        stream: StreamId,
        head: Arc<RequestHead>,
    },
    Message {
        stream: StreamId,
        message: Bytes,
    },
    /// The client has said everything.
    End {
        stream: StreamId,
    },
    /// The call is gone: cancelled, or refused by this layer. Answers to it lead nowhere. `tag` is what the owner gave it.
    Reset {
        stream: StreamId,
        tag: u64,
    },
    /// A whole request that is not gRPC, for `respond_http`.
    Http {
        stream: StreamId,
        head: Arc<RequestHead>,
        body: Bytes,
    },
}

/// What a header block asks for.
struct Request {
    head: Arc<RequestHead>,
    route: Route,
    /// Bytes of memory that no other call shares.
    own_bytes: usize,
}

/// What is done with a request, from its head alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Call(CallKind),
    Http,
    Refuse(u16),
    NotInstalled,
    /// Its time was over before it came.
    Expired,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Phase {
    #[default]
    Unary,
    Stream,
    Http,
    /// The last word is said or queued; what the client still sends is dropped.
    Answered,
}

/// One call. Its `accounted` bytes are part of the connection's `buffered_bytes`.
#[derive(Debug, Default)]
struct Call {
    phase: Phase,
    /// The owner has had an event of this stream, so it must hear of its end.
    told: bool,
    headers_sent: bool,
    /// The client compresses, so it is answered in kind.
    gzip: bool,
    /// A HEAD request: it is answered without a body.
    is_head: bool,
    head: Option<Arc<RequestHead>>,
    /// What the head adds to the connection's `head_bytes`.
    head_bytes: u32,
    assembler: Assembler,
    /// A unary call's message, waiting for the end of the stream.
    message: Option<Bytes>,
    http_body: Vec<u8>,
    received_bytes: u64,
    accounted: usize,
    /// The owner's name for the call.
    tag: u64,
}

impl Call {
    /// From content-length, while this layer has the head.
    fn announced(&self) -> Option<u64> {
        self.head.as_ref()?.content_length
    }

    fn held_bytes(&self) -> usize {
        self.assembler.held_bytes() + self.message.as_ref().map_or(0, Bytes::len) + self.http_body.len()
    }
}

/// `:status: 200`, `content-type: application/grpc`.
const OK_HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// The same with `grpc-encoding: gzip`.
const OK_GZIP_HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc\x00\x0dgrpc-encoding\x04gzip";
/// `grpc-status: 0`.
const OK_TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";
/// Names in HPACK's static table.
const STATUS_INDEX: u8 = 8;
const STATUS_200_INDEX: u8 = 8;
const CONTENT_TYPE_INDEX: u8 = 31;

/// Events an idle connection keeps room for.
const EVENTS_KEPT: usize = 4;

#[derive(Debug)]
pub struct Connection {
    reader: Reader,
    calls: Calls,
}

/// Everything but the reader: frames borrow from that while they are handled.
#[derive(Debug)]
struct Calls {
    config: Config,
    h2: h2::Connection<Call>,
    hpack: Decoder,
    heads: BlockCache<(Arc<RequestHead>, Route)>,
    events: VecDeque<Event>,
    buffered_bytes: usize,
    /// Bytes of heads, not shared with others, that wait for the rest of their request.
    head_bytes: usize,
}

impl Connection {
    pub fn new(config: Config) -> Self {
        let mut h2 = h2::Connection::new(Role::Server, config.max_concurrent_streams);
        h2.set_keepalive(config.keepalive);
        Connection {
            reader: Reader::server(),
            calls: Calls {
                h2,
                config,
                hpack: Decoder::new(HPACK_TABLE_BYTES),
                heads: BlockCache::default(),
                events: VecDeque::new(),
                buffered_bytes: 0,
                head_bytes: 0,
            },
        }
    }

    /// Takes received bytes, cut anywhere. Nothing is read any more once the connection has failed.
    pub fn handle_bytes(&mut self, mut input: &[u8]) {
        let Connection { reader, calls } = self;
        calls.h2.heard();
        while calls.h2.failure().is_none() {
            let result = match reader.next(&mut input) {
                Ok(Some(frame)) => calls.on_frame(frame),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                calls.h2.fail(error);
            }
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.calls.events.pop_front()
    }

    /// Events not polled yet.
    pub fn events_waiting(&self) -> usize {
        self.calls.events.len()
    }

    /// Answers a unary call: headers, one message of `encoded_len` bytes that `encode` appends, status OK.
    #[inline]
    pub fn respond_unary(&mut self, stream: StreamId, encoded_len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let calls = &mut self.calls;
        let Some(slot) = calls.unanswered(stream) else { return };
        calls.h2.count_work();
        calls.close_call(slot);
        let framed_len = PREFIX_BYTES + encoded_len;
        let call = calls.h2.call(slot);
        if !call.headers_sent && !call.gzip && calls.h2.can_inline(slot, framed_len) {
            let write = |out: &mut Vec<u8>| {
                out.extend_from_slice(&prefix(encoded_len));
                encode(out);
            };
            calls.h2.send_whole(slot, OK_HEAD, framed_len, write, OK_TRAILERS);
            return;
        }
        calls.send_head(slot);
        let mut body = Vec::with_capacity(encoded_len);
        encode(&mut body);
        assert_eq!(body.len(), encoded_len, "the announced length is the written one");
        calls.send_body(slot, Bytes::from(body));
        calls.h2.send_end(slot, Tail::Trailers(Bytes::from_static(OK_TRAILERS)));
    }

    /// The same for a large answer: `source` forms its `encoded_len` bytes piece by piece, as the client takes them.
    pub fn respond_unary_from(&mut self, stream: StreamId, encoded_len: usize, mut source: Box<dyn Source>) {
        let calls = &mut self.calls;
        let Some(slot) = calls.unanswered(stream) else { return };
        calls.h2.count_work();
        calls.close_call(slot);
        calls.send_head(slot);
        if calls.h2.call(slot).gzip && gzip::is_worth_packing(encoded_len) {
            let mut body = Vec::with_capacity(encoded_len);
            source.fill(&mut body, encoded_len);
            calls.send_body(slot, Bytes::from(body));
        } else {
            calls.h2.send_chunk(slot, Chunk::formed(prefix(encoded_len), encoded_len, source));
        }
        calls.h2.send_end(slot, Tail::Trailers(Bytes::from_static(OK_TRAILERS)));
    }

    /// Ends a call of any kind with a status and no further message.
    pub fn respond_error(&mut self, stream: StreamId, status: &Status) {
        self.finish(stream, status);
    }

    /// Sends the response headers of a streaming call ahead of its first message.
    pub fn send_headers(&mut self, stream: StreamId) {
        if let Some(slot) = self.calls.unanswered(stream) {
            self.calls.send_head(slot);
        }
    }

    /// Sends or queues one message of a streaming call. What exceeds `send_capacity` waits in memory: ask first.
    pub fn send_message(&mut self, stream: StreamId, message: Bytes) {
        let Some(slot) = self.calls.unanswered(stream) else { return };
        self.calls.send_head(slot);
        self.calls.send_body(slot, message);
    }

    /// Ends a call after everything queued for it.
    pub fn finish(&mut self, stream: StreamId, status: &Status) {
        if let Some(slot) = self.calls.unanswered(stream) {
            self.calls.h2.count_work();
            self.calls.end_with(slot, status);
        }
    }

    /// Names a call for its owner: `Event::Reset` brings the name back, `tags` lists it.
    #[inline]
    pub fn set_tag(&mut self, stream: StreamId, tag: u64) {
        if let Some(slot) = self.calls.unanswered(stream) {
            self.calls.h2.call(slot).tag = tag;
        }
    }

    /// Names of the calls not answered yet, those without one left out.
    pub fn tags(&self) -> impl Iterator<Item = u64> + '_ {
        let streams = self.calls.h2.streams();
        let unanswered = streams.open().map(|slot| &streams[slot].call).filter(|call| call.phase != Phase::Answered);
        unanswered.map(|call| call.tag).filter(|tag| *tag != 0)
    }

    /// Bytes of message that would leave at once. 0 for streams that are gone.
    pub fn send_capacity(&self, stream: StreamId) -> usize {
        match self.calls.h2.find(stream.0) {
            Some(slot) => self.calls.h2.send_capacity(slot).saturating_sub(PREFIX_BYTES),
            None => 0,
        }
    }

    /// Changes whenever the peer may have given some stream more send capacity.
    pub fn capacity_epoch(&self) -> u64 {
        self.calls.h2.capacity_epoch()
    }

    /// Answers an `Event::Http`. `content-length` is added; header names are lower case.
    pub fn respond_http(&mut self, stream: StreamId, status: u16, headers: &[(&str, &str)], body: Bytes) {
        let Some(slot) = self.calls.unanswered(stream) else { return };
        let mut block = Vec::with_capacity(128);
        put_status(&mut block, status);
        for (name, value) in headers {
            put_literal(&mut block, name.as_bytes(), value.as_bytes());
        }
        if !headers.iter().any(|(name, _)| *name == "content-length") {
            put_literal(&mut block, b"content-length", body.len().to_string().as_bytes());
        }
        self.calls.h2.count_work();
        self.calls.close_call(slot);
        if body.is_empty() || self.calls.h2.call(slot).is_head {
            self.calls.h2.send_headers(slot, &block, true);
        } else {
            self.calls.h2.send_headers(slot, &block, false);
            self.calls.h2.send_last(slot, Chunk::plain(body));
        }
    }

    #[inline]
    pub fn has_output(&self) -> bool {
        self.calls.h2.has_output()
    }

    /// Appends up to `max_bytes` to `out`. An empty `out` may be exchanged for the buffer itself.
    #[inline]
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>, max_bytes: usize) {
        self.calls.h2.poll_transmit(out, max_bytes);
    }

    /// Bytes waiting to be sent, those held back by the peer's windows included.
    pub fn queued_bytes(&self) -> usize {
        self.calls.h2.queued_bytes()
    }

    /// Bytes of memory held by answers that the peer's windows keep back.
    pub fn held_bytes(&self) -> usize {
        self.calls.h2.held_bytes()
    }

    /// The peer does not read its answers: stop reading its requests until this is false.
    pub fn is_congested(&self) -> bool {
        self.calls.h2.is_congested()
    }

    /// Nothing more will come of this connection: close it once the output is flushed.
    pub fn should_close(&self) -> bool {
        self.calls.h2.should_close()
    }

    /// The client did not answer a probe: close at once, nothing that is queued can reach it.
    pub fn is_gone(&self) -> bool {
        self.calls.h2.is_gone()
    }

    /// Why the connection failed, if the peer broke the protocol.
    pub fn failure(&self) -> Option<ConnectionError> {
        self.calls.h2.failure()
    }

    /// Begins a graceful close: no new calls, those open are finished. Called again, it stops waiting for the client's
    /// acknowledgement.
    pub fn drain(&mut self) {
        self.calls.h2.drain();
    }

    /// Lets time refill the flood budgets and watches over keepalive, at any rate, and before `handle_bytes` for exact
    /// times of PINGs. Optional, but then PINGs are bounded by their answers' bytes alone, nobody is probed, and resets
    /// and the like are forgiven by answers only.
    pub fn on_time(&mut self, now_ms: u64) {
        self.calls.h2.on_time(now_ms);
        if let Err(error) = self.reader.on_time(now_ms) {
            self.calls.h2.fail(error);
        }
    }

    /// Gives back buffers that hold nothing now; worth a call from time to time on connections that may be idle.
    pub fn trim(&mut self) {
        self.calls.h2.trim();
        self.reader.trim();
        if self.calls.events.is_empty() {
            self.calls.events.shrink_to(EVENTS_KEPT);
        }
    }

    /// Calls open on this connection.
    pub fn open_calls(&self) -> usize {
        self.calls.h2.streams().len()
    }

    /// Bytes of unfinished requests held, cut frames included.
    pub fn buffered_bytes(&self) -> usize {
        self.calls.buffered_bytes + self.reader.held_bytes()
    }
}

impl Calls {
    #[inline]
    fn on_frame(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        match self.h2.on_frame(frame)? {
            Received::Headers { stream, block, end_stream } => self.on_headers(stream, block, end_stream),
            Received::Data { slot, data, end_stream } => self.on_data(slot, data, end_stream),
            Received::Reset { slot, .. } => self.on_reset(slot),
            Received::GoAway { .. } | Received::Nothing => Ok(()),
        }
    }

    #[inline]
    fn on_headers(&mut self, id: u32, block: &[u8], end_stream: bool) -> Result<(), ConnectionError> {
        if let Some(slot) = self.h2.find(id) {
            return self.on_trailers(slot, block, end_stream);
        }
        let request = self.read_head(block)?;
        let slot = match self.h2.accept(id)? {
            Accepted::New(slot) => slot,
            Accepted::Refused => return Ok(()),
            // Late trailers of a call that is over. A whole request here would be a second use of the stream.
            Accepted::Stale if matches!(request, Err(HeadFault::Malformed | HeadFault::TooLarge)) => return Ok(()),
            Accepted::Stale => return Err(ConnectionError::protocol("request on a used stream")),
        };
        if end_stream {
            self.h2.close_remote(slot);
        }
        let Request { head, route, own_bytes } = match request {
            Ok(request) => request,
            Err(HeadFault::Malformed) => return self.stream_error(slot, Reason::PROTOCOL_ERROR),
            Err(HeadFault::TooLarge) => {
                self.refuse_http(slot, 431, &Status::new(Code::ResourceExhausted, "header list too large"));
                return Ok(());
            }
            Err(HeadFault::Refused(text)) => {
                self.refuse_http(slot, 400, &Status::new(Code::Internal, text));
                return Ok(());
            }
        };
        self.open_call(slot, StreamId(id), head, route);
        // A refusal answers at once, and a stream that both sides have ended is gone by now.
        if !matches!(route, Route::Call(_) | Route::Http) {
            return Ok(());
        }
        if end_stream {
            return self.on_end(slot, StreamId(id));
        }
        if matches!(route, Route::Call(CallKind::Stream)) {
            // Its head is the owner's now.
            return Ok(());
        }
        self.h2.call(slot).head_bytes = u32::try_from(own_bytes).expect("a header list is far below 4 GiB");
        self.head_bytes += own_bytes;
        if self.head_bytes > MAX_UNFINISHED_HEAD_BYTES {
            self.refuse(slot, StreamId(id), &too_much_unfinished());
        }
        Ok(())
    }

    /// The request of a header block, decoded or remembered.
    #[inline]
    fn read_head(&mut self, block: &[u8]) -> Result<Result<Request, HeadFault>, ConnectionError> {
        let before = self.hpack.generation();
        if let Some((head, route)) = self.heads.get(block, before) {
            return Ok(Ok(Request { head: head.clone(), route: *route, own_bytes: 0 }));
        }
        let mut builder = HeadBuilder::default();
        self.hpack.decode(block, |name, value| builder.field(name, value))?;
        if builder.is_bomb() {
            return Err(ConnectionError::calm("header list far too large"));
        }
        let head = match builder.into_request() {
            Ok(head) => Arc::new(head),
            Err(fault) => return Ok(Err(fault)),
        };
        let route = self.route(&head);
        self.heads.put(block, before, self.hpack.generation(), (head.clone(), route));
        let own_bytes = size_of::<RequestHead>() + head.metadata.held_bytes();
        Ok(Ok(Request { head, route, own_bytes }))
    }

    fn route(&self, head: &RequestHead) -> Route {
        if !is_grpc(&head.content_type) {
            return if self.config.accept_http { Route::Http } else { Route::Refuse(415) };
        }
        if head.method != "POST" {
            return Route::Refuse(405);
        }
        // Go's grpc refuses by the announced encoding, before it sees whether a message is compressed.
        if head.encoding.as_deref().is_some_and(|e| e != "identity" && e != gzip::NAME && !e.is_empty()) {
            return Route::NotInstalled;
        }
        if head.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Route::Expired;
        }
        Route::Call((self.config.classify)(head))
    }

    #[inline]
    fn open_call(&mut self, slot: Slot, stream: StreamId, head: Arc<RequestHead>, route: Route) {
        let call = self.h2.call(slot);
        call.gzip = head.encoding.as_deref() == Some(gzip::NAME);
        match route {
            Route::Call(CallKind::Unary) => call.head = Some(head),
            Route::Call(CallKind::Stream) => {
                call.phase = Phase::Stream;
                call.told = true;
                self.events.push_back(Event::Open { stream, head });
            }
            Route::Http => {
                call.phase = Phase::Http;
                call.is_head = head.method == "HEAD";
                call.head = Some(head);
            }
            Route::Refuse(http_status) => {
                let text = match http_status {
                    405 => format!("Received a HEADERS frame with :method \"{}\" which should be POST", head.method),
                    _ => format!("invalid gRPC request content-type \"{}\"", head.content_type),
                };
                let code = if http_status == 405 { Code::Internal } else { Code::InvalidArgument };
                self.refuse_http(slot, http_status, &Status::new(code, text));
            }
            Route::Expired => self.end_with(slot, &Status::deadline_exceeded()),
            Route::NotInstalled => self.end_with(slot, &not_installed(head.encoding.as_deref().unwrap_or_default())),
        }
    }

    fn on_trailers(&mut self, slot: Slot, block: &[u8], end_stream: bool) -> Result<(), ConnectionError> {
        let mut builder = HeadBuilder::default();
        self.hpack.decode(block, |name, value| builder.field(name, value))?;
        let stream = &self.h2.streams()[slot];
        let id = StreamId(stream.id);
        if stream.remote_closed {
            return self.stream_error(slot, Reason::STREAM_CLOSED);
        }
        if builder.into_trailers().is_err() || !end_stream {
            return self.stream_error(slot, Reason::PROTOCOL_ERROR);
        }
        self.h2.close_remote(slot);
        self.on_end(slot, id)
    }

    #[inline]
    fn on_data(&mut self, slot: Slot, mut data: &[u8], end_stream: bool) -> Result<(), ConnectionError> {
        let stream = StreamId(self.h2.streams()[slot].id);
        let call = self.h2.call(slot);
        call.received_bytes += data.len() as u64;
        let refused = match call.phase {
            Phase::Answered => return Ok(()),
            Phase::Http => self.take_http_body(slot, data),
            Phase::Unary | Phase::Stream => self.take_messages(slot, stream, &mut data),
        };
        if let Err(status) = refused {
            self.refuse(slot, stream, &status);
            return Ok(());
        }
        if end_stream {
            return self.on_end(slot, stream);
        }
        let call = self.h2.call(slot);
        if call.announced().is_some_and(|len| len < call.received_bytes) {
            return self.stream_error(slot, Reason::PROTOCOL_ERROR);
        }
        let held = call.held_bytes();
        let before = std::mem::replace(&mut call.accounted, held);
        self.buffered_bytes = self.buffered_bytes - before + held;
        if self.buffered_bytes > MAX_BUFFERED_REQUEST_BYTES {
            self.refuse(slot, stream, &too_much_unfinished());
        }
        Ok(())
    }

    /// Cuts messages out of one DATA frame.
    #[inline]
    fn take_messages(&mut self, slot: Slot, stream: StreamId, data: &mut &[u8]) -> Result<(), Status> {
        let max_bytes = self.config.max_message_bytes;
        let call = self.h2.call(slot);
        while !data.is_empty() {
            let message = call.assembler.next(data, max_bytes).map_err(|refusal| refusal.status(None))?;
            let Some(Framed { packed, body: message }) = message else { break };
            let message = match packed {
                false => message,
                true if call.gzip => gzip::unpack(&message, max_bytes)?,
                // Only encodings that can be undone, or none, come this far.
                true => return Err(Refusal::Compressed.status(None)),
            };
            if call.phase == Phase::Stream {
                self.events.push_back(Event::Message { stream, message });
            } else if call.message.replace(message).is_some() {
                return Err(Status::new(Code::Internal, "more than one message in a unary request"));
            }
        }
        Ok(())
    }

    fn take_http_body(&mut self, slot: Slot, data: &[u8]) -> Result<(), Status> {
        let max_bytes = self.config.max_message_bytes;
        let body = &mut self.h2.call(slot).http_body;
        if body.len() + data.len() > max_bytes {
            return Err(Status::new(Code::ResourceExhausted, "request body too large"));
        }
        body.extend_from_slice(data);
        Ok(())
    }

    /// The client has said everything.
    #[inline]
    fn on_end(&mut self, slot: Slot, stream: StreamId) -> Result<(), ConnectionError> {
        let call = self.h2.call(slot);
        if call.announced().is_some_and(|len| len != call.received_bytes) && call.phase != Phase::Answered {
            return self.stream_error(slot, Reason::PROTOCOL_ERROR);
        }
        self.buffered_bytes -= std::mem::take(&mut call.accounted);
        self.head_bytes -= std::mem::take(&mut call.head_bytes) as usize;
        match call.phase {
            Phase::Answered => {}
            Phase::Unary | Phase::Stream if call.assembler.held_bytes() > 0 => {
                self.refuse(slot, stream, &Status::new(Code::Internal, "unexpected EOF"));
            }
            Phase::Stream => self.events.push_back(Event::End { stream }),
            Phase::Unary => match call.message.take() {
                None => self.refuse(slot, stream, &Status::new(Code::Internal, "no message in a unary request")),
                Some(message) => {
                    call.told = true;
                    let head = call.head.take().expect("an unanswered call has its head");
                    self.events.push_back(Event::Unary { stream, head, message });
                }
            },
            Phase::Http => {
                call.told = true;
                let body = Bytes::from(std::mem::take(&mut call.http_body));
                let head = call.head.take().expect("an unanswered call has its head");
                self.events.push_back(Event::Http { stream, head, body });
            }
        }
        Ok(())
    }

    fn stream_error(&mut self, slot: Slot, reason: Reason) -> Result<(), ConnectionError> {
        self.h2.stream_error(slot, reason)?;
        self.on_reset(slot)
    }

    /// The stream is over, by the peer's will or fault.
    fn on_reset(&mut self, slot: Slot) -> Result<(), ConnectionError> {
        let stream = StreamId(self.h2.streams()[slot].id);
        let call = self.h2.remove(slot);
        self.buffered_bytes -= call.accounted;
        self.head_bytes -= call.head_bytes as usize;
        if call.phase == Phase::Answered {
            return Ok(());
        }
        if call.told {
            self.events.push_back(Event::Reset { stream, tag: call.tag });
        }
        // A streaming call whose answer has begun ends by a reset in the normal course of things.
        if call.headers_sent { Ok(()) } else { self.h2.count_unanswered_reset() }
    }

    /// The place of a call that can still be answered.
    #[inline]
    fn unanswered(&mut self, stream: StreamId) -> Option<Slot> {
        if self.h2.failure().is_some() {
            return None;
        }
        let slot = self.h2.find(stream.0)?;
        (self.h2.call(slot).phase != Phase::Answered).then_some(slot)
    }

    /// From here on the client's bytes are dropped, and so is what was held of them.
    #[inline]
    fn close_call(&mut self, slot: Slot) {
        let call = self.h2.call(slot);
        call.phase = Phase::Answered;
        self.buffered_bytes -= std::mem::take(&mut call.accounted);
        self.head_bytes -= std::mem::take(&mut call.head_bytes) as usize;
        call.message = None;
        call.head = None;
        if call.assembler.held_bytes() > 0 {
            call.assembler = Assembler::default();
        }
        call.http_body = Vec::new();
    }

    fn send_head(&mut self, slot: Slot) {
        let call = self.h2.call(slot);
        let head = if call.gzip { OK_GZIP_HEAD } else { OK_HEAD };
        if !std::mem::replace(&mut call.headers_sent, true) {
            self.h2.send_headers(slot, head, false);
        }
    }

    /// One message, in the encoding of the call.
    fn send_body(&mut self, slot: Slot, body: Bytes) {
        if self.h2.call(slot).gzip && gzip::is_worth_packing(body.len()) {
            let packed = gzip::pack(&body);
            self.h2.send_chunk(slot, Chunk::prefixed(packed_prefix(packed.len()), packed));
        } else {
            self.h2.send_chunk(slot, Chunk::prefixed(prefix(body.len()), body));
        }
    }

    /// Refuses a request by this layer; an owner that knows the call must forget it.
    fn refuse(&mut self, slot: Slot, stream: StreamId, status: &Status) {
        let call = self.h2.call(slot);
        let (told, http, tag) = (call.told, call.phase == Phase::Http, call.tag);
        if http {
            self.refuse_http(slot, 413, status);
        } else {
            self.end_with(slot, status);
        }
        if told {
            self.events.push_back(Event::Reset { stream, tag });
        }
    }

    /// Trailers, or all in one HEADERS frame if none left before.
    fn end_with(&mut self, slot: Slot, status: &Status) {
        self.close_call(slot);
        if self.h2.call(slot).headers_sent {
            let trailers = if *status == Status::OK {
                Bytes::from_static(OK_TRAILERS)
            } else {
                let mut block = Vec::new();
                put_grpc_status(&mut block, status);
                Bytes::from(block)
            };
            self.h2.send_end(slot, Tail::Trailers(trailers));
        } else {
            self.refuse_http(slot, 200, status);
        }
    }

    fn refuse_http(&mut self, slot: Slot, http_status: u16, status: &Status) {
        self.close_call(slot);
        let mut block = Vec::with_capacity(128);
        put_status(&mut block, http_status);
        put_literal_indexed_name(&mut block, CONTENT_TYPE_INDEX, GRPC_CONTENT_TYPE.as_bytes());
        put_grpc_status(&mut block, status);
        self.h2.send_headers(slot, &block, true);
    }
}

fn too_much_unfinished() -> Status {
    Status::new(Code::ResourceExhausted, "too many unfinished requests on one connection")
}

fn put_status(block: &mut Vec<u8>, http_status: u16) {
    match http_status {
        200 => put_indexed(block, STATUS_200_INDEX),
        _ => put_literal_indexed_name(block, STATUS_INDEX, http_status.to_string().as_bytes()),
    }
}

fn put_grpc_status(block: &mut Vec<u8>, status: &Status) {
    put_literal(block, b"grpc-status", status.code.number().to_string().as_bytes());
    if !status.message.is_empty() {
        put_literal(block, b"grpc-message", &encode_message(&status.message));
    }
}
