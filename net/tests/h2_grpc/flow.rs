//! Flow control: windows of a few bytes, changed in flight, and large messages both ways.

use bytes::Bytes;
use net::grpc::server::{Connection, Event};
use net::grpc::{Metadata, StreamId};
use net::h2::frame::kind;

use super::pair::{Pair, Rng, config};
use super::wire::{block, data, frames, headers, hello, raw};

#[test]
fn large_messages_both_ways() {
    for seed in 1..4 {
        let mut pair = Pair::new(seed, config());
        let calls: Vec<_> = (0..12)
            .map(|n| {
                let message = Bytes::from(pair.rng.bytes((1 << 20) + n));
                (pair.client.start_unary("/a", &Metadata::new(), message.clone()), message)
            })
            .collect();
        let stream = pair.client.start_stream("/stream", &Metadata::new());
        let messages: Vec<_> = (0..8).map(|_| Bytes::from(pair.rng.bytes(1 << 20))).collect();
        messages.iter().for_each(|m| pair.client.send_message(stream, m.clone()));
        pair.client.close_send(stream);
        pair.settle();
        pair.expect_ok(stream, &messages);
        for (stream, message) in calls {
            pair.expect_ok(stream, &[message]);
        }
        assert_eq!((pair.client.queued_bytes(), pair.server.queued_bytes()), (0, 0));
    }
}

