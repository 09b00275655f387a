//! Every error condition of RFC 9113 and RFC 7541 that a server has to answer, by section: what is sent, and which error
//! of the stream or the connection it costs. Each row holds however its bytes are cut.

use net::grpc::server::{self, Connection};
use net::h2::Reason;
use net::h2::flow::RecvWindow;
use net::h2::frame::{PREFACE, kind};

use super::hpack::unhex;
use super::pair::config;
use super::wire::{MESSAGE, bare, block, check, data, end, frames, headers, hello, ok, raw, with};

/// (section, what, input)
type Row = (&'static str, &'static str, Vec<Vec<u8>>);

/// All rows with one verdict.
fn all_cost(verdict: &str, rows: Vec<Row>) {
    let name = |section: &str, what: &str| format!("{section} {what}");
    let named: Vec<(String, Vec<Vec<u8>>)> = rows.into_iter().map(|(s, what, parts)| (name(s, what), parts)).collect();
    check(named.iter().map(|(name, parts)| (name.as_str(), parts.clone(), verdict)).collect());
}

fn settings(id: u8, value: u32) -> Vec<u8> {
    raw(kind::SETTINGS, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat())
}

/// A request with one more field, literally.
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut fields = block("/a", &[]);
    net::h2::hpack::put_literal(&mut fields, name, value);
    headers(1, &fields, 4)
}

#[test]
fn connection_errors_of_type_protocol_error() {
    let whole = block("/a", &[]);
    let first = || headers(1, &whole[..5], 0);
    all_cost(
        "GOAWAY PROTOCOL_ERROR",
        vec![
            ("4.3", "header block interrupted", vec![first(), raw(kind::PING, 0, 0, &[0; 8])]),
            ("4.3", "header block interrupted by another", vec![first(), ok(3)]),
            ("5.5", "header block interrupted by an unknown frame", vec![first(), raw(0xbe, 0, 1, &[])]),
            ("5.1", "DATA on an idle stream", vec![end(1)]),
            ("5.1", "RST_STREAM on an idle stream", vec![raw(kind::RST_STREAM, 0, 1, &[0; 4])]),
            ("5.1", "WINDOW_UPDATE on an idle stream", vec![raw(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])]),
            ("5.1.1", "even stream id", vec![ok(2)]),
            ("5.1.1", "DATA on an even stream", vec![ok(1), end(2)]),
            ("5.1.1", "stream id lower than one before", vec![ok(5), ok(3)]),
            ("5.1.1", "stream used twice", vec![ok(1), raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]), ok(1)]),
            ("6.1", "DATA on stream 0", vec![end(0)]),
            ("6.1", "DATA with too much padding", vec![ok(1), data(1, b"\x09abc", 0x8)]),
            ("6.2", "HEADERS on stream 0", vec![ok(0)]),
            ("6.2", "HEADERS with too much padding", vec![headers(1, &[9, 0x83], 0xc)]),
            ("6.3", "PRIORITY on stream 0", vec![raw(kind::PRIORITY, 0, 0, &[0; 5])]),
            ("6.4", "RST_STREAM on stream 0", vec![raw(kind::RST_STREAM, 0, 0, &[0; 4])]),
            ("6.5", "SETTINGS on a stream", vec![raw(kind::SETTINGS, 0, 1, &[])]),
            ("6.5.2", "ENABLE_PUSH 2", vec![settings(2, 2)]),
            ("6.5.2", "MAX_FRAME_SIZE too small", vec![settings(5, 16_383)]),
            ("6.5.2", "MAX_FRAME_SIZE too large", vec![settings(5, 1 << 24)]),
            ("6.6", "PUSH_PROMISE from a client", vec![raw(kind::PUSH_PROMISE, 4, 1, &[0; 4])]),
            ("6.7", "PING on a stream", vec![raw(kind::PING, 0, 1, &[0; 8])]),
            ("6.8", "GOAWAY on a stream", vec![raw(kind::GOAWAY, 0, 1, &[0; 8])]),
            ("6.9", "connection WINDOW_UPDATE of 0", vec![raw(kind::WINDOW_UPDATE, 0, 0, &[0; 4])]),
            ("6.10", "CONTINUATION without HEADERS", vec![raw(kind::CONTINUATION, 4, 1, &whole)]),
            ("6.10", "CONTINUATION after END_HEADERS", vec![ok(1), raw(kind::CONTINUATION, 4, 1, &[])]),
            ("6.10", "CONTINUATION of another stream", vec![first(), raw(kind::CONTINUATION, 4, 3, &[])]),
            ("6.10", "CONTINUATION on stream 0", vec![first(), raw(kind::CONTINUATION, 4, 0, &[])]),
        ],
    );
}

