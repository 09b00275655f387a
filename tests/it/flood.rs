//! Peers that mean harm against the real binary, one row an attack. While each runs, an honest client gets answers in every
//! window and the server's memory stays under the row's ceiling. What bounds each attack is named in the row; the
//! constants are in `net`'s limits and in `src/shard/conn.rs`.

use crate::peer::{Peer, message, open, raw};
use crate::server::{PATIENCE, Server, Setup, TempDir};
use engine::pb::etcdserverpb::{PutRequest, RangeRequest};
use net::h2::frame::{PREFACE, flag, kind, setting};
use net::h2::hpack::{put_literal, put_literal_indexed_name};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// How long one row is watched, in windows, and one window.
const WINDOWS: usize = 12;
const WINDOW: Duration = Duration::from_millis(100);

/// A window that took this long was not ours: the machine had other things to do than to run this test.
const WINDOW_STALLED: Duration = Duration::from_millis(150);

/// Windows in a row without an answer that fail a row. One alone may be the scheduler's: attackers, server, the honest
/// client and other tests share the machine's cores.
const EMPTY_WINDOWS_MAX: usize = 5;

/// Bytes of the store that large ranges read: many times what a socket's buffers hold.
const STORE_MIB: usize = 64;

const RANGE: &str = "/etcdserverpb.KV/Range";
const CANCEL: [u8; 4] = [0, 0, 0, 8];

struct Attack<'a> {
    port: u16,
    stop: &'a AtomicBool,
    /// Connections held open now, by all attackers.
    held: &'a AtomicU64,
}

impl Attack<'_> {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    /// Says what `part` makes, over and over, on a connection that is opened anew when the server closes it.
    fn repeat(&self, settings: &[(u16, u32)], mut part: impl FnMut(u32) -> Vec<u8>) {
        while self.goes_on() {
            let mut peer = Peer::connect(self.port, settings);
            peer.stream.set_write_timeout(Some(WINDOW)).unwrap();
            peer.stream.set_nonblocking(false).unwrap();
            let mut step = 0;
            while self.goes_on() && peer.say(&part(step)) && drain(&mut peer.stream) {
                step += 1;
            }
        }
    }

    /// Keeps connections open, each after it has said something, and gives every one a turn now and then.
    fn hold(&self, count: usize, hello: &[u8], mut turn: impl FnMut(&mut TcpStream)) {
        let mut held = Vec::with_capacity(count);
        while self.goes_on() && held.len() < count {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the port accepts");
            let _ = stream.write_all(hello);
            held.push(stream);
            self.held.fetch_add(1, Relaxed);
        }
        while self.goes_on() {
            held.iter_mut().for_each(&mut turn);
            thread::sleep(WINDOW / 4);
        }
    }
}

/// Reads what is there without waiting; false when the server closed.
fn drain(stream: &mut TcpStream) -> bool {
    let mut buf = [0; 64 << 10];
    stream.set_nonblocking(true).unwrap();
    let alive = loop {
        match stream.read(&mut buf) {
            Ok(0) => break false,
            Ok(_) => {}
            Err(error) => break error.kind() == std::io::ErrorKind::WouldBlock,
        }
    };
    stream.set_nonblocking(false).unwrap();
    alive
}

fn id(step: u32, nth: u32, of: u32) -> u32 {
    (step * of + nth) * 2 + 1
}

fn everything() -> RangeRequest {
    RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() }
}

fn rapid_reset(attack: &Attack<'_>) {
    let batch = |step| {
        let one = |nth| [open(id(step, nth, 100), RANGE, &[]), raw(kind::RST_STREAM, 0, id(step, nth, 100), &CANCEL)];
        (0..100).flat_map(one).flatten().collect()
    };
    attack.repeat(&[], batch);
}

fn continuations(attack: &Attack<'_>) {
    let head = raw(kind::HEADERS, 0, 1, b"");
    let more = raw(kind::CONTINUATION, 0, 1, &[0; 64]).repeat(20);
    attack.repeat(&[], |step| if step == 0 { head.clone() } else { more.clone() });
}

