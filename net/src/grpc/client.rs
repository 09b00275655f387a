//! The client side of one gRPC connection, owned by whoever owns its socket.
//!
//! Order of use as with the server: `start_*`, `handle_bytes`, `poll_event` until None, `poll_transmit`. Every call
//! that was started and not cancelled ends in exactly one `Event::Trailers`, whatever happens to the connection.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::StreamId;
use super::block_cache::BlockCache;
use super::head::{GRPC_CONTENT_TYPE, HeadBuilder, ResponseHead, is_grpc};
use super::limits::MAX_PARKED_CALLS;
use super::message::{Assembler, Framed, PREFIX_BYTES, Refusal, prefix};
use super::metadata::Metadata;
use super::status::{Code, Status};
use crate::h2::hpack::{Decoder, put_indexed, put_literal, put_literal_indexed_name};
use crate::h2::limits::HPACK_TABLE_BYTES;
use crate::h2::{self, Chunk, ConnectionError, Frame, Reader, Reason, Received, Role, Slot, Tail};

#[derive(Clone, Debug)]
pub struct Config {
    /// `http` or `https`.
    pub scheme: &'static str,
    pub user_agent: String,
    /// Largest response message, bytes.
    pub max_message_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        // The message limit is the one of a client that wants whole ranges: far above any server's request limit.
        Config { scheme: "http", user_agent: "grpc-rust-net/1".to_string(), max_message_bytes: 256 << 20 }
    }
}

#[derive(Debug)]
pub enum Event {
    /// Response headers of a streaming call.
    Headers {
        stream: StreamId,
        head: Arc<ResponseHead>,
    },
    Message {
        stream: StreamId,
        message: Bytes,
    },
    /// The call is over.
    Trailers {
        stream: StreamId,
        status: Status,
        trailers: Arc<ResponseHead>,
    },
}

/// Why a connection takes no more calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closed {
    pub reason: Reason,
    pub detail: String,
}

#[derive(Debug, Default)]
struct Call {
    streaming: bool,
    headers_seen: bool,
    /// Our half is closed or will be once what is queued has left.
    send_closed: bool,
    assembler: Assembler,
    /// The request's header block while the call is parked.
    block: Vec<u8>,
}

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
    heads: BlockCache<Arc<ResponseHead>>,
    events: VecDeque<Event>,
    /// Calls above the server's stream limit, oldest first; some may have been cancelled meanwhile.
    waiting: VecDeque<u32>,
    /// The header blocks' parts that never change: before and after the path.
    block_start: Vec<u8>,
    block_end: Vec<u8>,
    scratch: Vec<u8>,
    no_head: Arc<ResponseHead>,
    closed: Option<Closed>,
}

/// HPACK static table.
const AUTHORITY_INDEX: u8 = 1;
const METHOD_POST_INDEX: u8 = 3;
const PATH_INDEX: u8 = 4;
const SCHEME_HTTP_INDEX: u8 = 6;
const SCHEME_HTTPS_INDEX: u8 = 7;
const CONTENT_TYPE_INDEX: u8 = 31;
const USER_AGENT_INDEX: u8 = 58;

impl Connection {
    pub fn new(authority: &str, config: Config) -> Self {
        let mut block_start = Vec::new();
        put_indexed(&mut block_start, METHOD_POST_INDEX);
        put_indexed(&mut block_start, if config.scheme == "https" { SCHEME_HTTPS_INDEX } else { SCHEME_HTTP_INDEX });
        put_literal_indexed_name(&mut block_start, AUTHORITY_INDEX, authority.as_bytes());
        let mut block_end = Vec::new();
        put_literal_indexed_name(&mut block_end, CONTENT_TYPE_INDEX, GRPC_CONTENT_TYPE.as_bytes());
        put_literal_indexed_name(&mut block_end, USER_AGENT_INDEX, config.user_agent.as_bytes());
        put_literal(&mut block_end, b"te", b"trailers");
        Connection {
            reader: Reader::client(),
            calls: Calls {
                config,
                h2: h2::Connection::new(Role::Client, 0),
                hpack: Decoder::new(HPACK_TABLE_BYTES),
                heads: BlockCache::default(),
                events: VecDeque::new(),
                waiting: VecDeque::new(),
                block_start,
                block_end,
                scratch: Vec::new(),
                no_head: Arc::default(),
                closed: None,
            },
        }
    }

