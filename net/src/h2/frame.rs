//! The frame layer's constants and writers. Reading is `reader`'s; nothing here looks at a peer's bytes twice.

use super::error::Reason;
use super::limits::MAX_FRAME_BYTES;

/// What a client says first.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes before every payload: length 24, type 8, flags 8, reserved 1 + stream 31.
pub const HEADER_BYTES: usize = 9;

/// Highest stream identifier.
pub const MAX_STREAM_ID: u32 = (1 << 31) - 1;

pub mod kind {
    //! Frame types.
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub mod flag {
    //! Frame flags; ACK and END_STREAM share a bit on different frame types.
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

pub mod setting {
    //! SETTINGS identifiers.
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// The nine bytes before a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub len: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Header {
    pub fn parse(raw: &[u8; HEADER_BYTES]) -> Self {
        Header {
            len: u32::from_be_bytes([0, raw[0], raw[1], raw[2]]) as usize,
            kind: raw[3],
            flags: raw[4],
            stream: u32::from_be_bytes([raw[5], raw[6], raw[7], raw[8]]) & MAX_STREAM_ID,
        }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The nine header bytes of a frame we send.
#[inline]
pub fn header(len: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEADER_BYTES] {
    assert!(len <= MAX_FRAME_BYTES && stream <= MAX_STREAM_ID);
    let l = (len as u32).to_be_bytes();
    let s = stream.to_be_bytes();
    [l[1], l[2], l[3], kind, flags, s[0], s[1], s[2], s[3]]
}

pub fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    out.extend_from_slice(&header(settings.len() * 6, kind::SETTINGS, 0, 0));
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub fn put_settings_ack(out: &mut Vec<u8>) {
    out.extend_from_slice(&header(0, kind::SETTINGS, flag::ACK, 0));
}

pub fn put_ping(out: &mut Vec<u8>, payload: [u8; 8], ack: bool) {
    out.extend_from_slice(&header(8, kind::PING, if ack { flag::ACK } else { 0 }, 0));
    out.extend_from_slice(&payload);
}

pub fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    assert!(increment > 0 && increment <= MAX_STREAM_ID);
    out.extend_from_slice(&header(4, kind::WINDOW_UPDATE, 0, stream));
    out.extend_from_slice(&increment.to_be_bytes());
}

pub fn put_reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    out.extend_from_slice(&header(4, kind::RST_STREAM, 0, stream));
    out.extend_from_slice(&reason.0.to_be_bytes());
}

pub fn put_goaway(out: &mut Vec<u8>, last_stream: u32, reason: Reason, detail: &str) {
    out.extend_from_slice(&header(8 + detail.len(), kind::GOAWAY, 0, 0));
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
    out.extend_from_slice(detail.as_bytes());
}

/// A header block as HEADERS plus as many CONTINUATION frames as its size needs.
pub fn put_headers(out: &mut Vec<u8>, stream: u32, block: &[u8], end_stream: bool) {
    let end = if end_stream { flag::END_STREAM } else { 0 };
    let (first, mut rest) = block.split_at(block.len().min(MAX_FRAME_BYTES));
    let done = if rest.is_empty() { flag::END_HEADERS } else { 0 };
    out.extend_from_slice(&header(first.len(), kind::HEADERS, end | done, stream));
    out.extend_from_slice(first);
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.len().min(MAX_FRAME_BYTES));
        let done = if after.is_empty() { flag::END_HEADERS } else { 0 };
        out.extend_from_slice(&header(part.len(), kind::CONTINUATION, done, stream));
        out.extend_from_slice(part);
        rest = after;
    }
}