fn pings(attack: &Attack<'_>) {
    let batch = raw(kind::PING, 0, 0, &[1; 8]).repeat(500);
    attack.repeat(&[], |_| batch.clone());
}

fn settings(attack: &Attack<'_>) {
    let one = |size: u32| raw(kind::SETTINGS, 0, 0, &[&[0, 4][..], &size.to_be_bytes()].concat());
    let batch = [one(1), one(1 << 20)].concat().repeat(200);
    attack.repeat(&[], |_| batch.clone());
}

fn empty_data(attack: &Attack<'_>) {
    let batch = raw(kind::DATA, 0, 1, b"").repeat(500);
    attack.repeat(&[], |step| if step == 0 { open(1, RANGE, &[]) } else { batch.clone() });
}

/// Asks for the whole store a thousand times on each connection and never opens a window.
fn window_stalls(attack: &Attack<'_>) {
    let ask = |nth| [open(id(0, nth, 1), RANGE, &[]), message(id(0, nth, 1), &everything())].concat();
    attack.repeat(&[(setting::INITIAL_WINDOW_SIZE, 0)], |step| {
        if step >= 10 {
            thread::sleep(WINDOW / 4);
            return raw(kind::PRIORITY, 0, 1, &[0; 5]);
        }
        (step * 100..step * 100 + 100).flat_map(ask).collect()
    });
}

/// A fat table entry, then blocks of references to it: each byte stands for 4 KiB.
fn hpack_bomb(attack: &Attack<'_>) {
    let mut fat = vec![0x40];
    let mut literal = Vec::new();
    put_literal(&mut literal, b"x", &[b'y'; 4000]);
    fat.extend_from_slice(&literal[1..]);
    attack.repeat(&[], |step| {
        let block = if step == 0 { fat.clone() } else { vec![0xbe; 16_000] };
        raw(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id(step, 0, 1), &block)
    });
}

fn header_lists(attack: &Attack<'_>) {
    let large = "y".repeat(7000);
    attack.repeat(&[], |step| {
        open(id(step, 0, 1), RANGE, &[("a", &large), ("b", &large)]).into_iter().collect::<Vec<_>>()
    });
}

fn header_lists_over_frames(attack: &Attack<'_>) {
    let mut block = Vec::new();
    put_literal_indexed_name(&mut block, 4, RANGE.as_bytes());
    (0..3).for_each(|_| put_literal(&mut block, b"x", &[b'y'; 7000]));
    attack.repeat(&[], |step| {
        let (first, second) = block.split_at(12_000);
        let stream = id(step, 0, 1);
        [raw(kind::HEADERS, flag::END_STREAM, stream, first), raw(kind::CONTINUATION, 4, stream, second)].concat()
    });
}

fn slow_headers(attack: &Attack<'_>) {
    attack.hold(500, b"GET /version HTTP/1.1\r\nHost: a\r\nX: ", |stream| {
        let _ = stream.write_all(b"y");
    });
}

fn silence(attack: &Attack<'_>) {
    attack.hold(1000, b"", |_| {});
}

/// Asks for the whole store with the widest windows and reads nothing.
fn never_read(attack: &Attack<'_>) {
    let mut hello = PREFACE.to_vec();
    net::h2::frame::put_settings(&mut hello, &[(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)]);
    net::h2::frame::put_window_update(&mut hello, 0, (1 << 31) - 1 - 65_535);
    for nth in 0..20 {
        hello.extend([open(id(0, nth, 1), RANGE, &[]), message(id(0, nth, 1), &everything())].concat());
    }
    attack.hold(50, &hello, |_| {});
}