    /// Starts a call with one request message.
    pub fn start_unary(&mut self, path: &str, metadata: &Metadata, message: Bytes) -> StreamId {
        let stream = self.calls.start(path, metadata, false);
        if let Some(slot) = self.calls.h2.find(stream.0) {
            self.calls.h2.call(slot).send_closed = true;
            self.calls.h2.send_last(slot, Chunk::prefixed(prefix(message.len()), message));
        }
        stream
    }

    /// Starts a call whose messages follow by `send_message`.
    pub fn start_stream(&mut self, path: &str, metadata: &Metadata) -> StreamId {
        self.calls.start(path, metadata, true)
    }

    /// Sends or queues one message.
    pub fn send_message(&mut self, stream: StreamId, message: Bytes) {
        let Some(slot) = self.calls.h2.find(stream.0) else { return };
        if !self.calls.h2.call(slot).send_closed {
            self.calls.h2.send_chunk(slot, Chunk::prefixed(prefix(message.len()), message));
        }
    }

    /// Half close: the request has all its messages.
    pub fn close_send(&mut self, stream: StreamId) {
        let Some(slot) = self.calls.h2.find(stream.0) else { return };
        if !std::mem::replace(&mut self.calls.h2.call(slot).send_closed, true) {
            self.calls.h2.send_end(slot, Tail::End);
        }
    }

    /// Gives the call up. Events of it that are not polled yet may still come, `Trailers` will not.
    pub fn cancel(&mut self, stream: StreamId) {
        let Some(slot) = self.calls.h2.find(stream.0) else { return };
        self.calls.abandon(slot, Reason::CANCEL);
        self.calls.start_waiting();
    }

    /// Takes received bytes, cut anywhere.
    pub fn handle_bytes(&mut self, mut input: &[u8]) {
        let Connection { reader, calls } = self;
        while calls.h2.failure().is_none() {
            let result = match reader.next(&mut input) {
                Ok(Some(frame)) => calls.on_frame(frame),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                calls.h2.fail(error);
                calls.close(Closed { reason: error.reason, detail: error.detail.to_string() }, 0);
            }
        }
        calls.start_waiting();
    }

    /// The transport is gone: every open call ends as `Unavailable`.
    pub fn handle_disconnect(&mut self, detail: &str) {
        self.calls.h2.fail(ConnectionError::new(Reason::NO_ERROR, "disconnected"));
        self.calls.close(Closed { reason: Reason::NO_ERROR, detail: detail.to_string() }, 0);
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.calls.events.pop_front()
    }

    pub fn has_output(&self) -> bool {
        self.calls.h2.has_output()
    }

    /// Appends up to `max_bytes` to `out`. An empty `out` may be exchanged for the buffer itself.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>, max_bytes: usize) {
        self.calls.h2.poll_transmit(out, max_bytes);
    }

    /// Bytes waiting to be sent, those held back by the peer's windows included.
    pub fn queued_bytes(&self) -> usize {
        self.calls.h2.queued_bytes()
    }

    /// Bytes of message that would leave at once on this stream.
    pub fn send_capacity(&self, stream: StreamId) -> usize {
        match self.calls.h2.find(stream.0) {
            Some(slot) => self.calls.h2.send_capacity(slot).saturating_sub(PREFIX_BYTES),
            None => 0,
        }
    }

    /// Whether a call started now would leave now, by the server's stream limit.
    pub fn has_stream_capacity(&self) -> bool {
        self.calls.closed.is_none() && self.calls.h2.may_unpark()
    }

    /// Calls started and not over, parked ones included.
    pub fn open_calls(&self) -> usize {
        self.calls.h2.streams().len()
    }

    /// Why no new call can be started, once that is so. Calls in flight may still be answered.
    pub fn goaway(&self) -> Option<&Closed> {
        self.calls.closed.as_ref()
    }

    /// Nothing more will come: the connection failed, or it is going away and every call is over.
    pub fn is_closed(&self) -> Option<&Closed> {
        let over = self.calls.h2.failure().is_some() || self.calls.h2.streams().is_empty();
        self.calls.closed.as_ref().filter(|_| over)
    }

    /// Lets time refill the flood budgets. Optional, but then PINGs are bounded by their answers' bytes alone.
    pub fn on_time(&mut self, now_ms: u64) {
        self.calls.h2.on_time(now_ms);
    }
}

