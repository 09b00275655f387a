//! gRPC's own refusals, and the floods a server must not put up with.

use bytes::Bytes;
use net::grpc::client::{Config, Connection as Client, Event as ClientEvent};
use net::grpc::metadata::Metadata;
use net::grpc::server::{self, Connection, Event};
use net::grpc::status::{decode_message, encode_message};
use net::grpc::{Code, Status};
use net::h2::Reason;
use net::h2::frame::kind;
use net::h2::hpack::Decoder;

use super::pair::{Pair, config};
use super::wire::{block, data, frames, headers, hello, raw};

/// One request's answer as `:status grpc-status grpc-message`.
fn answer(block: &[u8], body: &[u8]) -> String {
    let mut server = Connection::new(server::Config { accept_http: false, max_message_bytes: 100, ..config() });
    server.handle_bytes(&hello());
    frames(&mut server);
    server.handle_bytes(&headers(1, block, 4));
    server.handle_bytes(&data(1, body, 1));
    assert!(server.poll_event().is_none());
    assert_eq!((server.open_calls(), server.buffered_bytes()), (0, 0));
    let mut words = Vec::new();
    for (header, payload) in frames(&mut server) {
        if header.kind == kind::HEADERS {
            Decoder::new(4096)
                .decode(&payload, |name, value| {
                    if name != b"content-type" {
                        words.push(String::from_utf8_lossy(value).into_owned());
                    }
                })
                .expect("our own writing");
        }
    }
    words.join(" ")
}

#[test]
fn refusals() {
    let grpc = |fields: &[(&str, &str)]| block("/a", fields);
    let mut other_type = block("/a", &[]);
    let at = other_type.windows(4).position(|w| w == b"grpc").expect("content type");
    other_type[at] = b'x';
    let mut get = grpc(&[]);
    get[0] = 0x82;
    let hi: &[u8] = b"\0\0\0\0\x02hi";
    let rows: &[(Vec<u8>, &[u8], &str)] = &[
        (grpc(&[]), b"\0\0\0\0\x65", "200 8 grpc: received message larger than max (101 vs. 100)"),
        (
            grpc(&[("grpc-encoding", "snappy")]),
            b"\x01\0\0\0\x02hi",
            "200 12 grpc: Decompressor is not installed for grpc-encoding \"snappy\"",
        ),
        (grpc(&[]), b"\x01\0\0\0\x02hi", "200 13 grpc: compressed flag set with identity or empty encoding"),
        (grpc(&[]), b"\x02\0\0\0\x02hi", "200 13 grpc: received unexpected payload format 2"),
        (grpc(&[]), b"\0\0\0\0\x03hi", "200 13 unexpected EOF"),
        (grpc(&[]), b"\0\0\0", "200 13 unexpected EOF"),
        (grpc(&[]), b"", "200 13 no message in a unary request"),
        (grpc(&[]), b"\0\0\0\0\0\0\0\0\0\0", "200 13 more than one message in a unary request"),
        (
            grpc(&[("grpc-timeout", "soon")]),
            hi,
            "400 13 malformed grpc-timeout: strconv.ParseUint: parsing \"soo\": invalid syntax",
        ),
        (
            grpc(&[("grpc-timeout", "1x")]),
            hi,
            "400 13 malformed grpc-timeout: transport: timeout unit is not recognized: \"1x\"",
        ),
        (
            grpc(&[("host", "a"), ("host", "b")]),
            hi,
            "400 13 num values of :authority: 0, num values of host: 2, both must only have 1 value as per HTTP/2 spec",
        ),
        (
            grpc(&[("a-bin", "AAE=AA==")]),
            hi,
            "400 13 malformed binary metadata \"AAE=AA==\" in header \"a-bin\": illegal base64 data at input byte 3",
        ),
        (grpc(&[("x", &"y".repeat(16_000)), ("z", &"y".repeat(300))]), hi, "431 8 header list too large"),
        (other_type, hi, "415 3 invalid gRPC request content-type \"application/xrpc+proto\""),
        (get, hi, "405 13 Received a HEADERS frame with :method \"GET\" which should be POST"),
    ];
    for (block, body, expected) in rows {
        assert_eq!(answer(block, body), *expected);
    }
}

