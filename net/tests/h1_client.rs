//! The HTTP/1.1 client from outside: a table of responses fed whole and at every cut, and the client against our
//! server.

use net::h1::client::{Event, Request, ResponseParser};
use net::h1::{Connection, Limits, Response};

fn small() -> Limits {
    Limits { header_bytes_max: 128, header_count_max: 4, body_bytes_max: 16, ..Limits::default() }
}

/// Everything polled after each piece, the connection closed at the end.
fn run<'a>(answers_head: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut parser = ResponseParser::new(small());
    parser.expect(answers_head);
    let mut text = String::new();
    let mut body = Vec::new();
    let mut poll = |parser: &mut ResponseParser| loop {
        match parser.poll() {
            Ok(Some(Event::Head(head))) => text.push_str(&format!("{} ", head.status)),
            Ok(Some(Event::Data(data))) => body.extend_from_slice(&data),
            Ok(Some(Event::End)) => {
                let life = if parser.is_reusable() { "reusable" } else { "used up" };
                text.push_str(&format!("[{}] {life}", String::from_utf8_lossy(&body)));
            }
            Ok(None) => return true,
            Err(error) => {
                text.push_str(&format!("error: {error}"));
                return false;
            }
        }
    };
    for piece in pieces {
        parser.handle_bytes(piece);
        if !poll(&mut parser) {
            return text;
        }
    }
    parser.handle_eof();
    poll(&mut parser);
    text
}

fn check(answers_head: bool, input: &str, expect: &str) {
    let bytes = input.as_bytes();
    assert_eq!(run(answers_head, [bytes]), expect, "{input:?} whole");
    assert_eq!(run(answers_head, bytes.chunks(1)), expect, "{input:?} byte by byte");
    for cut in 1..bytes.len() {
        assert_eq!(run(answers_head, [&bytes[..cut], &bytes[cut..]]), expect, "{input:?} cut at {cut}");
    }
}

#[test]
fn responses() {
    let rows = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 [hi] reusable"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", "200 [hi] used up"),
        ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 [] reusable"),
        ("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 [] reusable"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 [hi] used up"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi", "200 [hi] reusable"),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", "200 [until the end] used up"),
        ("HTTP/1.1 200 OK\r\n\r\n", "200 [] used up"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "204 [] reusable"),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304 [] reusable"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x\r\n!\r\n0\r\nT: v\r\n\r\n",
            "200 [hi!] reusable",
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "200 [x] reusable"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", "200 error: connection closed inside the response"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
            "200 error: connection closed inside the response",
        ),
        ("HTTP/1.1 200 OK\r\nContent", "error: connection closed before the response"),
        ("", "error: connection closed before the response"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "error: server switched protocols unasked"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n", "error: body too large"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "error: conflicting Content-Length"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\nA: b\r\n\r\n", "error: line ends without CR"),
        ("HTTP/2.0 200 OK\r\n\r\n", "error: not HTTP/1.x"),
        ("HTTP/1.1 20 OK\r\n\r\n", "error: malformed status line"),
        ("HTTP/1.1 2000 OK\r\n\r\n", "error: malformed status line"),
        ("HTTP/1.1 099 OK\r\n\r\n", "error: malformed status line"),
        ("SSH-2.0-x\r\n", "error: malformed HTTP version"),
        ("hi\r\n", "error: malformed status line"),
    ];
    for (input, expect) in rows {
        check(false, input, expect);
    }
    check(true, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", "200 [] reusable");
    let interims = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(9);
    check(false, &interims, "error: too many interim responses");
}