impl Calls {
    fn start(&mut self, path: &str, metadata: &Metadata, streaming: bool) -> StreamId {
        let slot = self.h2.open_parked();
        let stream = StreamId(slot.map_or(0, |slot| self.h2.streams()[slot].id));
        let refusal = match (&self.closed, slot) {
            (_, None) => Some("the connection has no stream ids left"),
            (Some(_), _) => Some("the connection is closing"),
            _ if self.waiting.len() >= MAX_PARKED_CALLS => Some("too many calls wait for the server's stream limit"),
            _ => None,
        };
        if let Some(text) = refusal {
            if let Some(slot) = slot {
                self.h2.remove(slot);
            }
            self.push_trailers(stream, Status::new(Code::Unavailable, text), None);
            return stream;
        }
        let slot = slot.expect("a call that is not refused has its stream");
        let block = &mut self.scratch;
        block.clear();
        block.extend_from_slice(&self.block_start);
        put_literal_indexed_name(block, PATH_INDEX, path.as_bytes());
        block.extend_from_slice(&self.block_end);
        for (name, value) in metadata.iter() {
            put_literal(block, name, value);
        }
        self.h2.call(slot).streaming = streaming;
        if self.waiting.is_empty() && self.h2.may_unpark() {
            self.h2.unpark(slot, &self.scratch);
        } else {
            self.h2.call(slot).block = self.scratch.clone();
            self.waiting.push_back(stream.0);
        }
        stream
    }

    /// Lets waiting calls leave, in order: ids on the wire must rise.
    fn start_waiting(&mut self) {
        while !self.waiting.is_empty() && self.h2.may_unpark() && self.h2.failure().is_none() {
            let id = self.waiting.pop_front().expect("not empty");
            if let Some(slot) = self.h2.find(id) {
                let block = std::mem::take(&mut self.h2.call(slot).block);
                self.h2.unpark(slot, &block);
            }
        }
    }

    fn on_frame(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        match self.h2.on_frame(frame)? {
            Received::Headers { stream, block, end_stream } => self.on_headers(stream, block, end_stream),
            Received::Data { slot, data, end_stream } => self.on_data(slot, data, end_stream),
            Received::Reset { slot, reason } => {
                self.end(slot, reset_status(reason), None);
                Ok(())
            }
            Received::GoAway { last_stream, reason, debug } => {
                let detail = String::from_utf8_lossy(debug).into_owned();
                self.close(Closed { reason, detail }, last_stream);
                Ok(())
            }
            Received::Nothing => Ok(()),
        }
    }

    fn on_headers(&mut self, id: u32, block: &[u8], end_stream: bool) -> Result<(), ConnectionError> {
        let before = self.hpack.generation();
        let head = match self.heads.get(block, before) {
            Some(head) => Ok(head.clone()),
            None => {
                let mut builder = HeadBuilder::default();
                self.hpack.decode(block, |name, value| builder.field(name, value))?;
                builder.into_response().map(Arc::new).inspect(|head| {
                    self.heads.put(block, before, self.hpack.generation(), head.clone());
                })
            }
        };
        let Some(slot) = self.h2.find(id) else { return self.h2.check_not_idle(id) };
        let Ok(head) = head else {
            self.give_up(slot, Status::new(Code::Internal, "malformed response headers"));
            return Ok(());
        };
        if end_stream {
            self.h2.close_remote(slot);
            self.on_trailers(slot, head);
            return Ok(());
        }
        let call = self.h2.call(slot);
        if (100..200).contains(&head.http_status) {
            return Ok(());
        }
        if std::mem::replace(&mut call.headers_seen, true) {
            self.give_up(slot, Status::new(Code::Internal, "trailers without the end of the stream"));
        } else if head.http_status != 200 || !is_grpc(&head.content_type) {
            self.give_up(slot, not_grpc_status(&head));
        } else if call.streaming {
            self.events.push_back(Event::Headers { stream: StreamId(id), head });
        }
        Ok(())
    }