/// A refused request without a body: its stream is over with the refusal, and nothing may touch it after that.
#[test]
fn refusals_of_requests_that_end_with_their_headers() {
    let mut get = block("/a", &[]);
    get[0] = 0x82;
    for refused in [
        get,
        block("/a", &[("grpc-encoding", "snappy")]),
        block("/a", &[("grpc-timeout", "0S")]),
        block("/a", &[("grpc-timeout", "x")]),
        block("/a", &[("host", "a"), ("host", "b")]),
    ] {
        let mut server = Connection::new(config());
        server.handle_bytes(&hello());
        server.handle_bytes(&headers(1, &refused, 5));
        server.handle_bytes(&[headers(3, &block("/a", &[]), 4), data(3, b"\0\0\0\0\0", 1)].concat());
        assert!(matches!(server.poll_event(), Some(Event::Unary { .. })));
        assert_eq!((server.open_calls(), server.failure()), (1, None));
    }
}

#[test]
fn timeouts() {
    use std::time::Duration;
    let rows = [
        ("1H", Some(Duration::from_secs(3600))),
        ("2M", Some(Duration::from_secs(120))),
        ("99999999S", Some(Duration::from_secs(99_999_999))),
        ("5m", Some(Duration::from_millis(5))),
        ("5u", Some(Duration::from_micros(5))),
        ("0n", Some(Duration::ZERO)),
        ("100000000n", None),
        ("n", None),
        ("", None),
        ("1", None),
        ("-1S", None),
        ("1x", None),
    ];
    for (text, expected) in rows {
        assert_eq!(net::grpc::timeout::parse(text.as_bytes()), expected, "{text}");
    }
    for ns in [0, 1, 99_999_999, 100_000_001, 1_500_000_000, 86_400_000_000_000, u64::MAX] {
        let written = net::grpc::timeout::format(Duration::from_nanos(ns));
        assert!(net::grpc::timeout::parse(written.as_bytes()).expect("legal") >= Duration::from_nanos(ns));
    }
}

#[test]
fn status_messages_survive_the_wire() {
    for text in ["", "plain", "100% \n\t", "é中\u{1F600}", "a%41"] {
        assert_eq!(decode_message(&encode_message(text)), text);
    }
    assert_eq!(decode_message(b"50%zz%4"), "50%zz%4");
    assert!(encode_message(&"é".repeat(100_000)).len() <= 3 * 2048);
    assert_eq!(Code::from_number(16).name(), "Unauthenticated");
    assert_eq!(Code::from_number(17), Code::Unknown);
}

/// Feeds `part(n)` until the server gives up; returns after how many.
fn flood(mut part: impl FnMut(u32) -> Vec<u8>, read_answers: bool) -> (u32, Reason) {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    server.on_time(1);
    let mut out = Vec::new();
    for n in 0..1_000_000 {
        server.handle_bytes(&part(n));
        while server.poll_event().is_some() {}
        if let Some(failure) = server.failure() {
            assert!(server.should_close());
            return (n, failure.reason);
        }
        assert!(server.queued_bytes() < 200_000 && server.buffered_bytes() < 100_000);
        if read_answers {
            server.poll_transmit(&mut out, usize::MAX);
            out.clear();
        }
    }
    panic!("never stopped");
}

