//! Fuzzing on stable Rust: seeded, so that one number reproduces a failure. HPACK is held against a decoder nobody here
//! wrote, gRPC framing against a model, connections against themselves under other cuts. Nothing may panic, grow or differ.
//!
//! `NET_FUZZ_ROUNDS` sets how many seeds each target runs (a few thousand by default), `NET_FUZZ_FROM` the first of them.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use net::grpc::message::{Assembler, Refusal};
use net::grpc::server::{CallKind, Config, Connection, Event};
use net::grpc::{Code, RequestHead, Status};
use net::h1;
use net::h2::frame::{self, PREFACE};
use net::h2::hpack::{Decoder, Fault};

const ROUNDS_DEFAULT: u64 = 3_000;

/// Bytes a connection may hold of what these tests say: a few frames, a header block, one body.
const HELD_BYTES_MAX: usize = 1 << 20;

struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Rng(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// Pieces of random size.
    fn cut<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let most = [1, 5, 50, 1000][self.below(4)];
            let (piece, rest) = bytes.split_at(1 + self.below(most.min(bytes.len())));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }

    fn flip(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(3) {
            let at = self.below(bytes.len().max(1));
            match (self.below(3), bytes.get_mut(at)) {
                (0, Some(byte)) => *byte ^= 1 << (at % 8),
                (1, Some(byte)) => *byte = [0, 0x7f, 0x80, 0xff, b'\n', b' '][at % 6],
                (_, Some(_)) => bytes.truncate(at),
                (_, None) => bytes.push(0),
            }
        }
    }
}

/// Runs a target on its kept seeds and then on new ones; a failure names its seed.
fn run(target: &str, check: impl Fn(&mut Rng)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (from, rounds) = (number("NET_FUZZ_FROM").unwrap_or(0), number("NET_FUZZ_ROUNDS").unwrap_or(ROUNDS_DEFAULT));
    let kept = include_str!("../testdata/fuzz_seeds.txt").lines().filter_map(|line| line.split_once(' '));
    let kept = kept.filter(|(name, _)| *name == target).map(|(_, seed)| seed.parse().expect("a seed is a number"));
    for seed in kept.chain(from..from + rounds) {
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| check(&mut Rng::new(seed)))) {
            eprintln!("{target}: seed {seed}");
            std::panic::resume_unwind(cause);
        }
    }
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// One field representation or size update, mostly well-formed.
fn representation(rng: &mut Rng, out: &mut Vec<u8>) {
    let string = |rng: &mut Rng, out: &mut Vec<u8>| match rng.below(4) {
        // A Huffman string of five-bit codes, padded with ones: 8 codes in 5 bytes.
        0 => out.extend_from_slice(&[0x85, 0x00, 0x44, 0x32, 0x14, 0xc7]),
        1 => {
            let len = rng.below(8);
            out.push(0x80 | len as u8);
            out.extend(rng.bytes(len));
        }
        _ => {
            let len = [0, 1, 5, 60, 126][rng.below(5)];
            out.push(len as u8);
            out.extend((0..len).map(|_| b'a' + rng.below(26) as u8));
        }
    };
    match rng.below(8) {
        0 | 1 => out.push(0x80 | rng.below(0x7f) as u8),
        2 | 3 => {
            let index = [0, 1, 31, 58, 62, 63][rng.below(6)];
            let pattern = [0x00, 0x10, 0x40][rng.below(3)];
            let max = if pattern == 0x40 { 63 } else { 15 };
            if index < max {
                out.push(pattern | index as u8);
            } else {
                out.extend_from_slice(&[pattern | max as u8, (index - max) as u8]);
            }
            if index == 0 {
                string(rng, out);
            }
            string(rng, out);
        }
        4 => {
            out.push(0x40);
            string(rng, out);
            string(rng, out);
        }
        5 => out.extend_from_slice(&[0x3f, 0xe1 - rng.below(0x60) as u8, 0x1f]),
        6 => out.push(0x20 | rng.below(31) as u8),
        _ => out.extend(rng.bytes(1)),
    }
}