/// Goes away in the middle: of a frame, and of an answer.
fn vanish(attack: &Attack<'_>) {
    let ask = [open(1, RANGE, &[]), message(1, &everything()), raw(kind::DATA, 0, 1, &[0; 16_000])[..9000].to_vec()];
    while attack.goes_on() {
        let mut peer = Peer::connect(attack.port, &[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]);
        peer.say(&ask.concat());
        let mut some = [0; 5000];
        let _ = peer.stream.read(&mut some);
    }
}

/// As many idle HTTP/2 connections as the process may have descriptors for, up to ten thousand.
fn idle(attack: &Attack<'_>) {
    let mut hello = PREFACE.to_vec();
    net::h2::frame::put_settings(&mut hello, &[]);
    attack.hold(idle_connections() / THREADS, &hello, |_| {});
}

/// Attackers of each row.
const THREADS: usize = 2;

struct Row {
    name: &'static str,
    attack: fn(&Attack<'_>),
    /// Most memory the server may come to beyond what it had before, MiB.
    growth_mib_max: u64,
    /// What keeps it there.
    bound: &'static str,
}

impl Row {
    /// Connections that have to be open at once before the row ends.
    fn held_min(&self) -> u64 {
        if self.name == "idle connections" { (idle_connections() / THREADS * THREADS) as u64 } else { 0 }
    }
}

const ROWS: &[Row] = &[
    Row { name: "rapid reset", attack: rapid_reset, growth_mib_max: 32, bound: "MAX_UNANSWERED_RESETS" },
    Row { name: "CONTINUATION", attack: continuations, growth_mib_max: 32, bound: "MAX_CONTINUATIONS_PER_BLOCK" },
    Row { name: "PING", attack: pings, growth_mib_max: 32, bound: "MAX_PING_STRIKES, MAX_PINGS" },
    Row { name: "SETTINGS", attack: settings, growth_mib_max: 32, bound: "MAX_SETTINGS" },
    Row { name: "empty DATA", attack: empty_data, growth_mib_max: 32, bound: "MAX_EMPTY_DATA" },
    Row {
        name: "window stalls",
        attack: window_stalls,
        growth_mib_max: 64,
        bound: "FORMED_BYTES_MIN, MAX_HELD_ANSWER_BYTES",
    },
    Row { name: "HPACK bomb", attack: hpack_bomb, growth_mib_max: 32, bound: "MAX_BOMB_BYTES" },
    Row { name: "header lists", attack: header_lists, growth_mib_max: 32, bound: "MAX_HEADER_LIST_BYTES" },
    Row {
        name: "long header lists",
        attack: header_lists_over_frames,
        growth_mib_max: 32,
        bound: "MAX_HEADER_BLOCK_BYTES",
    },
    Row { name: "slow headers", attack: slow_headers, growth_mib_max: 32, bound: "HEAD_MS_MAX" },
    Row { name: "silent sockets", attack: silence, growth_mib_max: 32, bound: "SILENT_MS_MAX" },
    Row {
        name: "never read",
        attack: never_read,
        growth_mib_max: 128,
        bound: "SEND_BYTES_MAX, OUTGOING_HIGH_WATER_BYTES",
    },
    Row { name: "vanish", attack: vanish, growth_mib_max: 32, bound: "FRAME_MS_MAX" },
    Row { name: "idle connections", attack: idle, growth_mib_max: 96, bound: "MAX_IDLE_BUFFER_BYTES, SPARE_BYTES_MAX" },
];

/// Resident memory of a process, MiB.
fn rss_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("a running process has memory");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// Descriptors for this many connections, this process's own and the server's (which inherits the limit) left aside.
fn idle_connections() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    (soft.saturating_sub(500) as usize).min(10_000)
}

fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    if idle_connections() < 10_000 {
        println!("the hard limit of {hard} descriptors allows {} idle connections only", idle_connections());
    }
}

fn fill(server: &Server) {
    let mut client = server.client();
    for number in 0..STORE_MIB {
        let key = format!("big{number:03}").into();
        let put = PutRequest { key, value: vec![7; 1 << 20].into(), ..Default::default() };
        client.put(&put, Instant::now() + PATIENCE).unwrap();
    }
}