#[test]
fn floods_end_the_connection() {
    let open = block("/hang", &[]);
    let id = |n: u32| 2 * n + 1;
    let calm = Reason::ENHANCE_YOUR_CALM;
    let rapid_reset = |n| [headers(id(n), &open, 4), raw(kind::RST_STREAM, 0, id(n), &[0, 0, 0, 8])].concat();
    let made_you_reset = |n| [headers(id(n), &open, 4), raw(kind::WINDOW_UPDATE, 0, id(n), &[0; 4])].concat();
    let empty_data = |n| if n == 0 { headers(1, &open, 4) } else { data(1, b"", 0) };
    let continuations = |n| if n == 0 { headers(1, &[], 0) } else { raw(kind::CONTINUATION, 0, 1, &[]) };
    let fat_block = |n| if n == 0 { headers(1, &[], 0) } else { raw(kind::CONTINUATION, 0, 1, &[0; 16_384]) };
    assert!(matches!(flood(rapid_reset, true), (2_000..4_001, r) if r == calm));
    assert!(matches!(flood(made_you_reset, true), (1_000..4_001, r) if r == calm));
    assert!(matches!(flood(|_| raw(kind::PING, 0, 0, &[0; 8]), true), (10_000, r) if r == calm));
    assert!(matches!(flood(|_| raw(kind::PING, 0, 0, &[0; 8]), false), (3_000..5_000, r) if r == calm));
    assert!(matches!(flood(|_| raw(kind::SETTINGS, 0, 0, &[]), true), (100..201, r) if r == calm));
    assert!(matches!(flood(empty_data, true), (1_001, r) if r == calm));
    assert!(matches!(flood(continuations, true), (65, r) if r == calm));
    assert!(matches!(flood(fat_block, true), (3, r) if r == calm));
}

/// Without a clock an idle connection may ping for as long as it lives.
#[test]
fn keepalives_are_no_flood() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    for _ in 0..50_000 {
        server.handle_bytes(&raw(kind::PING, 0, 0, &[0; 8]));
        assert_eq!(frames(&mut server).last().map(|(h, _)| h.kind), Some(kind::PING));
    }
    assert_eq!(server.failure(), None);
}

/// Answered calls and passing time earn the budgets back.
#[test]
fn honest_clients_never_run_out_of_budget() {
    let mut pair = Pair::new(1, config());
    for n in 0..10_000u64 {
        let hang = pair.client.start_unary("/hang", &Metadata::new(), Bytes::new());
        let echo = pair.client.start_unary("/echo", &Metadata::new(), Bytes::new());
        if n % 100 == 0 {
            pair.settle();
            pair.expect_ok(echo, &[Bytes::new()]);
        }
        pair.client.cancel(hang);
        pair.client.cancel(echo);
        if n % 100 == 99 {
            pair.settle();
        }
        pair.server.on_time(n * 10);
    }
    assert_eq!(pair.server.failure(), None);
}

/// Heads that wait for their request are bounded too, unless they are all the same one.
#[test]
fn unfinished_heads_are_bounded() {
    for (len, refuses) in [(7_000, true), (100, false)] {
        let mut server = Connection::new(server::Config { max_concurrent_streams: 10_000, ..config() });
        server.handle_bytes(&hello());
        let open = block("/a", &[("a", &"y".repeat(len)), ("b", &"y".repeat(len))]);
        for n in 0..2_000 {
            server.handle_bytes(&headers(2 * n + 1, &open, 4));
            frames(&mut server);
        }
        assert_eq!(server.open_calls() < 600, refuses, "{} calls with {len} bytes", server.open_calls());
        assert_eq!(server.failure(), None);
    }
}

/// HEAD over HTTP/2: the length is told, the body is not sent.
#[test]
fn head_requests_get_no_body() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    frames(&mut server);
    let mut head = Vec::new();
    net::h2::hpack::put_literal_indexed_name(&mut head, 2, b"HEAD");
    head.extend_from_slice(&[0x86, 0x84]);
    server.handle_bytes(&headers(1, &head, 5));
    let Some(Event::Http { stream, .. }) = server.poll_event() else { panic!("a request") };
    server.respond_http(stream, 200, &[], Bytes::from_static(b"body"));
    let answer = frames(&mut server);
    assert_eq!(answer.iter().map(|(h, _)| (h.kind, h.flags)).collect::<Vec<_>>(), [(kind::HEADERS, 5)]);
    assert!(answer[0].1.windows(15).any(|w| w == b"content-length\x01") && answer[0].1.ends_with(b"4"));
}