#[test]
fn hpack_agrees_with_another_decoder() {
    use fluke_hpack::decoder::{Decoder as Other, DecoderError};
    run("hpack", |rng| {
        let (mut ours, mut other) = (Decoder::new(4096), Other::new());
        other.set_max_allowed_table_size(4096);
        for _ in 0..10 {
            let mut block = Vec::new();
            (0..rng.below(12)).for_each(|_| representation(rng, &mut block));
            if rng.one_in(4) {
                rng.flip(&mut block);
            }
            let mut fields: Fields = Vec::new();
            let result = ours.decode(&block, |name, value| fields.push((name.to_vec(), value.to_vec())));
            assert!(ours.table().size() <= 4096);
            // The other one panics on some faults; then there is no second opinion.
            let Ok(theirs) = catch_unwind(AssertUnwindSafe(|| other.decode(&block))) else { return };
            match (result, theirs) {
                (Ok(()), Ok(expected)) => assert!(fields == expected, "{block:02x?}"),
                (Err(_), Err(_)) => return,
                // It takes size updates anywhere, and both have limits of their own for integers.
                (Err(Fault::SizeUpdateLate | Fault::IntegerTooLarge), Ok(_)) => return,
                (Ok(()), Err(DecoderError::IntegerDecodingError(_))) => return,
                // A block of nothing but a size update is an empty list by the RFC; it disagrees.
                (Ok(()), Err(DecoderError::SizeUpdateAtEnd)) => return,
                (ours, theirs) => panic!("{block:02x?}: {ours:?}, they say {theirs:?}"),
            }
        }
    });
}

#[test]
fn grpc_framing_agrees_with_a_model() {
    const MAX: usize = 300;
    run("grpc", |rng| {
        let mut bytes = Vec::new();
        for _ in 0..rng.below(8) {
            let len = [0, 1, 10, 299, 300, 301][rng.below(6)];
            bytes.extend_from_slice(&[[0, 0, 0, 1, 2][rng.below(5)], 0, 0, (len >> 8) as u8, len as u8]);
            bytes.extend(rng.bytes(len));
        }
        rng.flip(&mut bytes);
        let (mut expected, mut rest) = (String::new(), &bytes[..]);
        while let Some(([flag, len @ ..], after)) = rest.split_first_chunk::<5>() {
            let len = u32::from_be_bytes(*len) as usize;
            let verdict = match *flag {
                0 | 1 if len <= MAX => after.split_at_checked(len),
                0 | 1 => {
                    expected += &format!("{:?}", Refusal::TooLarge { len, max: MAX });
                    None
                }
                flag => {
                    expected += &format!("{:?}", Refusal::BadFlag(flag));
                    None
                }
            };
            let Some((body, after)) = verdict else { break };
            expected += &format!("{} {body:?};", *flag == 1);
            rest = after;
        }
        let (mut assembler, mut got) = (Assembler::default(), String::new());
        'all: for mut piece in rng.cut(&bytes) {
            while !piece.is_empty() {
                match assembler.next(&mut piece, MAX) {
                    Ok(Some(framed)) => got += &format!("{} {:?};", framed.packed, &framed.body[..]),
                    Ok(None) => break,
                    Err(refusal) => {
                        got += &format!("{refusal:?}");
                        break 'all;
                    }
                }
                assert!(assembler.held_bytes() <= MAX + 5);
            }
        }
        assert_eq!(got, expected);
    });
}

/// A conversation of a client: mostly legal frames.
fn conversation(rng: &mut Rng) -> Vec<u8> {
    let blocks: [&[u8]; 5] = [
        b"\x83\x86\x04\x02/a\x5f\x10application/grpc",
        b"\x83\x86\x04\x07/stream\x0f\x10\x10application/grpc",
        b"\x82\x86\x84",
        b"\x83\x86\x04\x02/a\x0f\x10\x10application/grpc\x40\x0cgrpc-timeout\x020S",
        b"\x82\x86\x04\x02/a\x0f\x10\x10application/grpc",
    ];
    let mut out = PREFACE.to_vec();
    frame::put_settings(&mut out, &[(4, [0, 100, 1 << 20][rng.below(3)])]);
    let mut last_stream = 1;
    for _ in 0..rng.below(30) {
        let stream = if rng.one_in(3) { [0, 1, 2, last_stream][rng.below(4)] } else { last_stream };
        let (kind, flags, payload): (u8, u8, Vec<u8>) = match rng.below(14) {
            0..=4 => {
                last_stream += 2;
                let mut block = blocks[rng.below(5)].to_vec();
                if rng.one_in(8) {
                    rng.flip(&mut block);
                }
                (1, [4, 5, 4, 0][rng.below(4)], block)
            }
            5..=8 => {
                let len = [0, 1, 40, 3000][rng.below(4)];
                let mut message = vec![rng.below(2) as u8 & rng.below(2) as u8, 0, 0, (len >> 8) as u8, len as u8];
                message.extend(rng.bytes(len));
                (0, [0, 1, 1, 8][rng.below(4)], message)
            }
            9 => (3, 0, vec![0, 0, 0, 8]),
            10 => (8, 0, (rng.next() as u32 >> rng.below(32)).to_be_bytes().to_vec()),
            11 => (6, 0, vec![3; 8]),
            12 => (9, [0, 4][rng.below(2)], rng.bytes(10)),
            _ => {
                let len = rng.below(20);
                (rng.next() as u8 % 12, rng.next() as u8, rng.bytes(len))
            }
        };
        let stream = if kind == 1 { last_stream } else { stream };
        out.extend_from_slice(&frame::header(payload.len(), kind, flags, stream));
        out.extend_from_slice(&payload);
    }
    if rng.one_in(10) {
        rng.flip(&mut out);
    }
    out
}

