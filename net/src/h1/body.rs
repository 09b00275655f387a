//! Message bodies: which framing a head announces, and a decoder that yields a body in pieces as it arrives. Owned by
//! the connection that feeds it. A body's end must never be a matter of opinion: two framings at once are refused.

use super::Limits;
use super::head::{Headers, LineScan, Reject, parse_field, reject};
use bytes::{Buf, BytesMut};

/// Digits of a chunk size: a u64 has no more, leading zeros beyond that are only there to confuse.
const CHUNK_SIZE_DIGITS_MAX: usize = 16;

/// What the fields of a head say about the body that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    Nothing,
    Length(u64),
    Chunked,
}

/// Reads Content-Length and Transfer-Encoding. `minor` is the HTTP/1 minor version of the message.
pub(crate) fn announced(headers: &Headers, minor: u8) -> Result<Announced, Reject> {
    let mut length: Option<&[u8]> = None;
    for value in headers.get_all("content-length") {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(reject(400, "malformed Content-Length"));
        }
        if length.is_some_and(|earlier| earlier != value) {
            return Err(reject(400, "conflicting Content-Length"));
        }
        length = Some(value);
    }
    let mut encodings = headers.get_all("transfer-encoding");
    if let Some(encoding) = encodings.next() {
        if length.is_some() {
            return Err(reject(400, "both Transfer-Encoding and Content-Length"));
        }
        if minor == 0 {
            return Err(reject(400, "Transfer-Encoding in HTTP/1.0"));
        }
        if encodings.next().is_some() || encoding.is_empty() {
            return Err(reject(400, "ambiguous Transfer-Encoding"));
        }
        if !encoding.eq_ignore_ascii_case(b"chunked") {
            return Err(reject(501, "unsupported Transfer-Encoding"));
        }
        return Ok(Announced::Chunked);
    }
    let Some(length) = length else {
        return Ok(Announced::Nothing);
    };
    let length = std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok());
    length.map(Announced::Length).ok_or(reject(400, "Content-Length out of range"))
}

/// One step of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(BytesMut),
    End,
    /// Feed more bytes first.
    Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fixed { bytes_left: u64 },
    ChunkSize,
    ChunkData { bytes_left: u64 },
    ChunkEnd,
    Trailers,
    UntilEof,
    Done,
}

#[derive(Debug)]
pub(crate) struct BodyDecoder {
    state: State,
    /// Budgets of this body, counted down.
    body_bytes_left: u64,
    extension_bytes_left: usize,
    trailer_bytes_left: usize,
    trailers_left: usize,
    scan: LineScan,
}

const TOO_LARGE: Reject = reject(413, "body too large");

impl BodyDecoder {
    fn new(state: State, limits: &Limits) -> Self {
        BodyDecoder {
            state,
            body_bytes_left: limits.body_bytes_max,
            extension_bytes_left: limits.chunk_extension_bytes_max,
            trailer_bytes_left: limits.header_bytes_max,
            trailers_left: limits.header_count_max,
            scan: LineScan::default(),
        }
    }

    pub fn fixed(length: u64, limits: &Limits) -> Result<Self, Reject> {
        if length > limits.body_bytes_max {
            return Err(TOO_LARGE);
        }
        Ok(Self::new(State::Fixed { bytes_left: length }, limits))
    }

    pub fn chunked(limits: &Limits) -> Self {
        Self::new(State::ChunkSize, limits)
    }

    pub fn until_eof(limits: &Limits) -> Self {
        Self::new(State::UntilEof, limits)
    }

