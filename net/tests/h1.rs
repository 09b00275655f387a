//! The HTTP/1.1 server from outside: bytes in, requests and answers out, as one table. Every row is fed whole, cut in
//! two at every point and byte by byte; the outcome must be the same each time.

use net::h1::{Connection, Limits, Response};

const SMALL: Limits = Limits {
    header_bytes_max: 256,
    header_count_max: 5,
    body_bytes_max: 32,
    chunk_extension_bytes_max: 16,
    pipelined_requests_max: 4,
    pipelined_bytes_max: 2048,
    output_bytes_max: 4096,
    head_ms_max: 10,
    body_ms_max: 20,
    idle_ms_max: 100,
};

/// Answers each request with 200 as soon as it can be had; writes down what happened.
fn run<'a>(limits: &Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut connection = Connection::new(limits.clone());
    let mut events = Vec::new();
    let mut output = Vec::new();
    for piece in pieces {
        connection.handle_bytes(piece);
        while let Some(request) = connection.poll_request() {
            let life = if request.keep_alive { "keep" } else { "last" };
            let body = String::from_utf8_lossy(&request.body);
            events.push(format!("{} {} {life} [{body}]", request.method(), request.target()));
            connection.respond(&Response::new(200).body("ok"));
            connection.poll_transmit(&mut output, usize::MAX);
        }
        connection.poll_transmit(&mut output, usize::MAX);
        assert!(!connection.has_output());
    }
    let output = String::from_utf8(output).expect("answers are text");
    events.extend(output.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_string()));
    if connection.should_close() {
        events.push("close".to_string());
    }
    events.join(", ")
}

fn check(limits: &Limits, name: &str, input: &str, expect: &str) {
    let bytes = input.as_bytes();
    assert_eq!(run(limits, [bytes]), expect, "{name}: whole");
    assert_eq!(run(limits, bytes.chunks(1)), expect, "{name}: byte by byte");
    for cut in 1..bytes.len() {
        let (left, right) = bytes.split_at(cut);
        assert_eq!(run(limits, [left, right]), expect, "{name}: cut at {cut}");
    }
}

fn check_all(rows: &[(&str, &str, &str)]) {
    for (name, input, expect) in rows {
        check(&SMALL, name, input, expect);
    }
}

