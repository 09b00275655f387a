//! The server's side of one HTTP/1.1 connection. Owned by the core that accepted it. A request is handed out only after
//! the one before it was answered: answers can then never go to the wrong request, and pipelined requests keep their
//! order. After a request that could not be read nothing further on that connection is believed.

use super::body::{Announced, BodyDecoder, Piece, announced};
use super::head::{HeadParser, Headers, Reject, StartLine, is_field_byte, is_token, parse_version, reject};
use super::{Limits, reason_phrase};
use crate::stage::StageClock;
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::collections::VecDeque;

/// The first line of a request. Positions count from the start of the head block.
#[derive(Clone, Debug)]
struct RequestLine {
    method: (u32, u32),
    target: (u32, u32),
    minor: u8,
    is_head: bool,
}

impl StartLine for RequestLine {
    fn parse(line: &[u8]) -> Result<Self, Reject> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(reject(400, "malformed request line"));
        };
        if !is_token(method) {
            return Err(reject(400, "malformed method"));
        }
        // Version before target: a later protocol may have targets of another shape.
        let minor = parse_version(version)?;
        if method == b"CONNECT" {
            return Err(reject(501, "CONNECT is not served"));
        }
        let is_shaped = match target.first() {
            Some(b'/') => true,
            Some(b'*') => target.len() == 1 && method == b"OPTIONS",
            _ => absolute_path_start(target).is_some(),
        };
        if !is_shaped || !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return Err(reject(400, "malformed request target"));
        }
        let at = |offset: usize| u32::try_from(offset).expect("a head is far below 4 GiB");
        let target_start = method.len() + 1;
        Ok(RequestLine {
            method: (0, at(method.len())),
            target: (at(target_start), at(target_start + target.len())),
            minor,
            is_head: method == b"HEAD",
        })
    }
}

/// Where the path begins in `http://authority/path`; the length of the target when it has no path.
fn absolute_path_start(target: &[u8]) -> Option<usize> {
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.len() > scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme))?;
    let authority = &target[scheme.len()..];
    let len = authority.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(authority.len());
    (len > 0).then_some(scheme.len() + len)
}

/// A complete request. Holds the head as one block; everything is a view of it.
#[derive(Clone, Debug)]
pub struct Request {
    line: RequestLine,
    pub headers: Headers,
    pub body: Bytes,
    /// Whether the client lets the connection live on after the answer.
    pub keep_alive: bool,
}

impl Request {
    fn text(&self, range: (u32, u32)) -> &str {
        // Checked as ASCII when the line was read, so the fallback never shows.
        std::str::from_utf8(self.headers.slice(range)).unwrap_or("")
    }

    pub fn method(&self) -> &str {
        self.text(self.line.method)
    }

    /// As the client wrote it: `/path?query`, `http://host/path?query` or `*`.
    pub fn target(&self) -> &str {
        self.text(self.line.target)
    }

    /// The path, percent-encoding left in place; `/` for a full URL without one.
    pub fn path(&self) -> &str {
        match self.path_and_query().split('?').next() {
            None | Some("") => "/",
            Some(path) => path,
        }
    }

    /// What follows the first `?`.
    pub fn query(&self) -> Option<&str> {
        self.path_and_query().split_once('?').map(|(_, query)| query)
    }

    fn path_and_query(&self) -> &str {
        let target = self.target();
        if target.starts_with('/') { target } else { &target[absolute_path_start(target.as_bytes()).unwrap_or(0)..] }
    }

    /// The minor version: 0 or 1.
    pub fn minor_version(&self) -> u8 {
        self.line.minor
    }

    fn bytes(&self) -> usize {
        self.headers.block_len() + self.body.len()
    }
}

/// An answer. `Content-Length` is added; `Connection: close` among the headers ends the connection after it.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    pub body: Bytes,
}

impl Response {
    pub fn new(status: u16) -> Self {
        Response { status, ..Response::default() }
    }

    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    fn wants_close(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("connection")
                && value.split(',').any(|token| token.trim().eq_ignore_ascii_case("close"))
        })
    }
}

#[derive(Debug)]
enum State {
    Head(HeadParser<RequestLine>),
    Body {
        request: Request,
        decoder: BodyDecoder,
        body: BytesMut,
    },
    /// Nothing further is read: the client announced its last request, or sent something unreadable.
    Stopped,
}