#[test]
fn surplus_bytes_end_the_connection() {
    assert_eq!(run(false, [&b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n"[..]]), "204 [] used up");
}

#[test]
fn a_stream_without_end_is_not_buffered() {
    let mut parser = ResponseParser::new(Limits { body_bytes_max: u64::MAX, ..Limits::default() });
    parser.expect(false);
    parser.handle_bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(matches!(parser.poll(), Ok(Some(Event::Head(_)))));
    let mut chunk = b"1000\r\n".to_vec();
    chunk.extend_from_slice(&[7; 0x1000]);
    chunk.extend_from_slice(b"\r\n");
    let mut bytes = 0;
    for _ in 0..3000 {
        parser.handle_bytes(&chunk);
        while let Ok(Some(Event::Data(data))) = parser.poll() {
            bytes += data.len();
        }
        assert_eq!(parser.buffered_bytes(), 0);
    }
    assert_eq!(bytes, 3000 * 0x1000);
}

#[test]
fn what_a_request_looks_like() {
    let plain = Request { method: "GET", target: "/a?b", host: "h:1", headers: &[("X-A", "b\r\nEvil: c")], body: None };
    let mut out = Vec::new();
    plain.encode(&mut out).expect("well formed");
    assert_eq!(String::from_utf8_lossy(&out), "GET /a?b HTTP/1.1\r\nHost: h:1\r\nX-A: b  Evil: c\r\n\r\n");
    let bad = [
        Request { method: "GET /", ..plain },
        Request { target: "/a b", ..plain },
        Request { target: "", ..plain },
        Request { target: "/\r\nEvil: a", ..plain },
        Request { host: "h\r\nEvil: a", ..plain },
        Request { headers: &[("Evil\r\n", "a")], ..plain },
        Request { headers: &[("content-length", "5")], ..plain },
    ];
    for request in bad {
        let mut out = Vec::new();
        assert!(request.encode(&mut out).is_err() && out.is_empty(), "{request:?}");
    }
}

#[test]
fn client_and_server_understand_each_other() {
    let mut server = Connection::new(Limits::default());
    let mut client = ResponseParser::new(Limits::default());
    let body = vec![b'z'; 100_000];
    for (method, body) in
        [("GET", None), ("POST", Some(&body[..])), ("HEAD", None), ("PUT", None), ("DELETE", Some(b"x"))]
    {
        let mut wire = Vec::new();
        let request = Request { method, target: "/raft?x", host: "h:1", headers: &[("X-Id", "7")], body };
        request.encode(&mut wire).expect("well formed");
        wire.chunks(999).for_each(|piece| server.handle_bytes(piece));
        let received = server.poll_request().expect("complete");
        assert_eq!((received.method(), received.path(), received.query()), (method, "/raft", Some("x")));
        assert_eq!(received.headers.get_str("x-id"), Some("7"));
        assert_eq!(&received.body[..], body.unwrap_or_default());
        server.respond(&Response::new(200).header("X-Method", method.to_string()).body(received.body));

        client.expect(method == "HEAD");
        let mut echoed = Vec::new();
        let mut is_complete = false;
        while server.has_output() {
            let mut wire = Vec::new();
            server.poll_transmit(&mut wire, 1000);
            client.handle_bytes(&wire);
            while let Some(event) = client.poll().expect("a good response") {
                match event {
                    Event::Head(head) => assert_eq!(head.headers.get_str("X-Method"), Some(method)),
                    Event::Data(data) => echoed.extend_from_slice(&data),
                    Event::End => is_complete = true,
                }
            }
        }
        assert!(is_complete && client.is_reusable(), "{method}");
        assert_eq!(echoed, body.unwrap_or_default());
    }
    assert!(server.is_idle());
}

#[test]
fn random_responses_never_panic() {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % bound
    };
    let model = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x\r\n!\r\n0\r\nT: v\r\n\r\n";
    for _ in 0..5000 {
        let mut input = model.to_vec();
        for _ in 0..below(4) {
            let at = below(input.len());
            input[at] = below(256) as u8;
        }
        input.truncate(1 + below(input.len()));
        assert_eq!(run(false, [&input[..]]), run(false, input.chunks(1)), "{:?}", String::from_utf8_lossy(&input));
    }
}
