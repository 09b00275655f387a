//! gzip as a Go server does it: what a client compresses is undone within the message limit, and answered in kind.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use net::grpc::server::{Connection, Event};
use net::h2::frame::kind;
use net::h2::hpack::Decoder;

use super::pair::config;
use super::wire::{block, data, frames, headers, hello};

fn packed(raw: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

fn framed(flag: u8, body: &[u8]) -> Vec<u8> {
    [&[flag][..], &(body.len() as u32).to_be_bytes(), body].concat()
}

fn server_with(path: &str, encoding: &str, body: &[u8]) -> Connection {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    frames(&mut server);
    server.handle_bytes(&headers(1, &block(path, &[("grpc-encoding", encoding)]), 4));
    for part in body.chunks(16_000) {
        server.handle_bytes(&data(1, part, 0));
    }
    server.handle_bytes(&data(1, b"", 1));
    server
}

/// Headers as `name=value` words, and the messages as (flag, body).
fn answer(server: &mut Connection) -> (String, Vec<(u8, Vec<u8>)>) {
    let (mut words, mut body, mut decoder) = (Vec::new(), Vec::new(), Decoder::new(4096));
    for (header, payload) in frames(server) {
        match header.kind {
            kind::HEADERS => decoder
                .decode(&payload, |name, value| {
                    words.push(format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
                })
                .expect("our own writing"),
            kind::DATA => body.extend_from_slice(&payload),
            _ => {}
        }
    }
    let (mut messages, mut rest) = (Vec::new(), &body[..]);
    while let Some(([flag, len @ ..], after)) = rest.split_first_chunk::<5>() {
        let (message, after) = after.split_at(u32::from_be_bytes(*len) as usize);
        messages.push((*flag, message.to_vec()));
        rest = after;
    }
    (words.join(" "), messages)
}

fn unary(server: &mut Connection) -> bytes::Bytes {
    match server.poll_event() {
        Some(Event::Unary { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_compressed_call_is_answered_compressed() {
    let text = b"all work and no play makes etcd a dull store ".repeat(100);
    let mut server = server_with("/a", "gzip", &framed(1, &packed(&text)));
    assert_eq!(unary(&mut server), text);
    server.respond_unary(net::grpc::StreamId(1), text.len(), |out| out.extend_from_slice(&text));
    let (words, messages) = answer(&mut server);
    assert!(words.contains("grpc-encoding=gzip") && words.contains("grpc-status=0"), "{words}");
    assert_eq!(messages.len(), 1);
    assert!(messages[0].0 == 1 && messages[0].1.len() < text.len());
    let mut unpacked = Vec::new();
    GzDecoder::new(&messages[0].1[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, text);
}

#[test]
fn each_message_says_for_itself_whether_it_is_compressed() {
    let mut server = server_with("/a", "gzip", &framed(0, b"plain"));
    assert_eq!(unary(&mut server), &b"plain"[..]);
    server.respond_unary(net::grpc::StreamId(1), 0, |_| {});
    let (words, messages) = answer(&mut server);
    assert!(words.contains("grpc-encoding=gzip") && messages == [(0, Vec::new())], "{words}");
    // Too large to hold up the others for.
    let mut server = server_with("/a", "gzip", &framed(1, &packed(b"x")));
    unary(&mut server);
    server.respond_unary(net::grpc::StreamId(1), 2 << 20, |out| out.resize(out.len() + (2 << 20), 7));
    assert!(server.queued_bytes() > 2 << 20);
}

#[test]
fn streams_are_compressed_too() {
    let body = [framed(1, &packed(b"one")), framed(0, b"two"), framed(1, &packed(&[9; 5000]))].concat();
    let mut server = server_with("/stream", "gzip", &body);
    assert!(matches!(server.poll_event(), Some(Event::Open { .. })));
    for expected in [b"one".to_vec(), b"two".to_vec(), vec![9; 5000]] {
        let Some(Event::Message { stream, message }) = server.poll_event() else { panic!("a message") };
        assert_eq!(message, expected);
        server.send_message(stream, message);
    }
    let (_, messages) = answer(&mut server);
    assert_eq!(messages.iter().map(|(flag, _)| *flag).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn what_cannot_be_undone_is_refused_in_gos_words() {
    let good = packed(b"hello hello hello");
    let mut bad_sum = good.clone();
    let at = bad_sum.len() - 6;
    bad_sum[at] ^= 1;
    let limit = config().max_message_bytes;
    let rows: Vec<(&str, Vec<u8>, String)> = vec![
        (
            "zstd",
            framed(1, b"x"),
            "grpc-status=12 grpc-message=grpc: Decompressor is not installed for grpc-encoding \"zstd\"".into(),
        ),
        (
            "identity",
            framed(1, &good),
            "grpc-status=13 grpc-message=grpc: compressed flag set with identity or empty encoding".into(),
        ),
        (
            "gzip",
            framed(1, b"not gzip at all"),
            "grpc-status=13 grpc-message=grpc: failed to decompress the message: gzip: invalid header".into(),
        ),
        ("gzip", framed(1, b""), "grpc-status=13 grpc-message=grpc: failed to decompress the message: EOF".into()),
        (
            "gzip",
            framed(1, &good[..good.len() - 9]),
            "grpc-status=13 grpc-message=grpc: failed to read decompressed data: unexpected EOF".into(),
        ),
        (
            "gzip",
            framed(1, &bad_sum),
            "grpc-status=13 grpc-message=grpc: failed to read decompressed data: flate: corrupt input".into(),
        ),
        // A bomb: 4 KiB that would be more than the limit.
        (
            "gzip",
            framed(1, &packed(&vec![0; limit + 1])),
            format!("grpc-status=8 grpc-message=grpc: received message after decompression larger than max {limit}"),
        ),
    ];
    for (encoding, body, expected) in rows {
        let mut server = server_with("/a", encoding, &body);
        assert!(server.poll_event().is_none(), "{expected}");
        let (words, _) = answer(&mut server);
        assert!(words.ends_with(&expected), "{words} is not {expected}");
        assert_eq!((server.open_calls(), server.buffered_bytes()), (0, 0));
    }
}