/// The request that was handed out and waits for `respond`.
#[derive(Debug)]
struct InService {
    is_head: bool,
    minor: u8,
    keep_alive: bool,
    bytes: usize,
}

/// What the client is to do next, for the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Begin a request, some time.
    Idle,
    /// Finish a head.
    Head,
    /// Finish a body.
    Body,
    /// Nothing: it is our turn.
    Busy,
}

/// One connection. Feed `handle_bytes`; then alternate `poll_request` and `respond` until `poll_request` answers
/// `None`; then send what `poll_transmit` gives, call `poll_request` again after it (it pauses while much output
/// waits), and close once `should_close`. Closing while the client still sends can make its kernel throw our last
/// answer away: after `should_close` the caller shuts down its sending side and reads on for a moment.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    input: BytesMut,
    state: State,
    waiting: VecDeque<Request>,
    waiting_bytes: usize,
    in_service: Option<InService>,
    /// The answer to the request that could not be read, owed after the answers to those before it.
    refusal: Option<(Reject, bool)>,
    /// `100 Continue` is owed to the request being read, after the answers to those before it.
    continue_owed: bool,
    closing: bool,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    /// Heads read so far: tells one slow request from many quick ones.
    requests_begun: u64,
    stage: StageClock<(Stage, u64)>,
}

impl Connection {
    pub fn new(limits: Limits) -> Self {
        assert!(limits.pipelined_requests_max > 0 && limits.pipelined_bytes_max > 0 && limits.output_bytes_max > 0);
        Connection {
            limits,
            input: BytesMut::new(),
            state: State::Head(HeadParser::default()),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            in_service: None,
            refusal: None,
            continue_owed: false,
            closing: false,
            output: VecDeque::new(),
            output_bytes: 0,
            requests_begun: 0,
            stage: StageClock::default(),
        }
    }

    /// Lets time pass: a request that takes too long is refused, and a connection without one is closed.
    pub fn on_time(&mut self, now_ms: u64) {
        let stage = self.stage_now();
        let lasted_ms = self.stage.lasted_ms((stage, self.requests_begun), now_ms);
        match stage {
            Stage::Busy => {}
            Stage::Idle if lasted_ms >= self.limits.idle_ms_max => self.close(),
            Stage::Head if lasted_ms >= self.limits.head_ms_max => self.give_up("the header took too long"),
            Stage::Body if lasted_ms >= self.limits.body_ms_max => self.give_up("the body took too long"),
            Stage::Idle | Stage::Head | Stage::Body => {}
        }
    }

    fn stage_now(&self) -> Stage {
        match &self.state {
            State::Head(parser) if self.input.is_empty() && parser.start_line().is_none() => {
                if self.unanswered_requests() == 0 && !self.has_output() { Stage::Idle } else { Stage::Busy }
            }
            State::Head(_) => Stage::Head,
            State::Body { .. } => Stage::Body,
            State::Stopped => Stage::Busy,
        }
    }

    fn give_up(&mut self, reason: &'static str) {
        self.refuse(reject(408, reason));
        self.flush_owed();
    }

