//! Calls as a client and a server see them.

use bytes::Bytes;
use net::grpc::{Code, Metadata, Status};

use super::pair::{Pair, config};

#[test]
fn unary_echo_at_random_cuts() {
    for seed in 1..40 {
        let mut pair = Pair::new(seed, config());
        pair.max_cut = [3, 40, 700, 100_000][seed as usize % 4];
        let mut expected = Vec::new();
        for round in 0..3 {
            for call in 0..30 {
                let len = [0, 1, 30, 400, 20_000][pair.rng.below(5)];
                let message = Bytes::from(pair.rng.bytes(len));
                let path = ["/a/Put", "/a/Range", "/b/Txn"][(round + call) % 3];
                let stream = pair.client.start_unary(path, &Metadata::new(), message.clone());
                expected.push((stream, message));
            }
            pair.settle();
            for (stream, message) in expected.drain(..) {
                pair.expect_ok(stream, &[message]);
            }
            assert_eq!((pair.client.open_calls(), pair.server.open_calls()), (0, 0));
            assert_eq!(pair.server.buffered_bytes(), 0);
        }
    }
}

#[test]
fn streaming_echo() {
    for seed in 1..20 {
        let mut pair = Pair::new(seed, config());
        let messages: Vec<Bytes> = (0..50).map(|n| Bytes::from(pair.rng.bytes(n * n))).collect();
        let stream = pair.client.start_stream("/stream/x", &Metadata::new());
        let (first, second) = messages.split_at(20);
        first.iter().for_each(|m| pair.client.send_message(stream, m.clone()));
        pair.settle();
        assert_eq!(pair.outcomes[&stream].messages, first);
        second.iter().for_each(|m| pair.client.send_message(stream, m.clone()));
        pair.client.close_send(stream);
        pair.settle();
        pair.expect_ok(stream, &messages);
    }
}

#[test]
fn a_status_keeps_its_text() {
    let mut pair = Pair::new(1, config());
    let stream = pair.client.start_unary("/fail", &Metadata::new(), Bytes::new());
    pair.settle();
    assert_eq!(pair.outcomes[&stream].status, Some(Status::new(Code::NotFound, "no: 100% π\n")));
}

#[test]
fn metadata_and_timeout_arrive() {
    let mut pair = Pair::new(1, config());
    let mut metadata = Metadata::new();
    metadata.insert("grpc-timeout", &net::grpc::timeout::format(std::time::Duration::from_millis(1500)));
    metadata.insert_binary("x-bin", &[0, 255, 7]);
    assert_eq!(metadata.get_binary("x-bin"), Some(vec![0, 255, 7]));
    let stream = pair.client.start_unary("/timeout", &metadata, Bytes::new());
    pair.settle();
    pair.expect_ok(stream, &[Bytes::new()]);
}

#[test]
fn starts_above_the_stream_limit_wait_their_turn() {
    let mut pair = Pair::new(7, net::grpc::server::Config { max_concurrent_streams: 3, ..config() });
    pair.settle();
    let hanging: Vec<_> = (0..3).map(|_| pair.client.start_unary("/hang", &Metadata::new(), Bytes::new())).collect();
    let waiting: Vec<_> =
        (0..500).map(|_| pair.client.start_unary("/a", &Metadata::new(), Bytes::from_static(b"w"))).collect();
    let given_up = waiting[100];
    pair.client.cancel(given_up);
    pair.settle();
    assert!(pair.outcomes.is_empty() && pair.server.open_calls() == 3);
    pair.client.cancel(hanging[0]);
    pair.settle();
    for stream in waiting.into_iter().filter(|s| *s != given_up) {
        pair.expect_ok(stream, &[Bytes::from_static(b"w")]);
    }
    assert_eq!(pair.resets_seen, [hanging[0]]);
    assert_eq!(pair.client.open_calls(), 2);
}

#[test]
fn answers_to_gone_calls_lead_nowhere() {
    let mut pair = Pair::new(3, config());
    let stream = pair.client.start_unary("/hang", &Metadata::new(), Bytes::new());
    pair.settle();
    pair.client.cancel(stream);
    pair.settle();
    assert_eq!(pair.resets_seen, [stream]);
    pair.server.respond_unary(stream, 3, |_| panic!("nobody asked"));
    pair.server.respond_error(stream, &Status::new(Code::Internal, "late"));
    pair.server.send_message(stream, Bytes::new());
    assert!(!pair.server.has_output() && pair.outcomes.is_empty());
}

#[test]
fn draining_finishes_open_calls_and_takes_no_new_ones() {
    let mut pair = Pair::new(5, config());
    let open = pair.client.start_stream("/stream/x", &Metadata::new());
    pair.settle();
    pair.server.drain();
    pair.settle();
    assert!(!pair.server.should_close() && pair.client.goaway().is_some() && pair.client.is_closed().is_none());
    let late = pair.client.start_unary("/a", &Metadata::new(), Bytes::new());
    pair.client.send_message(open, Bytes::from_static(b"last"));
    pair.client.close_send(open);
    pair.settle();
    pair.expect_ok(open, &[Bytes::from_static(b"last")]);
    assert_eq!(pair.outcomes[&late].status.as_ref().map(|s| s.code), Some(Code::Unavailable));
    assert!(pair.server.should_close() && pair.client.is_closed().is_some());
}

#[test]
fn a_lost_transport_ends_every_call() {
    let mut pair = Pair::new(5, config());
    let streams: Vec<_> = (0..200).map(|_| pair.client.start_unary("/hang", &Metadata::new(), Bytes::new())).collect();
    pair.client.handle_disconnect("connection reset by peer");
    pair.settle();
    for stream in streams {
        assert_eq!(pair.outcomes[&stream].status.as_ref().map(|s| s.code), Some(Code::Unavailable));
    }
}