/// Small linearizable reads until told to stop, each counted.
fn honest(server: &Server, stop: &AtomicBool, answers: &AtomicU64) {
    let mut client = server.client();
    let get = RangeRequest { key: "nothing".into(), ..Default::default() };
    while !stop.load(Relaxed) {
        client.range(&get, Instant::now() + PATIENCE).expect("an honest client is served");
        answers.fetch_add(1, Relaxed);
    }
}

fn check(server: &Server, row: &Row) {
    let before_mib = rss_mib(server.pid());
    let (stop, answers, held) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (mut most_mib, mut empty, mut fewest) = (before_mib, 0, u64::MAX);
    thread::scope(|scope| {
        scope.spawn(|| honest(server, &stop, &answers));
        for _ in 0..THREADS {
            scope.spawn(|| (row.attack)(&Attack { port: server.client_port, stop: &stop, held: &held }));
        }
        let mut verdict = Ok(());
        let deadline = Instant::now() + PATIENCE;
        let mut window = 0;
        while window < WINDOWS || (held.load(Relaxed) < row.held_min() && Instant::now() < deadline) {
            let (began, answers_before) = (Instant::now(), answers.load(Relaxed));
            thread::sleep(WINDOW);
            let answered = answers.load(Relaxed) - answers_before;
            if began.elapsed() < WINDOW_STALLED && window > 0 {
                fewest = fewest.min(answered);
                empty = if answered == 0 { empty + 1 } else { 0 };
                if empty >= EMPTY_WINDOWS_MAX {
                    verdict = Err(format!("no honest answer in {empty} windows"));
                    break;
                }
            }
            most_mib = most_mib.max(rss_mib(server.pid()));
            window += 1;
        }
        stop.store(true, Relaxed);
        verdict.unwrap_or_else(|why| panic!("{}: {why}", row.name));
    });
    let growth_mib = most_mib - before_mib;
    assert!(held.load(Relaxed) >= row.held_min(), "{}: only {held:?} connections", row.name);
    println!("{:18} {growth_mib:4} MiB more, at least {fewest} answers a window; {}", row.name, row.bound);
    assert!(growth_mib <= row.growth_mib_max, "{}: grew by {growth_mib} MiB, bound by {}", row.name, row.bound);
    assert_eq!(server.http("GET", "/health").0, 200, "{}", row.name);
}

#[test]
fn honest_clients_are_served_under_every_attack() {
    raise_descriptor_limit();
    for row in ROWS {
        let dir = TempDir::new("flood");
        let server = Server::start(dir.path(), Setup::default());
        if ["window stalls", "never read", "vanish"].contains(&row.name) {
            fill(&server);
        }
        check(&server, row);
    }
}

/// A large range to a client that reads slowly costs the server a few MiB beyond the store.
#[test]
fn a_large_answer_is_never_in_memory_as_a_whole() {
    const EXTRA_MIB_MAX: u64 = 8;
    let dir = TempDir::new("lazy");
    let server = Server::start(dir.path(), Setup::default());
    fill(&server);
    let mut peer = Peer::connect(server.client_port, &[(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)]);
    assert!(peer.say(&raw(kind::WINDOW_UPDATE, 0, 0, &[127, 0, 0, 0])));
    let before_mib = rss_mib(server.pid());
    assert!(peer.say(&[open(1, RANGE, &[]), message(1, &everything())].concat()));
    let (mut bytes, mut most_mib, mut frames) = (0, before_mib, 0);
    loop {
        let (header, _) = peer.frame_of(kind::DATA).expect("the whole answer");
        bytes += header.len;
        frames += 1;
        if frames % 100 == 0 {
            most_mib = most_mib.max(rss_mib(server.pid()));
        }
        if bytes > STORE_MIB << 20 {
            break;
        }
    }
    assert!(most_mib - before_mib <= EXTRA_MIB_MAX, "{} MiB more", most_mib - before_mib);
}
