//! HTTP/1.1 (RFC 9110, 9112) as pure state machines: `server::Connection` for one accepted connection, `client` for one
//! outgoing one. `head` reads start lines and header fields, `body` reads bodies piece by piece; both sides share them.
//! Parsing is strict on purpose: whatever two readers could understand differently is refused, because a proxy in front
//! that reads it the other way lets one client speak in the name of another. No clock and no socket here; the owner
//! of the server's side passes the time. Nothing here may panic, loop or grow on what a client or server sends.

mod body;
pub mod client;
mod head;
pub mod server;

pub use head::Headers;
pub use server::{Connection, Request, Response};

/// Bytes of one request or status line with its header fields, blank line included; the trailer fields of a chunked
/// body have the same budget once more. Real clients send under 4 KiB, tokens and cookies of proxies included.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Header fields of one message, and trailer fields of one body. Browsers behind two proxies send about 40.
pub const HEADER_COUNT_MAX: usize = 128;
/// Bytes of one request body: room for the largest request of the default configuration written as base64 inside JSON.
pub const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of chunk extensions in one body, all chunks together. Nobody sends any; without a limit they are a free ride
/// past the body limit.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4096;
/// Requests received and not yet answered. Pipelining clients keep a handful in flight; past this the connection ends.
pub const PIPELINED_REQUESTS_MAX: usize = 128;
/// Bytes of requests received and not yet answered at which no further request is taken.
pub const PIPELINED_BYTES_MAX: usize = BODY_BYTES_MAX as usize;
/// Bytes of answers not yet taken by `poll_transmit` at which no further request is handed out, so that a client that
/// sends and never reads stops being served.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Milliseconds a request's head may take from its first byte: a client that sends one byte now and then holds a
/// connection for nothing (slowloris). Go's servers with a limit use this order.
pub const HEAD_MS_MAX: u64 = 10_000;
/// Milliseconds a request's body may take: 4 MiB over the slowest link anybody serves a store over.
pub const BODY_MS_MAX: u64 = 60_000;
/// Milliseconds a connection may wait between two requests: above the scrape intervals of monitoring.
pub const IDLE_MS_MAX: u64 = 300_000;

/// What one peer may make us hold. The defaults are the constants above.
#[derive(Clone, Debug)]
pub struct Limits {
    pub header_bytes_max: usize,
    pub header_count_max: usize,
    pub body_bytes_max: u64,
    pub chunk_extension_bytes_max: usize,
    pub pipelined_requests_max: usize,
    pub pipelined_bytes_max: usize,
    pub output_bytes_max: usize,
    pub head_ms_max: u64,
    pub body_ms_max: u64,
    pub idle_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_bytes_max: HEADER_BYTES_MAX,
            header_count_max: HEADER_COUNT_MAX,
            body_bytes_max: BODY_BYTES_MAX,
            chunk_extension_bytes_max: CHUNK_EXTENSION_BYTES_MAX,
            pipelined_requests_max: PIPELINED_REQUESTS_MAX,
            pipelined_bytes_max: PIPELINED_BYTES_MAX,
            output_bytes_max: OUTPUT_BYTES_MAX,
            head_ms_max: HEAD_MS_MAX,
            body_ms_max: BODY_MS_MAX,
            idle_ms_max: IDLE_MS_MAX,
        }
    }
}

/// The reason phrase of a status code; empty (which is legal) for one not in the table.
pub fn reason_phrase(status: u16) -> &'static str {
    const PHRASES: &[(u16, &str)] = &[
        (200, "OK"),
        (201, "Created"),
        (202, "Accepted"),
        (204, "No Content"),
        (301, "Moved Permanently"),
        (302, "Found"),
        (304, "Not Modified"),
        (307, "Temporary Redirect"),
        (308, "Permanent Redirect"),
        (400, "Bad Request"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (405, "Method Not Allowed"),
        (406, "Not Acceptable"),
        (408, "Request Timeout"),
        (409, "Conflict"),
        (410, "Gone"),
        (412, "Precondition Failed"),
        (413, "Request Entity Too Large"),
        (415, "Unsupported Media Type"),
        (417, "Expectation Failed"),
        (429, "Too Many Requests"),
        (431, "Request Header Fields Too Large"),
        (499, "Client Closed Request"),
        (500, "Internal Server Error"),
        (501, "Not Implemented"),
        (503, "Service Unavailable"),
        (504, "Gateway Timeout"),
        (505, "HTTP Version Not Supported"),
    ];
    match PHRASES.binary_search_by_key(&status, |row| row.0) {
        Ok(at) => PHRASES[at].1,
        Err(_) => "",
    }
}
