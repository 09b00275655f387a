//! The wire rules that need the real binary: its timers, its port, its flags.

use crate::peer::{Peer, open, raw};
use crate::server::{PATIENCE, POLL, Server, Setup, TempDir};
use net::h2::frame::{PREFACE, flag, kind};
use std::io::{Read, Write};
use std::net::TcpStream;

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

/// Everything the server says to these bytes until it closes.
fn say(port: u16, pieces: &[&str]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        // A server that refused early may have closed already.
        let _ = stream.write_all(piece.as_bytes());
    }
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8(said).unwrap()
}

fn statuses(said: &str) -> Vec<&str> {
    said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

/// HTTP/1.1 on the port that serves gRPC. The last request of each row closes, so that the answer has an end.
#[test]
fn http1_on_the_client_port() {
    let dir = TempDir::new("http1");
    let server = Server::start(dir.path(), Setup::default());
    let last = "GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let get = "GET /version HTTP/1.1\r\nHost: a\r\n\r\n";
    let long = format!("GET /version HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(70_000));
    let many = format!("GET /version HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    let pipeline = get.repeat(20);
    for (what, pieces, expected) in [
        ("keep-alive", vec![get, get, last], "200 200 200"),
        ("pipelining", vec![&pipeline[..], last], &"200 ".repeat(21)),
        ("cut anywhere", vec!["GET /ver", "sion HTTP/1.1\r", "\nHost: a\r\n\r", "\n", last], "200 200"),
        ("HTTP/1.0", vec!["GET /version HTTP/1.0\r\n\r\n"], "200"),
        ("HEAD", vec!["HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", last], "200 200"),
        (
            "chunked body",
            vec![
                "POST /nothing HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                "0\r\n\r\n",
                last,
            ],
            "404 200",
        ),
        (
            "expect",
            vec!["POST /nothing HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", "abc", last],
            "100 404 200",
        ),
        ("unknown expectation", vec!["GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n"], "417"),
        ("options", vec!["OPTIONS /v3/kv/range HTTP/1.1\r\nHost: a\r\nOrigin: http://x\r\n\r\n", last], "200 200"),
        ("options *", vec!["OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", last], "200 200"),
        ("absolute target", vec!["GET http://b/version HTTP/1.1\r\nHost: a\r\n\r\n", last], "200 200"),
        ("no host", vec!["GET /version HTTP/1.1\r\n\r\n"], "400"),
        ("two hosts", vec!["GET /version HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"], "400"),
        ("odd host", vec!["GET /version HTTP/1.1\r\nHost: a/b\r\n\r\n"], "400"),
        (
            "two framings",
            vec!["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
            "400",
        ),
        ("bare line feeds", vec!["GET /version HTTP/1.1\nHost: a\n\n"], "400"),
        ("not HTTP", vec!["hello there\r\n\r\n"], "400"),
        ("HTTP/2 half way", vec!["PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"], "505"),
        ("a header too long", vec![&long[..]], "431"),
        ("too many headers", vec![&many[..]], "431"),
        ("a body too long", vec!["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"], "413"),
        ("CONNECT", vec!["CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"], "501"),
    ] {
        let said = say(server.client_port, &pieces);
        assert_eq!(statuses(&said).join(" "), expected.trim_end(), "{what}: {said}");
        if what.starts_with("options") {
            for header in [
                "Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE",
                "Access-Control-Allow-Origin: *",
                "Access-Control-Allow-Headers: accept, content-type, authorization",
            ] {
                assert_eq!(said.matches(header).count(), 2, "{what}: every answer has {header}: {said}");
            }
        }
    }
}

/// What never says enough is closed by the server, while others are served.
#[test]
fn silent_and_slow_connections_are_closed() {
    let dir = TempDir::new("silent");
    let server = Server::start(dir.path(), Setup::default());
    let preface = std::str::from_utf8(PREFACE).unwrap();
    let waiting: Vec<_> = [("", ""), ("PRI * HT", ""), ("GET / HTTP/1.1\r\nHost: ", "408"), (preface, "GOAWAY")]
        .into_iter()
        .map(|(said, expected)| {
            let (port, said, expected) = (server.client_port, said.to_owned(), expected);
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(said.as_bytes()).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).expect("the server closes it");
                let answer = String::from_utf8_lossy(&answer).into_owned();
                let ok = match expected {
                    "" => answer.is_empty(),
                    "GOAWAY" => answer.contains("SETTINGS took too long"),
                    status => statuses(&answer) == [status],
                };
                assert!(ok, "{said:?}: {answer:?}");
            })
        })
        .collect();
    while !waiting.iter().all(|thread| thread.is_finished()) {
        assert_eq!(server.http("GET", "/version").0, 200);
        std::thread::sleep(POLL);
    }
    waiting.into_iter().for_each(|thread| thread.join().unwrap());
}
