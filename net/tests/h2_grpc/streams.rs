//! Streaming calls end to end, how they end early, and what the owner learns of it.

use bytes::Bytes;
use net::grpc::server::{Connection, Event};
use net::grpc::{Code, Metadata, Status};
use net::h2::frame::kind;

use super::pair::{Pair, config, many};
use super::wire::{MESSAGE, block, data, frames, headers, hello, ok, raw};

#[test]
fn a_client_stream_is_answered_once() {
    for seed in 1..20 {
        let mut pair = Pair::new(seed, config());
        pair.max_cut = [5, 300, 20_000][seed as usize % 3];
        let stream = pair.client.start_stream("/stream/count", &Metadata::new());
        for n in 0..100 {
            pair.client.send_message(stream, Bytes::from(vec![1; n * 7]));
        }
        pair.settle();
        assert!(!pair.outcomes.contains_key(&stream), "the answer comes after the last message");
        pair.client.close_send(stream);
        pair.settle();
        pair.expect_ok(stream, &[Bytes::from_static(&[100])]);
    }
}

#[test]
fn a_server_stream_arrives_in_order_over_small_windows() {
    for seed in 1..10 {
        let mut pair = Pair::new(seed, config());
        let streams: Vec<_> = (0..5)
            .map(|_| {
                let stream = pair.client.start_stream("/stream/many", &Metadata::new());
                pair.client.send_message(stream, Bytes::from_static(&[60]));
                pair.client.close_send(stream);
                stream
            })
            .collect();
        pair.settle();
        let expected: Vec<Bytes> = (0..60).map(many).collect();
        for stream in streams {
            pair.expect_ok(stream, &expected);
        }
        assert_eq!(pair.server.open_calls(), 0);
    }
}

#[test]
fn a_server_may_end_a_call_while_the_client_still_talks() {
    let mut pair = Pair::new(4, config());
    let stream = pair.client.start_stream("/stream/enough", &Metadata::new());
    for _ in 0..5 {
        pair.client.send_message(stream, Bytes::from_static(b"more"));
    }
    pair.settle();
    assert_eq!(pair.outcomes[&stream].status, Some(Status::new(Code::OutOfRange, "enough")));
    assert_eq!((pair.server.open_calls(), pair.server.buffered_bytes()), (0, 0));
    assert!(pair.server.failure().is_none() && pair.client.is_closed().is_none());
}

#[test]
fn a_cancelled_stream_is_told_to_its_owner_and_forgotten() {
    let mut pair = Pair::new(4, config());
    let stream = pair.client.start_stream("/stream/x", &Metadata::new());
    pair.client.send_message(stream, Bytes::from(vec![0; 3 << 20]));
    pair.settle();
    pair.client.cancel(stream);
    pair.settle();
    assert_eq!(pair.resets_seen, [stream]);
    assert_eq!((pair.server.open_calls(), pair.server.buffered_bytes(), pair.server.queued_bytes()), (0, 0, 0));
}

/// An owner that parks calls finds them again by the name it gave them.
#[test]
fn a_tag_comes_back_with_the_reset() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    for (id, tag) in [(1, 11), (3, 0), (5, 55), (7, 77)] {
        server.handle_bytes(&[ok(id), data(id, MESSAGE, 1)].concat());
        let Some(Event::Unary { stream, .. }) = server.poll_event() else { panic!("a call") };
        server.set_tag(stream, tag);
    }
    let mut tags: Vec<u64> = server.tags().collect();
    tags.sort_unstable();
    assert_eq!(tags, [11, 55, 77]);
    server.handle_bytes(&raw(kind::RST_STREAM, 0, 5, &[0, 0, 0, 8]));
    assert!(matches!(server.poll_event(), Some(Event::Reset { tag: 55, .. })));
    server.respond_unary(net::grpc::StreamId(7), 1, |out| out.push(1));
    assert_eq!(server.tags().collect::<Vec<_>>(), [11]);
}

#[test]
fn a_call_without_any_time_is_over_before_it_begins() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    frames(&mut server);
    server.handle_bytes(&headers(1, &block("/a", &[("grpc-timeout", "0n")]), 4));
    server.handle_bytes(&data(1, MESSAGE, 1));
    assert!(server.poll_event().is_none());
    let trailers = frames(&mut server).into_iter().find(|(h, _)| h.kind == kind::HEADERS).expect("an answer").1;
    let text = String::from_utf8_lossy(&trailers).into_owned();
    assert!(text.contains("grpc-status\u{1}4") && text.contains("context deadline exceeded"), "{text:?}");
}

#[test]
fn binary_metadata_is_read_with_and_without_padding() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    server.handle_bytes(&headers(1, &block("/a", &[("a-bin", "AP8H"), ("b-bin", "AP8="), ("c-bin", "AP8")]), 4));
    server.handle_bytes(&data(1, MESSAGE, 1));
    let Some(Event::Unary { head, .. }) = server.poll_event() else { panic!("a call") };
    for (name, value) in [("a-bin", &[0, 255, 7][..]), ("b-bin", &[0, 255]), ("c-bin", &[0, 255])] {
        assert_eq!(head.metadata.get_binary(name).as_deref(), Some(value), "{name}");
    }
}