    fn on_trailers(&mut self, slot: Slot, head: Arc<ResponseHead>) {
        let call = self.h2.call(slot);
        let status = match &head.status {
            Some(status) if status.is_ok() && call.assembler.held_bytes() > 0 => {
                Status::new(Code::Internal, "the response ended inside a message")
            }
            Some(status) => status.clone(),
            None if head.http_status != 0 => not_grpc_status(&head),
            None => Status::new(Code::Internal, "the response has no grpc-status"),
        };
        self.end(slot, status, Some(head));
    }

    fn on_data(&mut self, slot: Slot, mut data: &[u8], end_stream: bool) -> Result<(), ConnectionError> {
        let stream = StreamId(self.h2.streams()[slot].id);
        let max_bytes = self.config.max_message_bytes;
        let call = self.h2.call(slot);
        if !call.headers_seen {
            self.give_up(slot, Status::new(Code::Internal, "response body before its headers"));
            return Ok(());
        }
        while !data.is_empty() {
            match call.assembler.next(&mut data, max_bytes) {
                Ok(Some(Framed { packed: false, body })) => {
                    self.events.push_back(Event::Message { stream, message: body });
                }
                Ok(None) => break,
                // No encoding was offered, so none may come.
                refused @ (Ok(Some(_)) | Err(_)) => {
                    let status = refused.err().unwrap_or(Refusal::Compressed).status(None);
                    self.give_up(slot, status);
                    return Ok(());
                }
            }
        }
        if end_stream {
            self.end(slot, Status::new(Code::Internal, "the server ended the stream without trailers"), None);
        }
        Ok(())
    }

    /// No call above `last_stream` will be answered, and no new one is taken.
    fn close(&mut self, closed: Closed, last_stream: u32) {
        let text = format!("the connection is closed: {} {}", closed.reason, closed.detail);
        // The first reason is the cause, later ones are consequences; but a plain GOAWAY may be followed by a real one.
        if self.closed.as_ref().is_none_or(|earlier| earlier.reason == Reason::NO_ERROR) {
            self.closed = Some(closed);
        }
        let gone: Vec<Slot> =
            self.h2.streams().open().filter(|slot| self.h2.streams()[*slot].id > last_stream).collect();
        for slot in gone {
            self.end(slot, Status::new(Code::Unavailable, text.clone()), None);
        }
    }

    /// Ends a call on our own judgement.
    fn give_up(&mut self, slot: Slot, status: Status) {
        let stream = StreamId(self.h2.streams()[slot].id);
        self.abandon(slot, Reason::CANCEL);
        self.push_trailers(stream, status, None);
    }

    /// Ends a call the server has ended.
    fn end(&mut self, slot: Slot, status: Status, trailers: Option<Arc<ResponseHead>>) {
        let open = &self.h2.streams()[slot];
        let stream = StreamId(open.id);
        if open.remote_closed && !open.local_closed {
            self.abandon(slot, Reason::NO_ERROR);
        } else {
            self.h2.remove(slot);
        }
        self.push_trailers(stream, status, trailers);
    }

    fn abandon(&mut self, slot: Slot, reason: Reason) {
        if self.h2.streams()[slot].parked {
            self.h2.remove(slot);
        } else {
            self.h2.reset(slot, reason);
        }
    }

    fn push_trailers(&mut self, stream: StreamId, status: Status, trailers: Option<Arc<ResponseHead>>) {
        self.h2.count_work();
        let trailers = trailers.unwrap_or_else(|| self.no_head.clone());
        self.events.push_back(Event::Trailers { stream, status, trailers });
    }
}

/// The status of a call the server reset, as gRPC's HTTP/2 mapping has it.
fn reset_status(reason: Reason) -> Status {
    let code = match reason {
        Reason::REFUSED_STREAM => Code::Unavailable,
        Reason::CANCEL => Code::Canceled,
        Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    };
    Status::new(code, format!("stream terminated by RST_STREAM with error code: {reason}"))
}

/// The status of an answer that is not gRPC's.
fn not_grpc_status(head: &ResponseHead) -> Status {
    let code = Code::from_http(head.http_status);
    let text = format!("unexpected HTTP status {} with content-type \"{}\"", head.http_status, head.content_type);
    Status::new(code, text)
}