#[test]
fn connection_errors_of_type_frame_size_error() {
    all_cost(
        "GOAWAY FRAME_SIZE_ERROR",
        vec![
            ("4.2", "DATA above the largest frame", vec![ok(1), vec![0, 0x40, 1, 0, 0, 0, 0, 0, 1]]),
            ("4.2", "HEADERS above the largest frame", vec![vec![0, 0x40, 1, 1, 4, 0, 0, 0, 1]]),
            ("4.2", "an unknown frame above the largest", vec![vec![0, 0x40, 1, 0xbe, 0, 0, 0, 0, 1]]),
            ("6.1", "padded DATA without a pad length", vec![ok(1), data(1, b"", 0x8)]),
            ("6.2", "HEADERS too short for its priority", vec![headers(1, &[0; 4], 0x24)]),
            ("6.3", "PRIORITY of 4 bytes, idle stream", vec![raw(kind::PRIORITY, 0, 1, &[0; 4])]),
            ("6.4", "RST_STREAM of 3 bytes", vec![ok(1), raw(kind::RST_STREAM, 0, 1, &[0; 3])]),
            ("6.5", "SETTINGS of 7 bytes", vec![raw(kind::SETTINGS, 0, 0, &[0; 7])]),
            ("6.5", "SETTINGS ack with a payload", vec![raw(kind::SETTINGS, 1, 0, &[0; 6])]),
            ("6.7", "PING of 7 bytes", vec![raw(kind::PING, 0, 0, &[0; 7])]),
            ("6.7", "PING of 9 bytes", vec![raw(kind::PING, 0, 0, &[0; 9])]),
            ("6.8", "GOAWAY of 7 bytes", vec![raw(kind::GOAWAY, 0, 0, &[0; 7])]),
            ("6.9", "WINDOW_UPDATE of 3 bytes", vec![raw(kind::WINDOW_UPDATE, 0, 0, &[0; 3])]),
        ],
    );
}

#[test]
fn connection_errors_of_type_flow_control_error() {
    let wide = raw(kind::WINDOW_UPDATE, 0, 1, &[127, 255, 0, 0]);
    all_cost(
        "GOAWAY FLOW_CONTROL_ERROR",
        vec![
            ("6.5.2", "INITIAL_WINDOW_SIZE above 2^31-1", vec![settings(4, 1 << 31)]),
            ("6.9.1", "connection window overflow", vec![raw(kind::WINDOW_UPDATE, 0, 0, &[127, 255, 255, 255])]),
            ("6.9.2", "a stream's window overflows by SETTINGS", vec![ok(1), wide, settings(4, 1 << 20)]),
        ],
    );
    // 6.9: a peer that exceeds a window. Windows are given back when half is used, so no sequence of frames gets there
    // while that holds; what happens if it does is here.
    let mut window = RecvWindow::new(100);
    assert!(window.receive(100) && !window.receive(1));
}

#[test]
fn connection_errors_of_type_compression_error() {
    let row = |what: &'static str, section: &'static str, hex: &str| (section, what, vec![headers(1, &unhex(hex), 4)]);
    all_cost(
        "GOAWAY COMPRESSION_ERROR",
        vec![
            row("index 0", "7541 6.1", "80"),
            row("index behind the tables", "7541 2.3.3", "be"),
            row("name index behind the tables", "7541 2.3.3", "7f 00 00"),
            row("integer without an end", "7541 5.1", "ff ff ff ff ff ff ff ff"),
            row("integer cut", "7541 5.1", "ff"),
            row("string longer than the block", "7541 5.2", "00 05 61 62"),
            row("value missing", "7541 6.2", "00 01 61"),
            row("Huffman padding of eight bits", "7541 5.2", "00 82 1f ff 00"),
            row("Huffman padding that is not EOS's", "7541 5.2", "00 81 18 00"),
            row("Huffman EOS in a string", "7541 5.2", "00 84 ff ff ff ff 00"),
            row("table size above the setting", "7541 6.3", "3f e2 1f"),
            row("table size inside a block", "7541 4.2", "82 20"),
            (
                "9113 4.3",
                "a bad block on a stream that is over",
                vec![ok(1), raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]), headers(1, &[0x80], 5)],
            ),
            ("9113 4.3", "a bad block in trailers", vec![ok(1), headers(1, &[0x80], 5)]),
        ],
    );
}

