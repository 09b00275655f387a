//! Nothing a peer sends may panic, hang or grow memory without bound. Seeded; a failing seed reproduces alone.

use bytes::Bytes;
use net::grpc::client::{Config, Connection as Client};
use net::grpc::server::{Connection, Event};
use net::grpc::{Code, Metadata, Status, StreamId};
use net::h2::frame;

use super::pair::{Rng, config};
use super::wire::{block, hello};

/// A frame that is likely to get past the first checks.
fn likely_frame(rng: &mut Rng, blocks: &[Vec<u8>]) -> Vec<u8> {
    let kind = rng.below(11) as u8;
    let stream = [0, 1, 3, 5, 7, 9, 2, 101][rng.below(8)];
    let payload = match kind {
        1 | 9 => {
            let mut block = blocks[rng.below(blocks.len())].clone();
            if rng.below(4) == 0 {
                let at = rng.below(block.len());
                block[at] ^= 1 << rng.below(8);
            }
            let cut = if rng.below(4) == 0 { rng.below(block.len()) } else { block.len() };
            block[..cut].to_vec()
        }
        2 => vec![0; 5],
        3 | 8 => (rng.next() as u32 >> rng.below(32)).to_be_bytes().to_vec(),
        4 => {
            (0..rng.below(3)).flat_map(|_| [0, rng.below(8) as u8, 0, 0, rng.next() as u8, rng.next() as u8]).collect()
        }
        6 => vec![1; 8],
        0 if rng.below(2) == 0 => b"\0\0\0\0\x04abcd".to_vec(),
        _ => {
            let len = rng.below(40);
            rng.bytes(len)
        }
    };
    let flags = [0, 1, 4, 5, 8, 0x20, rng.next() as u8][rng.below(7)];
    let mut out = frame::header(payload.len(), kind, flags, stream).to_vec();
    out.extend_from_slice(&payload);
    out
}

/// Random flips, insertions and cuts.
fn input(rng: &mut Rng, blocks: &[Vec<u8>]) -> Vec<u8> {
    if rng.below(10) == 0 {
        let len = rng.below(100);
        return rng.bytes(len);
    }
    let mut bytes = likely_frame(rng, blocks);
    if rng.below(20) == 0 {
        let at = rng.below(bytes.len());
        bytes[at] = rng.next() as u8;
    }
    bytes
}

#[test]
fn a_server_survives_anything() {
    let blocks = [
        block("/a", &[("x", "y")]),
        block("/stream", &[("grpc-timeout", "1S")]),
        block("/b", &[]),
        vec![0x82, 0x86, 0x84],
    ];
    for seed in 0..15_000 {
        let mut rng = Rng::new(seed);
        let mut server = Connection::new(config());
        server.handle_bytes(&hello());
        let mut out = Vec::new();
        for _ in 0..20 {
            let bytes = input(&mut rng, &blocks);
            let cut = rng.below(bytes.len() + 1);
            server.handle_bytes(&bytes[..cut]);
            server.handle_bytes(&bytes[cut..]);
            while let Some(event) = server.poll_event() {
                answer(&mut server, &mut rng, event);
            }
            assert!(server.buffered_bytes() < 1 << 20 && server.queued_bytes() < 1 << 20, "seed {seed}");
            if rng.below(3) == 0 {
                let max_bytes = rng.below(500);
                server.poll_transmit(&mut out, max_bytes);
            }
            if rng.below(100) == 0 {
                server.drain();
            }
        }
        // What it wrote is well-formed frames, to the last byte, once the windows let it.
        let mut previous = usize::MAX;
        while server.has_output() && server.queued_bytes() != previous {
            previous = server.queued_bytes();
            server.poll_transmit(&mut out, usize::MAX);
        }
        let mut rest = &out[..];
        while let Some(head) = rest.first_chunk::<9>() {
            rest = &rest[9 + frame::Header::parse(head).len..];
        }
        assert!(rest.is_empty(), "seed {seed}");
    }
}

fn answer(server: &mut Connection, rng: &mut Rng, event: Event) {
    match event {
        Event::Unary { stream, message, .. } | Event::Message { stream, message } => match rng.below(5) {
            0 => server.respond_unary(stream, message.len(), |out| out.extend_from_slice(&message)),
            1 => server.respond_unary(stream, 20_000, |out| out.extend([1; 20_000])),
            2 => server.respond_error(stream, &Status::new(Code::Aborted, "no")),
            3 => server.send_message(stream, message),
            _ => {}
        },
        Event::End { stream } => server.finish(stream, &Status::OK),
        Event::Http { stream, body, .. } => server.respond_http(stream, 200, &[("a", "b")], body),
        Event::Open { stream, .. } => server.send_headers(stream),
        Event::Reset { stream, .. } => server.respond_http(stream, 200, &[], Bytes::new()),
    }
}

#[test]
fn a_client_survives_anything() {
    let blocks = [
        b"\x88\x0f\x10\x10application/grpc".to_vec(),
        b"\x00\x0bgrpc-status\x010".to_vec(),
        b"\x88\x0f\x10\x10application/grpc\x00\x0bgrpc-status\x011".to_vec(),
        vec![0x8d],
    ];
    for seed in 0..15_000 {
        let mut rng = Rng::new(seed);
        let mut client = Client::new("x", Config::default());
        let mut started = 0;
        let mut ended = 0;
        client.handle_bytes(&hello()[24..]);
        for _ in 0..20 {
            if rng.below(2) == 0 {
                started += 1;
                if rng.below(2) == 0 {
                    client.start_unary("/a", &Metadata::new(), Bytes::from_static(b"hello"));
                } else {
                    let stream = client.start_stream("/b", &Metadata::new());
                    client.send_message(stream, Bytes::from(vec![0; rng.below(100_000)]));
                }
            }
            client.close_send(StreamId(rng.below(20) as u32));
            let bytes = input(&mut rng, &blocks);
            client.handle_bytes(&bytes);
            while let Some(event) = client.poll_event() {
                ended += usize::from(matches!(event, net::grpc::client::Event::Trailers { .. }));
            }
            let mut out = Vec::new();
            client.poll_transmit(&mut out, rng.below(5000));
        }
        client.handle_disconnect("end of test");
        while let Some(event) = client.poll_event() {
            ended += usize::from(matches!(event, net::grpc::client::Event::Trailers { .. }));
        }
        assert_eq!(started, ended, "seed {seed}: every call ends once");
        assert_eq!(client.open_calls(), 0);
    }
}

#[test]
fn raw_noise_never_panics() {
    let mut rng = Rng::new(99);
    for _ in 0..100_000 {
        let mut server = Connection::new(config());
        if rng.below(4) != 0 {
            server.handle_bytes(&hello());
        }
        let len = rng.below(60);
        server.handle_bytes(&rng.bytes(len));
        while server.poll_event().is_some() {}
        let mut out = Vec::new();
        server.poll_transmit(&mut out, usize::MAX);
        assert!(out.len() < 4096 && server.buffered_bytes() < 4096);
    }
}