fn setting(id: u8, value: u32) -> Vec<u8> {
    let mut payload = vec![0, id];
    payload.extend_from_slice(&value.to_be_bytes());
    raw(kind::SETTINGS, 0, 0, &payload)
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    raw(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// Body bytes per stream that leave now.
fn sent(server: &mut Connection) -> Vec<(u32, usize)> {
    let mut sums: Vec<(u32, usize)> = Vec::new();
    for (header, payload) in frames(server).into_iter().filter(|(h, _)| h.kind == kind::DATA) {
        match sums.iter_mut().find(|(id, _)| *id == header.stream) {
            Some((_, sum)) => *sum += payload.len(),
            None => sums.push((header.stream, payload.len())),
        }
    }
    sums
}

fn open(server: &mut Connection, ids: &[u32]) {
    for id in ids {
        server.handle_bytes(&headers(*id, &block("/a", &[]), 4));
        server.handle_bytes(&data(*id, b"\0\0\0\0\0", 1));
        assert!(matches!(server.poll_event(), Some(Event::Unary { .. })));
    }
}

#[test]
fn the_peers_windows_are_honoured_while_they_change() {
    let mut server = Connection::new(config());
    server.handle_bytes(&[hello(), setting(4, 10)].concat());
    open(&mut server, &[1, 3]);
    let answer = |server: &mut Connection, id| server.respond_unary(StreamId(id), 95, |out| out.extend([7; 95]));
    answer(&mut server, 1);
    assert_eq!(sent(&mut server), [(1, 10)]);
    server.handle_bytes(&setting(4, 25));
    assert_eq!(sent(&mut server), [(1, 15)]);
    // 25 sent: a window of 5 makes stream 1's negative, by 20.
    server.handle_bytes(&setting(4, 5));
    answer(&mut server, 3);
    assert_eq!(sent(&mut server), [(3, 5)]);
    server.handle_bytes(&window(1, 20));
    assert_eq!(sent(&mut server), []);
    assert!(!server.has_output());
    server.handle_bytes(&window(1, 1));
    assert_eq!(sent(&mut server), [(1, 1)]);
    server.handle_bytes(&setting(4, 1000));
    assert_eq!(sent(&mut server), [(1, 74), (3, 95)]);
    assert_eq!((server.open_calls(), server.queued_bytes()), (0, 0));
}

#[test]
fn the_connection_window_is_shared_in_turn() {
    let mut server = Connection::new(config());
    server.handle_bytes(&[hello(), setting(4, 1 << 20)].concat());
    open(&mut server, &[1, 3, 5]);
    for id in [1, 3, 5] {
        server.respond_unary(StreamId(id), 100_000, |out| out.extend([id as u8; 100_000]));
    }
    let first = sent(&mut server);
    assert_eq!(first.iter().map(|(_, len)| len).sum::<usize>(), 65_535);
    assert_eq!(first.len(), 3, "nobody starves: {first:?}");
    // A stream cancelled while it waits leaves the line.
    server.handle_bytes(&raw(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]));
    server.handle_bytes(&window(0, 1 << 20));
    let rest = sent(&mut server);
    assert!(rest.iter().all(|(id, _)| *id != 3));
    let total = |id| first.iter().chain(&rest).filter(|(i, _)| *i == id).map(|(_, len)| len).sum::<usize>();
    assert_eq!((total(1), total(5)), (100_005, 100_005));
    assert_eq!((server.open_calls(), server.queued_bytes()), (0, 0));
}

/// Random windows of a few bytes: everything arrives in the end, and never more than was allowed.
#[test]
fn tiny_windows_never_overrun_and_never_stall() {
    for seed in 1..60 {
        let mut rng = Rng::new(seed);
        let mut server = Connection::new(config());
        let mut initial = rng.below(50) as i64;
        server.handle_bytes(&[hello(), setting(4, initial as u32)].concat());
        let ids: Vec<u32> = (0..8).map(|n| 2 * n + 1).collect();
        open(&mut server, &ids);
        let len = 300 + rng.below(3000);
        let mut windows = vec![initial; ids.len()];
        let mut received = vec![0usize; ids.len()];
        let mut now_ms = 0;
        for id in &ids {
            server.respond_unary(StreamId(*id), len, |out| out.extend(std::iter::repeat_n(*id as u8, len)));
        }
        while server.open_calls() > 0 {
            match rng.below(4) {
                0 => {
                    let next = rng.below(80) as i64;
                    windows.iter_mut().for_each(|w| *w += next - initial);
                    initial = next;
                    server.handle_bytes(&setting(4, next as u32));
                    now_ms += 1000;
                    server.on_time(now_ms);
                }
                _ => {
                    let at = rng.below(ids.len());
                    let increment = 1 + rng.below(60) as i64;
                    windows[at] += increment;
                    server.handle_bytes(&window(ids[at], increment as u32));
                }
            }
            for (id, len) in sent(&mut server) {
                let at = (id / 2) as usize;
                windows[at] -= len as i64;
                received[at] += len;
                assert!(windows[at] >= 0, "seed {seed}: window overrun");
            }
            assert_eq!(server.failure(), None, "seed {seed}");
        }
        assert!(received.iter().all(|r| *r == len + 5), "seed {seed}");
    }
}

#[test]
fn capacity_tells_what_would_leave_at_once() {
    let mut server = Connection::new(config());
    server.handle_bytes(&[hello(), setting(4, 1000)].concat());
    server.handle_bytes(&headers(1, &block("/stream", &[]), 4));
    let stream = StreamId(1);
    assert_eq!(server.send_capacity(stream), 995);
    server.send_message(stream, Bytes::from(vec![1; 600]));
    assert_eq!(server.send_capacity(stream), 390);
    server.send_message(stream, Bytes::from(vec![1; 600]));
    assert_eq!(server.send_capacity(stream), 0);
    let epoch = server.capacity_epoch();
    server.handle_bytes(&window(1, 500));
    assert!(server.capacity_epoch() > epoch);
    assert_eq!(sent(&mut server), [(1, 1210)]);
    assert_eq!(server.send_capacity(stream), 285);
    assert_eq!(server.send_capacity(StreamId(99)), 0);
}

/// A peer that ignores our windows is stopped.
#[test]
fn overrunning_our_window_is_an_error() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    server.handle_bytes(&headers(1, &block("/a", &[]), 4));
    // Credit comes back every half window, so only a single burst within one can overrun: none does.
    server.handle_bytes(&data(1, &[0, 0, 0x40, 0, 0], 0));
    for _ in 0..200 {
        server.handle_bytes(&data(1, &[0; 16_384], 0));
    }
    assert_eq!(server.failure(), None);
    let updates = frames(&mut server).into_iter().filter(|(h, _)| h.kind == kind::WINDOW_UPDATE).count();
    assert!((6..12).contains(&updates), "updates are batched: {updates}");
}