    /// Takes bytes off the wire, however they were cut.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Stopped) {
            return;
        }
        self.input.extend_from_slice(bytes);
        loop {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(refused) => {
                    self.refuse(refused);
                    break;
                }
            }
        }
        self.flush_owed();
    }

    /// The next request, once the one before it was answered.
    pub fn poll_request(&mut self) -> Option<Request> {
        if self.in_service.is_some() || self.output_bytes >= self.limits.output_bytes_max {
            return None;
        }
        let request = self.waiting.pop_front()?;
        let bytes = request.bytes();
        self.waiting_bytes -= bytes;
        let RequestLine { is_head, minor, .. } = request.line;
        self.in_service = Some(InService { is_head, minor, keep_alive: request.keep_alive, bytes });
        Some(request)
    }

    /// Answers the request that `poll_request` handed out last. Without one it is a programmer error.
    pub fn respond(&mut self, response: &Response) {
        let served = self.in_service.take().expect("an answer needs a request in service");
        let close = !served.keep_alive || response.wants_close();
        self.write(response, served.is_head, served.minor, close);
        if close {
            self.close();
        } else {
            self.flush_owed();
        }
    }

    pub fn has_output(&self) -> bool {
        self.output_bytes > 0
    }

    /// Appends at most `bytes_max` bytes for the wire to `out`; answers how many.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> usize {
        let mut bytes_left = bytes_max;
        while bytes_left > 0
            && let Some(front) = self.output.front_mut()
        {
            let part = front.split_to(front.len().min(bytes_left));
            out.extend_from_slice(&part);
            bytes_left -= part.len();
            if front.is_empty() {
                self.output.pop_front();
            }
        }
        let sent = bytes_max - bytes_left;
        self.output_bytes -= sent;
        sent
    }

    /// Everything that will ever be said here was said and taken.
    pub fn should_close(&self) -> bool {
        self.closing && !self.has_output()
    }

    /// Nothing is being read, served or sent: the connection can be dropped for idleness or shutdown.
    pub fn is_idle(&self) -> bool {
        let is_between = matches!(&self.state, State::Head(_)) && self.input.is_empty();
        is_between && self.unanswered_requests() == 0 && !self.has_output()
    }

    /// Requests have come whose answers are not written yet.
    pub fn owes_answer(&self) -> bool {
        self.unanswered_requests() > 0
    }

    /// Bytes held for this client: unread input, requests not answered, answers not sent.
    pub fn buffered_bytes(&self) -> usize {
        let body = if let State::Body { request, body, .. } = &self.state { request.bytes() + body.len() } else { 0 };
        self.input.len() + body + self.unanswered_bytes() + self.output_bytes
    }

    fn unanswered_requests(&self) -> usize {
        self.waiting.len() + usize::from(self.in_service.is_some())
    }

    fn unanswered_bytes(&self) -> usize {
        self.waiting_bytes + self.in_service.as_ref().map_or(0, |served| served.bytes)
    }

    /// One step of reading. `false`: more bytes are needed.
    fn advance(&mut self) -> Result<bool, Reject> {
        let is_full = self.unanswered_requests() >= self.limits.pipelined_requests_max
            || self.unanswered_bytes() >= self.limits.pipelined_bytes_max;
        match &mut self.state {
            State::Stopped => Ok(false),
            State::Head(_) if self.input.is_empty() => Ok(false),
            State::Head(parser) => {
                // Only a request that has not begun is turned away here: one being read always fits its own limits.
                if is_full {
                    return Err(reject(503, "too many pipelined requests"));
                }
                match parser.advance(&mut self.input, &self.limits)? {
                    Some((line, headers)) => self.begin(line, headers).map(|()| true),
                    None => Ok(false),
                }
            }
            State::Body { decoder, body, .. } => match decoder.advance(&mut self.input)? {
                Piece::Wait => Ok(false),
                Piece::Data(data) => {
                    body.unsplit(data);
                    Ok(true)
                }
                Piece::End => {
                    self.complete();
                    Ok(true)
                }
            },
        }
    }

    /// A head is complete: is it acceptable, and what body follows?
    fn begin(&mut self, line: RequestLine, headers: Headers) -> Result<(), Reject> {
        self.requests_begun += 1;
        let is_head = line.is_head;
        let request = Request { keep_alive: keeps_alive(&line, &headers), line, headers, body: Bytes::new() };
        let decoder = self.check(&request);
        let announces_body =
            !matches!(announced(&request.headers, request.line.minor), Ok(Announced::Nothing | Announced::Length(0)));
        let expects_continue = request.line.minor > 0 && request.headers.get("expect").is_some();
        match decoder {
            Ok(decoder) => {
                self.continue_owed = expects_continue && announces_body;
                self.state = State::Body { request, decoder, body: BytesMut::new() };
                self.flush_owed();
                Ok(())
            }
            Err(refused) => {
                self.refusal = Some((refused, is_head));
                Err(refused)
            }
        }
    }

    fn check(&self, request: &Request) -> Result<BodyDecoder, Reject> {
        check_host(&request.headers, request.line.minor)?;
        let decoder = match announced(&request.headers, request.line.minor)? {
            Announced::Nothing => BodyDecoder::fixed(0, &self.limits)?,
            Announced::Length(length) => BodyDecoder::fixed(length, &self.limits)?,
            Announced::Chunked => BodyDecoder::chunked(&self.limits),
        };
        let is_known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
        if request.line.minor > 0 && !request.headers.get_all("expect").all(is_known) {
            return Err(reject(417, "unknown expectation"));
        }
        Ok(decoder)
    }

    /// A request is complete: it joins the queue.
    fn complete(&mut self) {
        let State::Body { mut request, body, .. } =
            std::mem::replace(&mut self.state, State::Head(HeadParser::default()))
        else {
            unreachable!("only a request being read completes");
        };
        self.continue_owed = false;
        request.body = body.freeze();
        if !request.keep_alive {
            self.stop_reading();
        }
        self.waiting_bytes += request.bytes();
        self.waiting.push_back(request);
    }

    fn refuse(&mut self, refused: Reject) {
        let is_head = match &self.state {
            State::Head(parser) => parser.start_line().is_some_and(|line| line.is_head),
            State::Body { request, .. } => request.line.is_head,
            State::Stopped => false,
        };
        self.refusal.get_or_insert((refused, is_head));
        self.continue_owed = false;
        self.stop_reading();
    }

    fn stop_reading(&mut self) {
        self.state = State::Stopped;
        self.input = BytesMut::new();
    }

    fn close(&mut self) {
        self.closing = true;
        self.stop_reading();
        self.refusal = None;
        self.continue_owed = false;
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// Says what was held back until the answers to earlier requests were out.
    fn flush_owed(&mut self) {
        if self.unanswered_requests() > 0 {
            return;
        }
        if std::mem::take(&mut self.continue_owed) {
            self.push_output(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        if let Some((refused, is_head)) = self.refusal.take() {
            let text = format!("{} {}: {}\n", refused.status, reason_phrase(refused.status), refused.reason);
            let response = Response::new(refused.status).header("Content-Type", "text/plain; charset=utf-8").body(text);
            self.write(&response, is_head, 1, true);
            self.close();
        }
    }

    fn write(&mut self, response: &Response, is_head: bool, minor: u8, close: bool) {
        assert!((200..1000).contains(&response.status), "status {} cannot answer a request", response.status);
        let mut head = Vec::with_capacity(256);
        let status = response.status;
        head.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status)).as_bytes());
        for (name, value) in &response.headers {
            assert!(is_token(name.as_bytes()), "header name {name:?}");
            let is_framing =
                ["content-length", "transfer-encoding"].iter().any(|framing| name.eq_ignore_ascii_case(framing));
            assert!(!is_framing, "{name} is written by the connection");
            if !name.eq_ignore_ascii_case("connection") {
                push_field(&mut head, name, value);
            }
        }
        // RFC 9110, 8.6: no Content-Length where the status alone says that there is no body.
        let may_have_body = !matches!(status, 204 | 304);
        if may_have_body {
            push_field(&mut head, "Content-Length", &response.body.len().to_string());
        }
        if close {
            push_field(&mut head, "Connection", "close");
        } else if minor == 0 {
            push_field(&mut head, "Connection", "keep-alive");
        }
        head.extend_from_slice(b"\r\n");
        self.push_output(Bytes::from(head));
        if may_have_body && !is_head {
            self.push_output(response.body.clone());
        }
    }

    fn push_output(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.output_bytes += bytes.len();
            self.output.push_back(bytes);
        }
    }
}

/// Writes one field. A value may quote what a client sent: control characters in it become blanks, so that nobody adds
/// header lines to our answers.
pub(super) fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().map(|byte| if is_field_byte(byte) { byte } else { b' ' }));
    out.extend_from_slice(b"\r\n");
}

fn keeps_alive(line: &RequestLine, headers: &Headers) -> bool {
    !headers.has_token("connection", "close") && (line.minor > 0 || headers.has_token("connection", "keep-alive"))
}

/// Exactly one Host in HTTP/1.1 (RFC 9112, 3.2); an odd one is how a request reaches a site its filter did not see.
fn check_host(headers: &Headers, minor: u8) -> Result<(), Reject> {
    let mut hosts = headers.get_all("host");
    match (hosts.next(), hosts.next()) {
        (None, _) if minor == 0 => Ok(()),
        (None, _) => Err(reject(400, "missing Host")),
        (Some(_), Some(_)) => Err(reject(400, "more than one Host")),
        (Some(host), None) if host.iter().all(|byte| byte.is_ascii_graphic() && !b"/\\@?#,".contains(byte)) => Ok(()),
        (Some(_), None) => Err(reject(400, "malformed Host")),
    }
}