/// References to one large table entry: refused, and when it is far more than anybody means, the connection ends.
#[test]
fn header_bombs() {
    let mut fat = b"\x40\x01x\x7f\xa1\x1e".to_vec();
    fat.resize(fat.len() + 4000, b'y');
    for (references, ends) in [(10, false), (1000, true)] {
        let mut server = Connection::new(config());
        server.handle_bytes(&hello());
        server.handle_bytes(&headers(1, &fat, 5));
        assert_eq!(server.failure(), None);
        server.handle_bytes(&headers(3, &vec![0xbe; references], 5));
        assert_eq!(server.failure().map(|f| f.reason), ends.then_some(Reason::ENHANCE_YOUR_CALM), "{references}");
    }
}

/// Unfinished requests are bounded per connection, whatever the windows say.
#[test]
fn unfinished_requests_are_bounded() {
    let mut pair = Pair::new(1, config());
    pair.max_cut = 1 << 20;
    // The last byte of each message never comes: prefix of 4 MiB, body one short.
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    let open = block("/a", &[]);
    let mut refused = 0;
    for n in 0..40 {
        let id = 2 * n + 1;
        server.handle_bytes(&headers(id, &open, 4));
        server.handle_bytes(&data(id, &[0, 0, 0x40, 0, 0], 0));
        for _ in 0..255 {
            server.handle_bytes(&data(id, &[0; 16_384], 0));
            let mut out = Vec::new();
            server.poll_transmit(&mut out, usize::MAX);
            refused += out.windows(3).filter(|w| *w == b"8\x00\x0c").count();
        }
        assert!(server.buffered_bytes() <= (64 << 20) + 20_000);
    }
    assert_eq!(server.failure(), None);
    assert!(refused > 10, "{refused}");
}

/// Answers that are not gRPC's end the call with the mapped code.
#[test]
fn a_client_maps_what_is_not_grpc() {
    let rows: &[(&[Vec<u8>], Code)] = &[
        (&[headers(1, b"\x8d", 5)], Code::Unimplemented),
        (&[headers(1, b"\x88", 5)], Code::Unknown),
        (&[headers(1, b"\x88\x0f\x10\x10application/grpc", 5)], Code::Unknown),
        (&[headers(1, b"\x88\x0f\x10\x10application/grpc", 4), data(1, b"", 1)], Code::Internal),
        (&[data(1, b"", 0)], Code::Internal),
        (&[raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 7])], Code::Unavailable),
        (&[raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])], Code::Canceled),
        (&[raw(kind::GOAWAY, 0, 0, &[0; 8])], Code::Unavailable),
        (&[raw(kind::PING, 0, 3, &[0; 8])], Code::Unavailable),
        (
            &[headers(1, b"\x88\x0f\x10\x10application/grpc", 4), headers(1, b"\x00\x0bgrpc-status\x02\x31\x36", 5)],
            Code::Unauthenticated,
        ),
    ];
    for (parts, code) in rows {
        let mut client = Client::new("x", Config::default());
        let stream = client.start_unary("/a", &Metadata::new(), Bytes::new());
        client.handle_bytes(&raw(kind::SETTINGS, 0, 0, &[]));
        parts.iter().for_each(|part| client.handle_bytes(part));
        match client.poll_event() {
            Some(ClientEvent::Trailers { stream: ended, status, .. }) => {
                assert_eq!((ended, status.code), (stream, *code), "{parts:?}: {status}");
            }
            other => panic!("{other:?}"),
        }
        assert!(client.poll_event().is_none());
    }
}

/// A refused streaming call is told to its owner.
#[test]
fn the_owner_hears_of_a_refused_stream() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    server.handle_bytes(&headers(1, &block("/stream", &[]), 4));
    server.handle_bytes(&data(1, b"\x09\0\0\0\0", 0));
    assert!(matches!(server.poll_event(), Some(Event::Open { .. })));
    assert!(matches!(server.poll_event(), Some(Event::Reset { .. })));
    server.finish(net::grpc::StreamId(1), &Status::OK);
    assert_eq!(server.open_calls(), 0);
}
