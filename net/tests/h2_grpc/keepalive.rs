//! Keepalive with a clock of our own: who is probed when, who is given up, and who is sent away for asking too often.

use net::grpc::server::{self, Connection, Event};
use net::h2::Reason;
use net::h2::frame::{PREFACE, flag, kind};
use net::h2::keepalive::{IDLE_PING_MIN_MS, MAX_PING_STRIKES, Rules};
use net::h2::limits::{FRAME_MS_MAX, SETTINGS_MS_MAX};

use super::pair::config;
use super::wire::{data, end, frames, headers, hello, ok, raw};

const RULES: Rules = Rules { ping_min_ms: 5_000, interval_ms: 60_000, timeout_ms: 20_000 };

fn server() -> Connection {
    let mut server = Connection::new(server::Config { keepalive: Some(RULES), ..config() });
    server.on_time(1_000);
    server.handle_bytes(&hello());
    frames(&mut server);
    server
}

fn ping() -> Vec<u8> {
    raw(kind::PING, 0, 0, &[7; 8])
}

fn probes(server: &mut Connection) -> Vec<Vec<u8>> {
    frames(server).into_iter().filter(|(h, _)| h.kind == kind::PING && h.flags == 0).map(|(_, p)| p).collect()
}

#[test]
fn a_silent_client_is_probed_and_given_up() {
    let mut server = server();
    server.on_time(60_999);
    assert!(probes(&mut server).is_empty());
    server.on_time(61_000);
    let probe = probes(&mut server);
    assert_eq!(probe.len(), 1);
    server.on_time(70_000);
    assert!(probes(&mut server).is_empty(), "one probe at a time");
    // The ack is a sign of life, and so is anything else.
    server.handle_bytes(&raw(kind::PING, flag::ACK, 0, &probe[0]));
    server.on_time(129_999);
    assert!(probes(&mut server).is_empty());
    server.on_time(130_000);
    assert_eq!(probes(&mut server).len(), 1);
    server.on_time(149_999);
    assert!(!server.is_gone() && !server.should_close());
    server.on_time(150_000);
    assert!(server.is_gone() && server.should_close());
}

#[test]
fn a_client_that_pings_too_often_is_sent_away() {
    for (apart_ms, with_call, allowed) in [
        (4_999, true, false),
        (5_000, true, true),
        // Nobody needs to probe while no call is open.
        (60_000, false, false),
        (IDLE_PING_MIN_MS, false, true),
    ] {
        let mut server = server();
        if with_call {
            server.handle_bytes(&ok(1));
        }
        let mut now_ms = 2_000;
        // The first is never too early; then come those that are forgiven, and one more.
        for _ in 0..MAX_PING_STRIKES + 1 {
            server.on_time(now_ms);
            server.handle_bytes(&ping());
            assert_eq!(server.failure(), None, "{apart_ms} ms apart");
            now_ms += apart_ms;
        }
        server.on_time(now_ms);
        server.handle_bytes(&ping());
        assert_eq!(server.failure().is_none(), allowed, "{apart_ms} ms apart");
        if !allowed {
            let failure = server.failure().expect("just seen");
            assert_eq!((failure.reason, failure.detail), (Reason::ENHANCE_YOUR_CALM, "too_many_pings"));
            let goaway = frames(&mut server).pop().expect("a GOAWAY");
            assert_eq!((goaway.0.kind, &goaway.1[8..]), (kind::GOAWAY, &b"too_many_pings"[..]));
        }
    }
}

/// Clients measure their link with a PING for each burst of data they receive.
#[test]
fn pings_between_answers_are_no_strikes() {
    let mut server = server();
    for call in 0..100 {
        let id = 2 * call + 1;
        server.handle_bytes(&[ok(id), end(id)].concat());
        let Some(Event::Unary { stream, .. }) = server.poll_event() else { panic!("a call") };
        server.respond_unary(stream, 3, |out| out.extend_from_slice(b"abc"));
        server.handle_bytes(&ping());
        assert_eq!(server.failure(), None);
    }
}

/// A peer that stops in the middle of something is waited for, but not for ever.
#[test]
fn what_is_begun_has_to_be_finished() {
    let whole = super::wire::block("/a", &[]);
    for (what, said, limit_ms) in [
        ("no SETTINGS", PREFACE.to_vec(), SETTINGS_MS_MAX),
        ("half a preface", PREFACE[..10].to_vec(), SETTINGS_MS_MAX),
        ("half a frame header", [hello(), vec![0; 3]].concat(), FRAME_MS_MAX),
        ("half a frame", [hello(), ok(1)[..20].to_vec()].concat(), FRAME_MS_MAX),
        ("half a header block", [hello(), headers(1, &whole, 0)].concat(), FRAME_MS_MAX),
    ] {
        let mut server = Connection::new(config());
        server.on_time(1_000);
        server.handle_bytes(&said);
        server.on_time(1_000);
        server.on_time(999 + limit_ms);
        assert_eq!(server.failure(), None, "{what}");
        server.on_time(1_000 + limit_ms);
        assert_eq!(server.failure().map(|f| f.reason), Some(Reason::PROTOCOL_ERROR), "{what}");
    }
    // Whole frames at any pace, also when each is cut, are fine.
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    for n in 0..100 {
        let frame = raw(kind::PRIORITY, 0, 1, &[0; 5]);
        server.handle_bytes(&frame[..7]);
        server.on_time(1 + n * (FRAME_MS_MAX - 1));
        server.handle_bytes(&frame[7..]);
    }
    assert_eq!(server.failure(), None);
}

#[test]
fn without_rules_nothing_happens() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    server.handle_bytes(&headers(1, &super::wire::block("/a", &[]), 4));
    server.handle_bytes(&data(1, b"", 0));
    for now_ms in [1, 1_000_000_000, 2_000_000_000] {
        server.on_time(now_ms);
        for _ in 0..10 {
            server.handle_bytes(&ping());
        }
        assert!(probes(&mut server).is_empty());
    }
    assert_eq!(server.failure(), None);
}
