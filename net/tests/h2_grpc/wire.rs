//! Raw frames against the server: what each fault costs, and what is no fault.

use net::grpc::server::{Connection, Event};
use net::h2::Reason;
use net::h2::frame::{self, Header, PREFACE, kind};
use net::h2::hpack::{put_indexed, put_literal, put_literal_indexed_name};

use super::hpack::unhex;
use super::pair::config;

pub fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = frame::header(payload.len(), kind, flags, stream).to_vec();
    out.extend_from_slice(payload);
    out
}

pub fn headers(stream: u32, block: &[u8], flags: u8) -> Vec<u8> {
    raw(kind::HEADERS, flags, stream, block)
}

pub fn data(stream: u32, payload: &[u8], flags: u8) -> Vec<u8> {
    raw(kind::DATA, flags, stream, payload)
}

/// Preface and empty SETTINGS.
pub fn hello() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    out.extend_from_slice(&raw(kind::SETTINGS, 0, 0, &[]));
    out
}

/// A block for a gRPC call with further literal fields.
pub fn block(path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    put_indexed(&mut block, 3);
    put_indexed(&mut block, 6);
    put_literal_indexed_name(&mut block, 4, path.as_bytes());
    put_literal(&mut block, b"content-type", b"application/grpc+proto");
    for (name, value) in fields {
        put_literal(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

/// All frames the server has to send.
pub fn frames(server: &mut Connection) -> Vec<(Header, Vec<u8>)> {
    let mut out = Vec::new();
    while server.has_output() {
        server.poll_transmit(&mut out, 10_000);
    }
    let mut rest = &out[..];
    let mut frames = Vec::new();
    while let Some(head) = rest.first_chunk::<9>() {
        let header = Header::parse(head);
        frames.push((header, rest[9..9 + header.len].to_vec()));
        rest = &rest[9 + header.len..];
    }
    assert!(rest.is_empty());
    frames
}

/// What the server made of some input, in one line: `GOAWAY code`, `RST stream code`, or what calls came of it.
pub fn verdict(parts: &[Vec<u8>]) -> String {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    frames(&mut server);
    parts.iter().for_each(|part| server.handle_bytes(part));
    let mut words = Vec::new();
    while let Some(event) = server.poll_event() {
        words.push(match event {
            Event::Unary { stream, message, .. } => format!("unary {} {}", stream.0, message.len()),
            Event::Open { stream, .. } => format!("open {}", stream.0),
            Event::Message { stream, message } => format!("message {} {}", stream.0, message.len()),
            Event::End { stream } => format!("end {}", stream.0),
            Event::Reset { stream, .. } => format!("reset {}", stream.0),
            Event::Http { stream, body, .. } => format!("http {} {}", stream.0, body.len()),
        });
    }
    for (header, payload) in frames(&mut server) {
        let code = |at: usize| Reason(u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes")));
        match header.kind {
            kind::GOAWAY => words.push(format!("GOAWAY {}", code(4))),
            kind::RST_STREAM => words.push(format!("RST {} {}", header.stream, code(0))),
            kind::PING => words.push(format!("PING {} {payload:?}", header.flags)),
            kind::HEADERS => words.push(format!("HEADERS {} {}", header.stream, header.flags)),
            kind::WINDOW_UPDATE => words.push(format!("WINDOW {}", header.stream)),
            _ => {}
        }
    }
    assert_eq!(server.should_close(), words.iter().any(|w| w.starts_with("GOAWAY")));
    words.join(", ")
}

pub const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";

pub fn ok(id: u32) -> Vec<u8> {
    headers(id, &block("/a", &[]), 0x4)
}

pub fn with(name: &str, value: &str) -> Vec<u8> {
    headers(1, &block("/a", &[(name, value)]), 0x4)
}

pub fn end(id: u32) -> Vec<u8> {
    data(id, MESSAGE, 0x1)
}

pub fn bare(hex: &str) -> Vec<u8> {
    headers(1, &unhex(hex), 0x5)
}

/// Rows of name, input and verdict; each holds however the input is cut.
pub fn check(rows: Vec<(&str, Vec<Vec<u8>>, &str)>) {
    for (name, parts, expected) in rows {
        assert_eq!(verdict(&parts), expected, "{name}");
        let bytewise: Vec<Vec<u8>> = parts.concat().into_iter().map(|b| vec![b]).collect();
        assert_eq!(verdict(&bytewise), expected, "{name}, byte by byte");
    }
}

#[test]
fn what_is_no_fault() {
    let whole = block("/a", &[]);
    check(vec![
        ("a call", vec![ok(1), end(1)], "unary 1 2"),
        ("end in its own frame", vec![ok(1), data(1, MESSAGE, 0), data(1, b"", 1)], "unary 1 2"),
        ("end by trailers", vec![ok(1), data(1, MESSAGE, 0), headers(1, &[], 5)], "unary 1 2"),
        ("padded", vec![ok(1), data(1, b"\x03\0\0\0\0\x02hi\0\0\0", 0x9)], "unary 1 2"),
        (
            "priority and padding",
            vec![headers(1, &[&[1, 0, 0, 0, 0, 9], &whole[..], &[0]].concat(), 0x2c), end(1)],
            "unary 1 2",
        ),
        (
            "block in three parts",
            vec![
                headers(1, &whole[..5], 0),
                raw(kind::CONTINUATION, 0, 1, &whole[5..9]),
                raw(kind::CONTINUATION, 4, 1, &whole[9..]),
                end(1),
            ],
            "unary 1 2",
        ),
        (
            "unknown frame and flags",
            vec![raw(0xbe, 0xff, 7, b"x"), headers(1, &whole, 0xc4 & !0x20), end(1)],
            "unary 1 2",
        ),
        ("priority frame", vec![raw(kind::PRIORITY, 0, 9, &[0; 5]), ok(1), end(1)], "unary 1 2"),
        ("ping", vec![raw(kind::PING, 0, 0, b"12345678")], "PING 1 [49, 50, 51, 52, 53, 54, 55, 56]"),
        ("cancelled call", vec![ok(1), end(1), raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])], "unary 1 2, reset 1"),
        ("cancelled before it was whole", vec![ok(1), raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])], ""),
        (
            "late frames",
            vec![
                ok(1),
                end(1),
                raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]),
                end(1),
                raw(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 8]),
                raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            ],
            "unary 1 2, reset 1",
        ),
        ("goaway", vec![ok(1), raw(kind::GOAWAY, 0, 0, &[0; 8]), end(1)], "unary 1 2"),
        ("te: trailers", vec![with("te", "trailers"), end(1)], "unary 1 2"),
    ]);
}

/// A peer that shrinks its HPACK table must be told that we follow, once.
#[test]
fn a_smaller_table_is_acknowledged_in_the_next_block() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    server.handle_bytes(&raw(kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
    for (id, first_byte) in [(1, 0x20), (3, 0x88)] {
        server.handle_bytes(&headers(id, &block("/a", &[]), 4));
        server.handle_bytes(&data(id, MESSAGE, 1));
        let Some(Event::Unary { stream, .. }) = server.poll_event() else { panic!("a call") };
        server.respond_unary(stream, 1, |out| out.push(7));
        let sent = frames(&mut server);
        let answer: Vec<_> = sent.iter().filter(|(h, _)| h.stream == id).collect();
        assert_eq!(answer[0].1[0], first_byte);
        assert_eq!(answer.len(), 3);
    }
}
