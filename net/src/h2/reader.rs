//! Cuts a byte stream into frames. Whole frames are lent straight out of the caller's slice; only a frame that was cut
//! is copied, into a buffer of one frame. Header blocks spread over CONTINUATION frames are joined here, bounded.

use super::error::{ConnectionError, Reason};
use super::frame::{HEADER_BYTES, Header, PREFACE, flag, kind};
use super::limits::{
    FRAME_MS_MAX, MAX_CONTINUATIONS_PER_BLOCK, MAX_FRAME_BYTES, MAX_HEADER_BLOCK_BYTES, MAX_IDLE_BUFFER_BYTES,
};
use crate::stage::StageClock;

/// A frame whose shape was checked; its meaning was not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// `flow_len` counts padding too: that is what flow control is owed.
    Data {
        stream: u32,
        data: &'a [u8],
        flow_len: u32,
        end_stream: bool,
    },
    /// A whole header block, CONTINUATIONs included.
    Headers {
        stream: u32,
        block: &'a [u8],
        end_stream: bool,
    },
    Reset {
        stream: u32,
        reason: Reason,
    },
    Settings {
        ack: bool,
        payload: &'a [u8],
    },
    Ping {
        ack: bool,
        payload: [u8; 8],
    },
    GoAway {
        last_stream: u32,
        reason: Reason,
        debug: &'a [u8],
    },
    WindowUpdate {
        stream: u32,
        increment: u32,
    },
    /// A frame that condemns its stream only.
    Malformed {
        stream: u32,
        reason: Reason,
    },
    /// Legal and without meaning for us: PRIORITY, unknown types.
    Ignored,
}

/// A header block waiting for its CONTINUATIONs.
#[derive(Debug)]
struct OpenBlock {
    stream: u32,
    end_stream: bool,
    continuations: u32,
}

/// The incoming half of one connection.
#[derive(Debug)]
pub struct Reader {
    /// The unseen rest of the client preface (servers only).
    preface_left: &'static [u8],
    /// A cut frame, header included.
    cut: Vec<u8>,
    /// Fragments of the open header block.
    block: Vec<u8>,
    open: Option<OpenBlock>,
    /// Frames and blocks that came in more than one piece so far.
    pieces_begun: u64,
    stage: StageClock<u64>,
}

/// Where a frame's payload is.
enum Found<'a> {
    /// In the caller's input.
    Lent(Header, &'a [u8]),
    /// In `cut`, after its header.
    Kept(Header),
}

impl Reader {
    /// Reads what a client sends: the preface comes first.
    pub fn server() -> Self {
        Reader {
            preface_left: PREFACE,
            cut: Vec::new(),
            block: Vec::new(),
            open: None,
            pieces_begun: 0,
            stage: StageClock::default(),
        }
    }

    /// Reads what a server sends.
    pub fn client() -> Self {
        Reader { preface_left: &[], ..Self::server() }
    }

    /// The next frame, or None when `input` is used up. Call until None; an error ends the connection.
    #[inline]
    pub fn next<'f, 'i: 'f>(&'f mut self, input: &mut &'i [u8]) -> Result<Option<Frame<'f>>, ConnectionError> {
        if !self.preface_left.is_empty() {
            self.read_preface(input)?;
        }
        let (header, payload) = match self.find(input)? {
            None => return Ok(None),
            Some(Found::Lent(header, payload)) => (header, payload),
            Some(Found::Kept(header)) => (header, &self.cut[HEADER_BYTES..]),
        };
        if let Some(open) = &self.open
            && (header.kind != kind::CONTINUATION || header.stream != open.stream)
        {
            return Err(ConnectionError::protocol("header block interrupted"));
        }
        match header.kind {
            kind::HEADERS => Self::headers(&mut self.block, &mut self.open, header, payload).map(Some),
            kind::CONTINUATION => Self::continuation(&mut self.block, &mut self.open, header, payload).map(Some),
            _ => plain_frame(header, payload).map(Some),
        }
    }

    fn read_preface(&mut self, input: &mut &[u8]) -> Result<(), ConnectionError> {
        let len = self.preface_left.len().min(input.len());
        if input[..len] != self.preface_left[..len] {
            return Err(ConnectionError::protocol("bad connection preface"));
        }
        self.preface_left = &self.preface_left[len..];
        *input = &input[len..];
        Ok(())
    }

