//! The client's side of HTTP/1.1: writes requests, reads responses piece by piece. Owned by whoever opened the
//! connection. A response is never buffered whole here: data leaves as it arrives, so endless streams cost nothing, and
//! the caller must take pieces until `poll` answers `None` each time it fed bytes.

use super::Limits;
use super::body::{Announced, BodyDecoder, Piece, announced};
use super::head::{HeadParser, Headers, Reject, StartLine, is_token, parse_version, reject};
use super::server::push_field;
use bytes::{Bytes, BytesMut};
use std::fmt;

/// Interim answers (100, 103) skipped before the final one; a server has no reason to send more than two.
const INTERIM_RESPONSES_MAX: usize = 8;

/// Why a request cannot be written or a response cannot be read. The connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    pub reason: &'static str,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for Error {}

impl From<Reject> for Error {
    fn from(refused: Reject) -> Self {
        Error { reason: refused.reason }
    }
}

/// A request to send. The body's length is announced; `headers` are the further ones.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// `/path?query`.
    pub target: &'a str,
    /// `host:port` as the server knows itself.
    pub host: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Option<&'a [u8]>,
}

impl Request<'_> {
    /// Appends the request to `out`, or nothing at all when a part of it could be read as something else.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token(self.method.as_bytes()) || !is_plain(self.target) || !is_plain(self.host) {
            return Err(Error { reason: "malformed method, target or host" });
        }
        let is_reserved = |name: &str| {
            ["host", "content-length", "transfer-encoding"].iter().any(|own| name.eq_ignore_ascii_case(own))
        };
        if self.headers.iter().any(|(name, _)| !is_token(name.as_bytes()) || is_reserved(name)) {
            return Err(Error { reason: "malformed or reserved header name" });
        }
        for part in [self.method, " ", self.target, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        push_field(out, "Host", self.host);
        for (name, value) in self.headers {
            push_field(out, name, value);
        }
        // A POST or PUT without a body still says so: some servers answer 411 otherwise.
        if self.body.is_some() || matches!(self.method, "POST" | "PUT") {
            push_field(out, "Content-Length", &self.body.map_or(0, <[u8]>::len).to_string());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body.unwrap_or_default());
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct StatusLine {
    status: u16,
    minor: u8,
}

impl StartLine for StatusLine {
    fn parse(line: &[u8]) -> Result<Self, Reject> {
        // The blank before an empty reason phrase is missing in the wild.
        let (version, rest) = line.split_at_checked(8).ok_or(reject(400, "malformed status line"))?;
        let minor = parse_version(version)?;
        let [b' ', digits @ ..] = rest else {
            return Err(reject(400, "malformed status line"));
        };
        let (digits, phrase) = digits.split_at_checked(3).ok_or(reject(400, "malformed status line"))?;
        if !digits.iter().all(u8::is_ascii_digit) || digits[0] == b'0' || !matches!(phrase.first(), None | Some(b' ')) {
            return Err(reject(400, "malformed status line"));
        }
        let status = digits.iter().fold(0u16, |status, digit| status * 10 + u16::from(digit - b'0'));
        Ok(StatusLine { status, minor })
    }
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    pub status: u16,
    pub headers: Headers,
}

/// What a response consists of: one `Head`, any number of `Data`, one `End`.
#[derive(Clone, Debug)]
pub enum Event {
    Head(ResponseHead),
    Data(Bytes),
    End,
}

#[derive(Debug)]
enum State {
    Head(HeadParser<StatusLine>),
    Body(BodyDecoder),
    /// `End` was delivered; what is left in the buffer belongs to the next response.
    Done,
    Failed(Error),
}

/// Reads the responses of one connection: `expect` before each request's answer, then `handle_bytes` and `poll`.
#[derive(Debug)]
pub struct ResponseParser {
    limits: Limits,
    input: BytesMut,
    state: State,
    answers_head: bool,
    interims: usize,
    keep_alive: bool,
    is_closed: bool,
}

impl ResponseParser {
    /// `limits.body_bytes_max` counts whole bodies: for a stream without end set it to `u64::MAX`.
    pub fn new(limits: Limits) -> Self {
        ResponseParser {
            limits,
            input: BytesMut::new(),
            state: State::Done,
            answers_head: false,
            interims: 0,
            keep_alive: true,
            is_closed: false,
        }
    }

    /// A request was sent: the next bytes answer it. An answer to HEAD has no body whatever its head announces.
    pub fn expect(&mut self, answers_head: bool) {
        assert!(matches!(self.state, State::Done), "one response at a time");
        self.state = State::Head(HeadParser::default());
        self.answers_head = answers_head;
        self.interims = 0;
    }

    /// Whether another request may be sent on this connection. Known once `End` was delivered.
    pub fn is_reusable(&self) -> bool {
        // Bytes nobody asked for mean that the two sides disagree about where the last answer ended.
        self.keep_alive && !self.is_closed && matches!(self.state, State::Done) && self.input.is_empty()
    }

    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Failed(_)) {
            self.input.extend_from_slice(bytes);
        }
    }

    /// The server closed its side. `poll` then ends the response, or says that it was cut short.
    pub fn handle_eof(&mut self) {
        self.is_closed = true;
    }

    /// Bytes received and not yet polled.
    pub fn buffered_bytes(&self) -> usize {
        self.input.len()
    }

    /// The next part of the response; `None` until more bytes come. An error is final.
    pub fn poll(&mut self) -> Result<Option<Event>, Error> {
        let result = self.advance();
        if let Err(error) = result {
            self.state = State::Failed(error);
            self.input = BytesMut::new();
        }
        result
    }

    fn advance(&mut self) -> Result<Option<Event>, Error> {
        loop {
            match &mut self.state {
                State::Failed(error) => return Err(*error),
                State::Done => return Ok(None),
                State::Head(parser) => match parser.advance(&mut self.input, &self.limits)? {
                    Some((line, _)) if line.status < 200 => self.skip_interim(line)?,
                    Some((line, headers)) => return self.begin(line, headers).map(|head| Some(Event::Head(head))),
                    None if self.is_closed => return Err(Error { reason: "connection closed before the response" }),
                    None => return Ok(None),
                },
                State::Body(decoder) => match decoder.advance(&mut self.input)? {
                    Piece::Data(data) => return Ok(Some(Event::Data(data.freeze()))),
                    Piece::End => {
                        self.state = State::Done;
                        return Ok(Some(Event::End));
                    }
                    Piece::Wait if !self.is_closed => return Ok(None),
                    Piece::Wait if decoder.end_of_input() => {}
                    Piece::Wait => return Err(Error { reason: "connection closed inside the response" }),
                },
            }
        }
    }

    fn skip_interim(&mut self, line: StatusLine) -> Result<(), Error> {
        self.interims += 1;
        if line.status == 101 {
            return Err(Error { reason: "server switched protocols unasked" });
        }
        if self.interims > INTERIM_RESPONSES_MAX {
            return Err(Error { reason: "too many interim responses" });
        }
        self.state = State::Head(HeadParser::default());
        Ok(())
    }

    fn begin(&mut self, line: StatusLine, headers: Headers) -> Result<ResponseHead, Error> {
        let has_no_body = self.answers_head || matches!(line.status, 204 | 304);
        let announced = announced(&headers, line.minor)?;
        let decoder = match announced {
            _ if has_no_body => BodyDecoder::fixed(0, &self.limits)?,
            Announced::Length(length) => BodyDecoder::fixed(length, &self.limits)?,
            Announced::Chunked => BodyDecoder::chunked(&self.limits),
            Announced::Nothing => BodyDecoder::until_eof(&self.limits),
        };
        let says_close = headers.has_token("connection", "close");
        let ends_by_itself = has_no_body || announced != Announced::Nothing;
        self.keep_alive =
            ends_by_itself && !says_close && (line.minor > 0 || headers.has_token("connection", "keep-alive"));
        self.state = State::Body(decoder);
        Ok(ResponseHead { status: line.status, headers })
    }
}