#[test]
fn requests_and_answers() {
    check_all(&[
        ("plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / keep [], 200"),
        ("close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\nGET /2", "GET / last [], 200, close"),
        ("later 1.x", "GET / HTTP/1.7\r\nHost: a\r\n\r\n", "GET / keep [], 200"),
        ("1.0 closes", "GET / HTTP/1.0\r\n\r\n", "GET / last [], 200, close"),
        ("1.0 keeps", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / keep [], 200"),
        ("full URL", "GET http://a:1/p?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a:1/p?q keep [], 200"),
        ("asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * keep [], 200"),
        ("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / keep [], 200"),
        ("odd method", "M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n", "M-SEARCH / keep [], 200"),
        ("empty line first", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / keep [], 200"),
        ("length", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "PUT / keep [hello], 200"),
        ("no length", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "PUT / keep [], 200"),
        (
            "the same length twice",
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\ncontent-length:2\r\n\r\nhi",
            "PUT / keep [hi], 200",
        ),
        (
            "chunked",
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n0A\r\n0123456789\r\n000\r\n\r\n",
            "PUT / keep [ab0123456789], 200",
        ),
        (
            "chunk extension and trailer",
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"b\"\r\nx\r\n0 ;z\r\nT: v\r\n\r\nGET /n HTTP/1.1\r\nHost: a\r\n\r\n",
            "PUT / keep [x], GET /n keep [], 200, 200",
        ),
        (
            "pipelined",
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxHEAD /3 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /1 keep [], POST /2 keep [x], HEAD /3 keep [], 200, 200, 200",
        ),
        (
            "a bad one behind a good one",
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2\r\n",
            "GET /1 keep [], 200, 400, close",
        ),
        (
            "continue",
            "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\nhi",
            "PUT / keep [hi], 100, 200",
        ),
        ("continue without body", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", "GET / keep [], 200"),
        (
            "continue in 1.0",
            "PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
            "PUT / last [hi], 200, close",
        ),
        ("continue alone", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", "100"),
    ]);
}

#[test]
fn refused_heads() {
    let rows = [
        ("HTTP/0.9", "GET /\r\n", "400"),
        ("two blanks", "GET  / HTTP/1.1\r\n", "400"),
        ("four words", "GET / x HTTP/1.1\r\n", "400"),
        ("tab", "GET\t/ HTTP/1.1\r\n", "400"),
        ("leading blank", " GET / HTTP/1.1\r\n", "400"),
        ("method", "G(T / HTTP/1.1\r\n", "400"),
        ("target", "GET nowhere HTTP/1.1\r\n", "400"),
        ("no host in URL", "GET http:///x HTTP/1.1\r\n", "400"),
        ("fragment", "GET /a#b HTTP/1.1\r\n", "400"),
        ("asterisk", "GET * HTTP/1.1\r\n", "400"),
        ("raw UTF-8 target", "GET /\u{e9} HTTP/1.1\r\n", "400"),
        ("version text", "GET / HTTQ/1.1\r\n", "400"),
        ("version digits", "GET / HTTP/1.10\r\n", "400"),
        ("version case", "GET / http/1.1\r\n", "400"),
        ("version 2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
        ("version 3", "GET / HTTP/3.0\r\n", "505"),
        ("connect", "CONNECT a:1 HTTP/1.1\r\n", "501"),
        ("bare LF in request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", "400"),
        ("bare LF in header", "GET / HTTP/1.1\r\nHost: a\n\r\n", "400"),
        ("bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", "400"),
        ("bare CR in request line", "GET /\r HTTP/1.1\r\n", "400"),
        ("bare CR in header", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n", "400"),
        ("NUL", "GET / HTTP/1.1\r\nHost: a\0\r\n", "400"),
        ("folded", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n", "400"),
        ("folded by tab", "GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n", "400"),
        ("folded at once", "GET / HTTP/1.1\r\n Host: a\r\n", "400"),
        ("no colon", "GET / HTTP/1.1\r\nHost\r\n", "400"),
        ("no name", "GET / HTTP/1.1\r\n: a\r\n", "400"),
        ("blank before colon", "GET / HTTP/1.1\r\nHost : a\r\n", "400"),
        ("no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", "400"),
        ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "400"),
        ("odd Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
        ("two names in Host", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400"),
        ("expectation", "GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", "417"),
        ("many fields", "GET / HTTP/1.1\r\nHost: a\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n", "431"),
        ("three empty lines", "\r\n\r\n\r\n", "400"),
    ];
    for (name, input, status) in rows {
        check(&SMALL, name, &format!("{input}rest"), &format!("{status}, close"));
    }
    let long = "x".repeat(SMALL.header_bytes_max);
    check(&SMALL, "long target", &format!("GET /{long}"), "431, close");
    check(&SMALL, "long value", &format!("GET / HTTP/1.1\r\nHost: a\r\nA: {long}"), "431, close");
    let exact = "x".repeat(SMALL.header_bytes_max - "GET / HTTP/1.1\r\nHost: a\r\nA: \r\n\r\n".len());
    check(&SMALL, "just fits", &format!("GET / HTTP/1.1\r\nHost: a\r\nA: {exact}\r\n\r\n"), "GET / keep [], 200");
    check(&SMALL, "one too many", &format!("GET / HTTP/1.1\r\nHost: a\r\nA: {exact}x\r\n\r\n"), "431, close");
}

/// Requests that two readers could end at different places. None may let what follows pass as a request.
#[test]
fn smuggling() {
    let rows = [
        ("length and chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        ("chunked and length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "400"),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400"),
        ("list of lengths", "Content-Length: 5, 5\r\n\r\nhello", "400"),
        ("the same length written twice", "Content-Length: 5\r\nContent-Length: 05\r\n\r\nhello", "400"),
        ("plus", "Content-Length: +5\r\n\r\nhello", "400"),
        ("minus", "Content-Length: -5\r\n\r\nhello", "400"),
        ("hexadecimal", "Content-Length: 0x5\r\n\r\nhello", "400"),
        ("blank inside", "Content-Length: 5 5\r\n\r\nhello", "400"),
        ("empty length", "Content-Length:\r\n\r\nhello", "400"),
        ("length wraps around", "Content-Length: 18446744073709551621\r\n\r\nhello", "400"),
        ("huge length", "Content-Length: 18446744073709551615\r\n\r\nhello", "413"),
        ("length over the limit", "Content-Length: 33\r\n\r\nhello", "413"),
        ("over the limit, expecting", "Expect: 100-continue\r\nContent-Length: 33\r\n\r\nhello", "413"),
        ("name with blank", "Content-Length : 5\r\n\r\nhello", "400"),
        ("name with underscore is another field", "Content_Length: 5\r\n\r\nhello\r\n", "200, 400"),
        ("encoding unknown", "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", "501"),
        ("encoding list", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"),
        ("chunked twice in a list", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "501"),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        ("chunked then identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "400"),
        ("encoding misspelt", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501"),
        ("encoding quoted", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "501"),
        ("encoding empty", "Transfer-Encoding:\r\n\r\n0\r\n\r\n", "400"),
        ("encoding with control character", "Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n", "400"),
        ("encoding with parameter", "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", "501"),
        ("encoding folded", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "400"),
        ("size negative", "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", "400"),
        ("size prefixed", "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", "400"),
        ("size after blank", "Transfer-Encoding: chunked\r\n\r\n 1\r\na\r\n0\r\n\r\n", "400"),
        ("size before blank", "Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n", "400"),
        ("size empty", "Transfer-Encoding: chunked\r\n\r\n\r\n", "400"),
        ("size wraps around", "Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n", "400"),
        ("size huge", "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\na\r\n", "413"),
        ("sizes add up", "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n20\r\n", "413"),
        ("size line ends in LF", "Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", "400"),
        ("LF in an extension", "Transfer-Encoding: chunked\r\n\r\n1;x\na\r\n0\r\n\r\n", "400"),
        ("CR in an extension", "Transfer-Encoding: chunked\r\n\r\n1;x\ry\r\na\r\n0\r\n\r\n", "400"),
        ("extension without semicolon", "Transfer-Encoding: chunked\r\n\r\n1 x\r\na\r\n0\r\n\r\n", "400"),
        ("extension long", "Transfer-Encoding: chunked\r\n\r\n1;0123456789abcdef\r\na\r\n0\r\n\r\n", "400"),
        ("extensions add up", "Transfer-Encoding: chunked\r\n\r\n1;012345678\r\na\r\n1;012345678\r\n", "400"),
        ("data ends in LF", "Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n", "400"),
        ("data longer than its size", "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "400"),
        ("data followed by two bytes", "Transfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n", "400"),
        ("data followed by one byte and LF", "Transfer-Encoding: chunked\r\n\r\n1\r\naX\n0\r\n\r\n", "400"),
        ("trailer ends in LF", "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n", "400"),
        ("trailer is no field", "Transfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n\r\n", "400"),
        ("many trailers", "Transfer-Encoding: chunked\r\n\r\n0\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n", "431"),
    ];
    for (name, input, status) in rows {
        let input = format!("POST / HTTP/1.1\r\nHost: a\r\n{input}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let expect = match status {
            "200, 400" => "POST / keep [], 200, 400, close".to_string(),
            "413" if name.contains("expecting") => "413, close".to_string(),
            _ => format!("{status}, close"),
        };
        check(&SMALL, name, &input, &expect);
    }
    let input = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    check(&SMALL, "chunked in 1.0", input, "400, close");
    let long = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: {}", "x".repeat(300));
    check(&SMALL, "long trailer", &long, "431, close");
}

fn transmit(connection: &mut Connection) -> String {
    let mut out = Vec::new();
    while connection.poll_transmit(&mut out, 7) > 0 {}
    String::from_utf8(out).expect("answers are text")
}

#[test]
fn what_an_answer_looks_like() {
    let mut connection = Connection::new(Limits::default());
    connection.handle_bytes(b"GET http://h?x=1&y HTTP/1.1\r\nHOST: h\r\nX-a: \t one \r\nx-A: two\r\n\r\n");
    let request = connection.poll_request().expect("complete");
    assert_eq!((request.path(), request.query()), ("/", Some("x=1&y")));
    assert_eq!((request.headers.get_str("x-a"), request.headers.get("none")), (Some("one"), None));
    assert_eq!(request.headers.get_all("X-A").collect::<Vec<_>>(), [&b"one"[..], b"two"]);
    let response = Response::new(200).header("Location", "/a\r\nEvil: yes\0").body("hello");
    connection.respond(&response);
    let expect = "HTTP/1.1 200 OK\r\nLocation: /a  Evil: yes \r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(transmit(&mut connection), expect);

    connection.handle_bytes(b"HEAD /p?q?r HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let request = connection.poll_request().expect("complete");
    assert_eq!((request.path(), request.query()), ("/p", Some("q?r")));
    assert!(connection.poll_request().is_none(), "one at a time");
    connection.respond(&Response::new(404).body("gone"));
    assert_eq!(transmit(&mut connection), "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(connection.poll_request().expect("the next one").minor_version(), 0);
    connection.respond(&Response::new(204).body("never sent"));
    assert_eq!(transmit(&mut connection), "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n");
    assert!(connection.is_idle() && !connection.should_close());

    connection.handle_bytes(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /dropped HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.poll_request().expect("complete");
    connection.respond(&Response::new(799).header("connection", "Close"));
    assert!(!connection.should_close(), "there is output");
    assert_eq!(transmit(&mut connection), "HTTP/1.1 799 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(connection.should_close() && connection.poll_request().is_none());
}

#[test]
fn a_refused_head_request_gets_no_body() {
    for bad in ["HEAD / HTTP/1.1\r\nHost : a\r\n", "HEAD / HTTP/1.1\r\n\r\n"] {
        let mut connection = Connection::new(Limits::default());
        connection.handle_bytes(bad.as_bytes());
        let answer = transmit(&mut connection);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[test]
fn refusals_and_continue_wait_for_earlier_answers() {
    let mut connection = Connection::new(Limits::default());
    connection.handle_bytes(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    connection.poll_request().expect("complete");
    connection.handle_bytes(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert!(!connection.has_output(), "the GET is not answered yet");
    connection.respond(&Response::new(200));
    let expect = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(transmit(&mut connection), expect);
    connection.handle_bytes(b"xnonsense\r\n");
    assert_eq!(&connection.poll_request().expect("the PUT").body[..], b"x");
    assert!(!connection.has_output() && !connection.should_close());
    connection.respond(&Response::new(200));
    let answers = transmit(&mut connection);
    assert!(answers.contains("HTTP/1.1 400 Bad Request") && answers.contains("Connection: close"), "{answers}");
    assert!(connection.should_close());
}

#[test]
fn too_many_pipelined_requests_end_the_connection() {
    let mut connection = Connection::new(SMALL);
    let requests = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(SMALL.pipelined_requests_max + 1);
    connection.handle_bytes(requests.as_bytes());
    let mut answered = 0;
    while connection.poll_request().is_some() {
        connection.respond(&Response::new(200));
        answered += 1;
    }
    assert_eq!(answered, SMALL.pipelined_requests_max);
    assert!(transmit(&mut connection).contains("HTTP/1.1 503 "));
    assert!(connection.should_close());
}

#[test]
fn a_client_that_never_reads_is_not_served() {
    let mut connection = Connection::new(SMALL);
    let mut served = 0;
    for _ in 0..1000 {
        connection.handle_bytes(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        while connection.poll_request().is_some() {
            connection.respond(&Response::new(200).body(vec![b'x'; 1000]));
            served += 1;
        }
    }
    assert_eq!(served, 4, "1 KB each against a limit of 4 KiB");
    assert!(connection.buffered_bytes() < 8192, "{}", connection.buffered_bytes());
}

/// Small and fast (xorshift64*), and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

const FRAGMENTS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /x HTTP/1.1\r\n",
    "HEAD /y HTTP/1.0\r\n",
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "Connection: close\r\n",
    "\r\n",
    "\r\n\r\n",
    "abc",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "\n",
    "\r",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];

fn random_input(random: &mut Random) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..1 + random.below(12) {
        input.extend_from_slice(FRAGMENTS[random.below(FRAGMENTS.len())].as_bytes());
    }
    for _ in 0..random.below(3) {
        let at = random.below(input.len());
        input[at] = random.below(256) as u8;
    }
    input
}

#[test]
fn cuts_never_matter() {
    for seed in 1..=3000 {
        let mut random = Random(seed);
        let input = random_input(&mut random);
        let expect = run(&SMALL, input.chunks(1));
        let mut rest = &input[..];
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(1 + random.below(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        // In one piece more requests can wait at once than the limit allows; byte by byte each is answered first.
        let roomy = Limits { pipelined_requests_max: 100, ..SMALL };
        assert_eq!(run(&roomy, pieces), expect, "seed {seed}: {:?}", String::from_utf8_lossy(&input));
    }
}

#[test]
fn random_bytes_stay_within_the_limits() {
    // Everything that may be held at once, and one piece that was just fed.
    let bytes_max = SMALL.pipelined_bytes_max
        + 2 * (SMALL.header_bytes_max + SMALL.body_bytes_max as usize)
        + 2 * SMALL.output_bytes_max
        + 512;
    for seed in 1..=2000 {
        let mut random = Random(seed);
        let mut connection = Connection::new(SMALL);
        for _ in 0..40 {
            let mut piece = random_input(&mut random);
            piece.truncate(512);
            if random.below(4) == 0 {
                piece.iter_mut().for_each(|byte| *byte = random.below(256) as u8);
            }
            connection.handle_bytes(&piece);
            if random.below(2) == 0 && connection.poll_request().is_some() {
                connection.respond(&Response::new(200).body(vec![b'x'; random.below(1000)]));
            }
            if random.below(8) == 0 {
                connection.poll_transmit(&mut Vec::new(), random.below(2000));
            }
            let bytes = connection.buffered_bytes();
            assert!(bytes <= bytes_max, "seed {seed}: {bytes} bytes held");
        }
    }
}

/// What a connection says, and whether it closes, when its owner's clock reaches some times.
#[test]
fn what_takes_too_long_is_cut() {
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab";
    let timeout = |reason: &str| format!("408 Request Timeout: the {reason} took too long\n");
    for (said, limit_ms, expected) in [
        ("", SMALL.idle_ms_max, String::new()),
        ("G", SMALL.head_ms_max, timeout("header")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: ", SMALL.head_ms_max, timeout("header")),
        (body, SMALL.body_ms_max, timeout("body")),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1", SMALL.body_ms_max, timeout("body")),
    ] {
        let mut connection = Connection::new(SMALL);
        connection.handle_bytes(said.as_bytes());
        connection.on_time(1_000);
        connection.on_time(1_000 + limit_ms - 1);
        assert!(!connection.should_close() && !connection.has_output(), "{said:?}");
        connection.on_time(1_000 + limit_ms);
        let mut out = Vec::new();
        connection.poll_transmit(&mut out, usize::MAX);
        let out = String::from_utf8(out).unwrap();
        assert!(out.ends_with(&expected) && out.is_empty() == expected.is_empty(), "{said:?}: {out}");
        assert!(connection.should_close(), "{said:?}");
    }
}

/// Each request has its own time, and while it is our turn there is none.
#[test]
fn many_quick_requests_are_not_one_slow_one() {
    let mut connection = Connection::new(SMALL);
    let mut now_ms = 0;
    for _ in 0..50 {
        for part in ["GET / HT", "TP/1.1\r\nHost: a\r\n\r\n"] {
            connection.handle_bytes(part.as_bytes());
            connection.on_time(now_ms);
            now_ms += SMALL.head_ms_max - 1;
            connection.on_time(now_ms);
        }
        assert!(connection.poll_request().is_some());
        now_ms += 10 * SMALL.idle_ms_max;
        connection.on_time(now_ms);
        connection.respond(&Response::new(200));
        let mut out = Vec::new();
        connection.poll_transmit(&mut out, usize::MAX);
        assert!(out.starts_with(b"HTTP/1.1 200"));
    }
    assert!(!connection.should_close());
}