    #[inline]
    fn find<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Found<'a>>, ConnectionError> {
        // A complete kept frame was lent out by the previous call; nobody can hold it any more.
        if self.cut.len() >= HEADER_BYTES && self.cut.len() == HEADER_BYTES + parse(&self.cut)?.len {
            self.cut.clear();
            if self.cut.capacity() > MAX_IDLE_BUFFER_BYTES {
                self.cut = Vec::new();
            }
        }
        if self.cut.is_empty() && input.len() >= HEADER_BYTES {
            let header = parse(input)?;
            let end = HEADER_BYTES + header.len;
            if input.len() >= end {
                let payload = &input[HEADER_BYTES..end];
                *input = &input[end..];
                return Ok(Some(Found::Lent(header, payload)));
            }
        }
        if !self.keep(input, HEADER_BYTES) {
            return Ok(None);
        }
        let header = parse(&self.cut)?;
        let whole = self.keep(input, HEADER_BYTES + header.len);
        Ok(whole.then_some(Found::Kept(header)))
    }

    /// Moves input into the cut buffer until it holds `want` bytes; false if the input did not suffice.
    fn keep(&mut self, input: &mut &[u8], want: usize) -> bool {
        assert!(want <= HEADER_BYTES + MAX_FRAME_BYTES);
        let len = want.saturating_sub(self.cut.len()).min(input.len());
        self.pieces_begun += u64::from(self.cut.is_empty() && self.open.is_none());
        self.cut.extend_from_slice(&input[..len]);
        *input = &input[len..];
        self.cut.len() >= want
    }

    fn headers<'a>(
        block: &'a mut Vec<u8>,
        open: &mut Option<OpenBlock>,
        header: Header,
        payload: &'a [u8],
    ) -> Result<Frame<'a>, ConnectionError> {
        if header.stream == 0 {
            return Err(ConnectionError::protocol("HEADERS on stream 0"));
        }
        let mut fragment = unpad(header, payload)?;
        if header.has(flag::PRIORITY) {
            // Priorities were deprecated by RFC 9113; the five bytes are stepped over.
            fragment = fragment.get(5..).ok_or(ConnectionError::frame_size("HEADERS too short for its priority"))?;
        }
        let end_stream = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return Ok(Frame::Headers { stream: header.stream, block: fragment, end_stream });
        }
        block.clear();
        block.extend_from_slice(fragment);
        *open = Some(OpenBlock { stream: header.stream, end_stream, continuations: 0 });
        Ok(Frame::Ignored)
    }

    fn continuation<'a>(
        block: &'a mut Vec<u8>,
        open: &mut Option<OpenBlock>,
        header: Header,
        payload: &[u8],
    ) -> Result<Frame<'a>, ConnectionError> {
        let Some(state) = open else {
            return Err(ConnectionError::protocol("CONTINUATION without HEADERS"));
        };
        state.continuations += 1;
        if state.continuations > MAX_CONTINUATIONS_PER_BLOCK {
            return Err(ConnectionError::calm("too many CONTINUATION frames"));
        }
        if block.len() + payload.len() > MAX_HEADER_BLOCK_BYTES {
            return Err(ConnectionError::calm("header block too large"));
        }
        block.extend_from_slice(payload);
        if !header.has(flag::END_HEADERS) {
            return Ok(Frame::Ignored);
        }
        let (stream, end_stream) = (state.stream, state.end_stream);
        *open = None;
        Ok(Frame::Headers { stream, block, end_stream })
    }

    /// Gives back buffers that hold nothing unfinished.
    pub fn trim(&mut self) {
        if self.cut.is_empty() {
            self.cut = Vec::new();
        }
        if self.open.is_none() {
            self.block = Vec::new();
        }
    }

    /// Lets time pass; an error when the peer does not finish what it began.
    #[inline]
    pub fn on_time(&mut self, now_ms: u64) -> Result<(), ConnectionError> {
        if self.cut.is_empty() && self.open.is_none() {
            return Ok(());
        }
        // A complete frame stays until the next bytes come: it is not unfinished.
        let whole = self.cut.len() >= HEADER_BYTES && self.cut.len() == HEADER_BYTES + parse(&self.cut)?.len;
        let unfinished = self.open.is_some() || !(self.cut.is_empty() || whole);
        if unfinished && self.stage.lasted_ms(self.pieces_begun, now_ms) >= FRAME_MS_MAX {
            return Err(ConnectionError::protocol("a frame took too long"));
        }
        Ok(())
    }

    /// Bytes this reader holds; for tests of boundedness.
    pub fn held_bytes(&self) -> usize {
        self.cut.len() + self.block.len()
    }
}