    /// Takes what it can off `input`. After `End` nothing more is taken: what follows belongs to the next message.
    pub fn advance(&mut self, input: &mut BytesMut) -> Result<Piece, Reject> {
        loop {
            match self.state {
                State::Done => return Ok(Piece::End),
                State::Fixed { bytes_left: 0 } => self.state = State::Done,
                State::ChunkData { bytes_left: 0 } => self.state = State::ChunkEnd,
                _ if input.is_empty() => return Ok(Piece::Wait),
                State::Fixed { bytes_left } => {
                    let data = take(input, bytes_left);
                    self.state = State::Fixed { bytes_left: bytes_left - data.len() as u64 };
                    return Ok(Piece::Data(data));
                }
                State::ChunkData { bytes_left } => {
                    let data = take(input, bytes_left);
                    self.state = State::ChunkData { bytes_left: bytes_left - data.len() as u64 };
                    return Ok(Piece::Data(data));
                }
                State::UntilEof => {
                    let data = take(input, u64::MAX);
                    self.spend(data.len() as u64)?;
                    return Ok(Piece::Data(data));
                }
                State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    let is_done = match self.state {
                        State::ChunkSize => self.chunk_size(input)?,
                        State::ChunkEnd => self.chunk_end(input)?,
                        _ => self.trailer(input)?,
                    };
                    if !is_done {
                        return Ok(Piece::Wait);
                    }
                }
            }
        }
    }

    /// The peer closed its side. True when that is how this body ends, or when it had ended before.
    pub fn end_of_input(&mut self) -> bool {
        if self.state == State::UntilEof {
            self.state = State::Done;
        }
        self.state == State::Done
    }

    fn spend(&mut self, bytes: u64) -> Result<(), Reject> {
        self.body_bytes_left = self.body_bytes_left.checked_sub(bytes).ok_or(TOO_LARGE)?;
        Ok(())
    }

    fn chunk_size(&mut self, input: &mut BytesMut) -> Result<bool, Reject> {
        let bytes_max = CHUNK_SIZE_DIGITS_MAX + self.extension_bytes_left + 2;
        let too_long = reject(400, "chunk size or extension too long");
        let Some(end) = self.scan.find(input, 0, bytes_max, too_long)? else {
            return Ok(false);
        };
        let line = &input[..end];
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits == 0 || digits > CHUNK_SIZE_DIGITS_MAX {
            return Err(reject(400, "malformed chunk size"));
        }
        let extension = &line[digits..];
        let is_extension = extension.trim_ascii_start().first() == Some(&b';');
        if !extension.is_empty()
            && (!is_extension || extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'))
        {
            return Err(reject(400, "malformed chunk size"));
        }
        self.extension_bytes_left =
            self.extension_bytes_left.checked_sub(extension.len()).ok_or(reject(400, "chunk extensions too long"))?;
        // At most 16 hexadecimal digits: this cannot overflow.
        let nibble = |digit: &u8| (*digit as char).to_digit(16).map_or(0, u64::from);
        let size = line[..digits].iter().fold(0u64, |size, digit| size << 4 | nibble(digit));
        self.spend(size)?;
        self.state = if size == 0 { State::Trailers } else { State::ChunkData { bytes_left: size } };
        input.advance(end + 2);
        Ok(true)
    }

    /// The CR LF behind the data of a chunk.
    fn chunk_end(&mut self, input: &mut BytesMut) -> Result<bool, Reject> {
        if input[0] != b'\r' || input.get(1).is_some_and(|byte| *byte != b'\n') {
            return Err(reject(400, "chunk longer than its size"));
        }
        if input.len() < 2 {
            return Ok(false);
        }
        input.advance(2);
        self.state = State::ChunkSize;
        Ok(true)
    }

    /// One trailer field, checked and dropped: nothing here needs one, and merging them into the headers is how filters
    /// are bypassed.
    fn trailer(&mut self, input: &mut BytesMut) -> Result<bool, Reject> {
        let Some(end) = self.scan.find(input, 0, self.trailer_bytes_left, reject(431, "trailer too long"))? else {
            return Ok(false);
        };
        if end == 0 {
            self.state = State::Done;
        } else {
            parse_field(&input[..end])?;
            self.trailers_left = self.trailers_left.checked_sub(1).ok_or(reject(431, "too many trailer fields"))?;
            self.trailer_bytes_left -= end + 2;
        }
        input.advance(end + 2);
        Ok(true)
    }
}

fn take(input: &mut BytesMut, bytes_max: u64) -> BytesMut {
    let len = usize::try_from(bytes_max).map_or(input.len(), |max| max.min(input.len()));
    input.split_to(len)
}