fn classify(head: &RequestHead) -> CallKind {
    if head.path == "/stream" { CallKind::Stream } else { CallKind::Unary }
}

/// What a server makes of a conversation: events and frames, in order. It answers when all is said: earlier answers would
/// change what later frames mean.
fn served(pieces: &[&[u8]]) -> (String, Vec<u8>) {
    let config =
        Config { max_message_bytes: 2000, max_concurrent_streams: 10, accept_http: true, keepalive: None, classify };
    let (mut server, mut log, mut out, mut events) = (Connection::new(config), String::new(), Vec::new(), Vec::new());
    for piece in pieces {
        server.handle_bytes(piece);
        events.extend(std::iter::from_fn(|| server.poll_event()));
        assert!(server.buffered_bytes() + server.queued_bytes() < HELD_BYTES_MAX);
    }
    for event in events {
        write!(log, "{event:?};").expect("a string takes everything");
        match event {
            Event::Unary { stream, message, .. } => {
                server.respond_unary(stream, message.len(), |out| out.extend(message));
            }
            Event::Message { stream, message } => server.send_message(stream, message),
            Event::End { stream } => server.finish(stream, &Status::new(Code::Aborted, "x")),
            Event::Http { stream, body, .. } => server.respond_http(stream, 200, &[], body),
            Event::Open { .. } | Event::Reset { .. } => {}
        }
    }
    assert!(server.queued_bytes() + server.held_bytes() < HELD_BYTES_MAX);
    server.poll_transmit(&mut out, usize::MAX);
    (log, out)
}

#[test]
fn a_server_says_the_same_however_its_input_is_cut() {
    run("server", |rng| {
        let said = conversation(rng);
        let whole = served(&[&said]);
        assert!(
            whole == served(&rng.cut(&said)) && whole == served(&said.chunks(1).collect::<Vec<_>>()),
            "{}",
            whole.0
        );
        let mut rest = &whole.1[..];
        while let Some(head) = rest.first_chunk::<9>() {
            rest = &rest[9 + frame::Header::parse(head).len..];
        }
        assert!(rest.is_empty(), "whole frames");
    });
}

#[test]
fn http1_reads_the_same_however_its_input_is_cut() {
    let parts: [&[u8]; 16] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"5;x=y\r\nabcde\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        b"Host: b\r\n",
        b"\r\n",
        b" ",
        b"\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"Content-Length: 4\r\n",
        b"z",
    ];
    let read = |pieces: &[&[u8]]| {
        let (mut connection, mut log, mut out) =
            (h1::Connection::new(h1::Limits::default()), String::new(), Vec::new());
        for piece in pieces {
            connection.handle_bytes(piece);
            while let Some(request) = connection.poll_request() {
                let _ = write!(log, "{} {} {:?};", request.method(), request.target(), request.body);
                connection.respond(&h1::Response::new(200).body(Bytes::from_static(b"ok")));
            }
            assert!(connection.buffered_bytes() < HELD_BYTES_MAX);
        }
        connection.poll_transmit(&mut out, usize::MAX);
        (log, String::from_utf8_lossy(&out).into_owned(), connection.should_close())
    };
    run("http1", |rng| {
        let mut said = Vec::new();
        (0..1 + rng.below(6)).for_each(|_| said.extend_from_slice(parts[rng.below(parts.len())]));
        rng.flip(&mut said);
        let pieces = rng.cut(&said);
        // Whether 100 Continue is said depends on what has come when the head is complete; nothing else does.
        let plain =
            |said: (String, String, bool)| (said.0, said.1.replace("HTTP/1.1 100 Continue\r\n\r\n", ""), said.2);
        assert_eq!(plain(read(&[&said])), plain(read(&pieces)));
    });
}
