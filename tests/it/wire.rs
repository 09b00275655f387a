//! The wire rules that need the real binary: its timers, its port, its flags.

use crate::peer::{Peer, open, raw};
use crate::server::{Server, Setup, TempDir};
use net::h2::frame::{flag, kind};

const RANGE: &str = "/etcdserverpb.KV/Range";

#[test]
fn a_silent_client_is_pinged_and_closed() {
    let dir = TempDir::new("keepalive");
    let server =
        Server::start(dir.path(), Setup::with(&["--grpc-keepalive-interval=1s", "--grpc-keepalive-timeout=1s"]));
    let mut peer = Peer::connect(server.client_port, &[]);
    let (_, probe) = loop {
        let (header, payload) = peer.frame_of(kind::PING).expect("a probe");
        if header.flags & flag::ACK == 0 {
            break (header, payload);
        }
    };
    // Answered, the connection lives on to the next probe; unanswered it ends without a word.
    assert!(peer.say(&raw(kind::PING, flag::ACK, 0, &probe)));
    assert!(peer.frame_of(kind::PING).is_some());
    assert!(peer.frame().is_none());
}

#[test]
fn a_client_that_pings_too_often_is_told_so() {
    let dir = TempDir::new("pings");
    let server = Server::start(dir.path(), Setup::with(&["--grpc-keepalive-min-time=1h"]));
    let mut peer = Peer::connect(server.client_port, &[]);
    assert!(peer.say(&open(1, RANGE, &[])));
    for _ in 0..4 {
        assert!(peer.say(&raw(kind::PING, 0, 0, &[1; 8])));
    }
    assert_eq!(peer.goaway(), (11, "too_many_pings".to_owned()));
    assert!(peer.frame().is_none());
}