#[inline]
fn parse(bytes: &[u8]) -> Result<Header, ConnectionError> {
    let raw = bytes.first_chunk::<HEADER_BYTES>().expect("caller has a whole header");
    let header = Header::parse(raw);
    if header.len > MAX_FRAME_BYTES {
        return Err(ConnectionError::frame_size("frame larger than allowed"));
    }
    Ok(header)
}

fn plain_frame(header: Header, payload: &[u8]) -> Result<Frame<'_>, ConnectionError> {
    let stream = header.stream;
    match header.kind {
        kind::DATA => {
            if stream == 0 {
                return Err(ConnectionError::protocol("DATA on stream 0"));
            }
            let data = unpad(header, payload)?;
            let end_stream = header.has(flag::END_STREAM);
            Ok(Frame::Data { stream, data, flow_len: payload.len() as u32, end_stream })
        }
        kind::RST_STREAM => {
            let code = four(payload, "RST_STREAM is 4 bytes")?;
            if stream == 0 {
                return Err(ConnectionError::protocol("RST_STREAM on stream 0"));
            }
            Ok(Frame::Reset { stream, reason: Reason(code) })
        }
        kind::WINDOW_UPDATE => {
            let increment = four(payload, "WINDOW_UPDATE is 4 bytes")? & super::frame::MAX_STREAM_ID;
            Ok(Frame::WindowUpdate { stream, increment })
        }
        kind::SETTINGS => {
            let ack = header.has(flag::ACK);
            if stream != 0 {
                return Err(ConnectionError::protocol("SETTINGS on a stream"));
            }
            if !payload.len().is_multiple_of(6) || (ack && !payload.is_empty()) {
                return Err(ConnectionError::frame_size("SETTINGS of a wrong size"));
            }
            Ok(Frame::Settings { ack, payload })
        }
        kind::PING => {
            if stream != 0 {
                return Err(ConnectionError::protocol("PING on a stream"));
            }
            let payload: [u8; 8] = payload.try_into().map_err(|_| ConnectionError::frame_size("PING is 8 bytes"))?;
            Ok(Frame::Ping { ack: header.has(flag::ACK), payload })
        }
        kind::GOAWAY => {
            if stream != 0 {
                return Err(ConnectionError::protocol("GOAWAY on a stream"));
            }
            let Some((fixed, debug)) = payload.split_first_chunk::<8>() else {
                return Err(ConnectionError::frame_size("GOAWAY too short"));
            };
            let [a, b, c, d, reason @ ..] = *fixed;
            let last_stream = u32::from_be_bytes([a, b, c, d]) & super::frame::MAX_STREAM_ID;
            Ok(Frame::GoAway { last_stream, reason: Reason(u32::from_be_bytes(reason)), debug })
        }
        kind::PRIORITY => {
            if stream == 0 {
                return Err(ConnectionError::protocol("PRIORITY on stream 0"));
            }
            if payload.len() != 5 {
                return Ok(Frame::Malformed { stream, reason: Reason::FRAME_SIZE_ERROR });
            }
            Ok(Frame::Ignored)
        }
        kind::PUSH_PROMISE => Err(ConnectionError::protocol("PUSH_PROMISE was not allowed")),
        _ => Ok(Frame::Ignored),
    }
}

fn four(payload: &[u8], wrong: &'static str) -> Result<u32, ConnectionError> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| ConnectionError::frame_size(wrong))
}

/// The payload without its padding.
#[inline]
fn unpad(header: Header, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    if !header.has(flag::PADDED) {
        return Ok(payload);
    }
    let (&pad, rest) = payload.split_first().ok_or(ConnectionError::frame_size("padded frame without a pad length"))?;
    let len = rest.len().checked_sub(pad as usize).ok_or(ConnectionError::protocol("padding larger than the frame"))?;
    Ok(&rest[..len])
}