#[test]
fn stream_errors_of_a_malformed_request() {
    all_cost(
        "RST 1 PROTOCOL_ERROR",
        vec![
            ("6.9", "WINDOW_UPDATE of 0", vec![ok(1), raw(kind::WINDOW_UPDATE, 0, 1, &[0; 4])]),
            ("8.1", "trailers without END_STREAM", vec![ok(1), headers(1, &[], 4)]),
            ("8.1", "pseudo-header in trailers", vec![ok(1), headers(1, &[0x83], 5)]),
            ("8.1.1", "less than content-length", vec![with("content-length", "8"), end(1)]),
            ("8.1.1", "more than content-length", vec![with("content-length", "3"), data(1, MESSAGE, 0)]),
            ("8.1.1", "no body at all", vec![headers(1, &block("/a", &[("content-length", "3")]), 5)]),
            ("8.1.1", "content-length that is no number", vec![with("content-length", "-1")]),
            ("8.2.1", "upper case in a name", vec![with("X-a", "b")]),
            ("8.2.1", "empty name", vec![with("", "b")]),
            ("8.2.1", "blank in a name", vec![with("a b", "c")]),
            ("8.2.1", "colon in a name", vec![with("a:b", "c")]),
            ("8.2.1", "DEL in a name", vec![with("a\x7f", "c")]),
            ("8.2.1", "byte above 127 in a name", vec![field(b"a\xff", b"c")]),
            ("8.2.1", "line feed in a value", vec![with("x", "a\nb")]),
            ("8.2.1", "carriage return in a value", vec![with("x", "a\rb")]),
            ("8.2.1", "NUL in a value", vec![with("x", "a\0b")]),
            ("8.2.1", "value that begins with a blank", vec![with("x", " a")]),
            ("8.2.1", "value that ends with a tab", vec![with("x", "a\t")]),
            ("8.2.2", "connection", vec![with("connection", "close")]),
            ("8.2.2", "keep-alive", vec![with("keep-alive", "1")]),
            ("8.2.2", "proxy-connection", vec![with("proxy-connection", "close")]),
            ("8.2.2", "transfer-encoding", vec![with("transfer-encoding", "chunked")]),
            ("8.2.2", "upgrade", vec![with("upgrade", "h2c")]),
            ("8.2.2", "te other than trailers", vec![with("te", "gzip")]),
            ("8.3", "pseudo-header after a field", vec![with(":authority", "x")]),
            ("8.3", "unknown pseudo-header", vec![bare("83 86 84 00 02 3a78 01 61")]),
            ("8.3", "a response's pseudo-header", vec![bare("83 86 84 88")]),
            ("8.3.1", ":method twice", vec![bare("83 83 86 84")]),
            ("8.3.1", ":scheme twice", vec![bare("83 86 87 84")]),
            ("8.3.1", ":path twice", vec![bare("83 86 84 84")]),
            ("8.3.1", ":authority twice", vec![bare("83 86 84 01 01 61 01 01 61")]),
            ("8.3.1", "no :path", vec![bare("83 86")]),
            ("8.3.1", "no :method", vec![bare("86 84")]),
            ("8.3.1", "no :scheme", vec![bare("83 84")]),
            ("8.3.1", "empty :path", vec![bare("83 86 04 00")]),
        ],
    );
}

#[test]
fn other_stream_errors() {
    let overflow = raw(kind::WINDOW_UPDATE, 0, 1, &[127, 255, 255, 255]);
    check(vec![
        ("5.1 DATA after END_STREAM", vec![ok(1), end(1), end(1)], "unary 1 2, reset 1, RST 1 STREAM_CLOSED"),
        ("5.1 HEADERS after END_STREAM", vec![ok(1), end(1), ok(1)], "unary 1 2, reset 1, RST 1 STREAM_CLOSED"),
        (
            "6.3 PRIORITY of 4 bytes, open stream",
            vec![ok(1), raw(kind::PRIORITY, 0, 1, &[0; 4])],
            "RST 1 FRAME_SIZE_ERROR",
        ),
        ("6.9.1 stream window overflow", vec![ok(1), overflow], "RST 1 FLOW_CONTROL_ERROR"),
    ]);
}

/// 5.1.2: more streams than announced.
#[test]
fn streams_above_the_limit_are_refused() {
    let mut server = Connection::new(server::Config { max_concurrent_streams: 2, ..config() });
    server.handle_bytes(&hello());
    frames(&mut server);
    for id in [1, 3, 5] {
        server.handle_bytes(&ok(id));
    }
    let resets: Vec<_> = frames(&mut server).into_iter().filter(|(h, _)| h.kind == kind::RST_STREAM).collect();
    assert_eq!(resets.len(), 1);
    assert_eq!((resets[0].0.stream, &resets[0].1[..]), (5, &Reason::REFUSED_STREAM.0.to_be_bytes()[..]));
    assert_eq!(server.open_calls(), 2);
}

/// 3.4: the preface comes first and SETTINGS follow.
#[test]
fn a_bad_start_ends_the_connection() {
    for bad in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), [PREFACE.as_slice(), &raw(kind::PING, 0, 0, &[0; 8])].concat()] {
        let mut server = Connection::new(config());
        server.handle_bytes(&bad);
        assert_eq!(server.failure().map(|f| f.reason), Some(Reason::PROTOCOL_ERROR));
        assert!(server.should_close());
    }
}
