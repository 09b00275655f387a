//! One suite for both reactors: whatever a test here says holds for the ring and for epoll alike. Clients are plain
//! blocking sockets in threads. Tests that count descriptors or exhaust them run in a child process of their own.

use engine::disk::AlignedBuf;
use etcd_uring::mailbox::mailbox;
use etcd_uring::reactor::socket::{listen_tcp, local_addr};
use etcd_uring::reactor::{
    AnyReactor, ConnId, DurableWrite, FileOp, Handler, Kind, ListenerId, Reactor, Settings, mono_ns, open,
};
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// A test that takes longer than this hangs; far above what a loaded machine needs.
const PATIENCE_NS: u64 = 60_000_000_000;

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod ring { $( #[test] fn $name() { super::$name(super::Kind::Ring) } )* }
        mod epoll { $( #[test] fn $name() { super::$name(super::Kind::Epoll) } )* }
    };
}

suite!(
    echo,
    echo_with_tiny_queues,
    echo_with_spin,
    close_while_sending,
    peer_reset,
    half_close,
    stale_ids,
    outgoing,
    backpressure,
    deadlines,
    wakes_from_threads,
    mailbox_from_threads,
    mutual_wakes,
    files,
    files_with_fdatasync,
    file_errors,
    thousands_in_flight,
    dropped_in_flight,
    stop_listening,
    descriptors_do_not_leak,
    descriptors_run_out,
);

/// What a reactor delivered.
#[derive(Default)]
struct Log {
    accepted: Vec<ConnId>,
    received: HashMap<ConnId, Vec<u8>>,
    closed: HashMap<ConnId, Option<i32>>,
    sent: Vec<(ConnId, usize, Result<(), i32>)>,
    connected: HashMap<ConnId, Result<(), i32>>,
    files: HashMap<u64, (Result<usize, i32>, Option<AlignedBuf>)>,
    woken: u64,
}

impl Handler for Log {
    fn accepted(&mut self, _: ListenerId, conn: ConnId) {
        self.accepted.push(conn);
    }
    fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        assert!(!bytes.is_empty() && !self.closed.contains_key(&conn), "nothing follows the end");
        self.received.entry(conn).or_default().extend_from_slice(bytes);
    }
    fn closed(&mut self, conn: ConnId, error: Option<i32>) {
        assert!(self.closed.insert(conn, error).is_none(), "closed once");
    }
    fn sent(&mut self, conn: ConnId, buf: Vec<u8>, result: Result<(), i32>) {
        self.sent.push((conn, buf.len(), result));
    }
    fn connected(&mut self, conn: ConnId, result: Result<(), i32>) {
        assert!(self.connected.insert(conn, result).is_none(), "connected once");
    }
    fn file_done(&mut self, id: u64, result: Result<usize, i32>, buf: Option<AlignedBuf>) {
        assert!(self.files.insert(id, (result, buf)).is_none(), "done once");
    }
    fn woken(&mut self) {
        self.woken += 1;
    }
}

struct World {
    reactor: AnyReactor,
    log: Log,
}

impl World {
    fn new(kind: Kind) -> Self {
        Self::with(kind, &Settings::default())
    }

    fn with(kind: Kind, settings: &Settings) -> Self {
        let reactor = open(kind, settings).expect("both reactors work on the machines that run the tests");
        assert!(reactor.fallback_reason().is_none());
        Self { reactor, log: Log::default() }
    }

    /// Turns until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Log) -> bool) {
        let end_ns = mono_ns() + PATIENCE_NS;
        while !done(&mut self.log) {
            assert!(
                mono_ns() < end_ns,
                "{}: waited in vain: {what}, {} accepted",
                self.reactor.name(),
                self.log.accepted.len()
            );
            self.reactor.turn(Some(mono_ns() + 20_000_000), &mut self.log).unwrap();
        }
    }

    fn turn(&mut self) {
        self.reactor.turn(Some(0), &mut self.log).unwrap();
    }

    fn listen(&mut self) -> (ListenerId, SocketAddr) {
        let socket = listen_tcp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let addr = local_addr(&socket).unwrap();
        (self.reactor.listen(socket), addr)
    }

    /// A client and the connection it became.
    fn pair(&mut self) -> (TcpStream, ConnId) {
        let (listener, addr) = self.listen();
        let client = client(addr);
        let before = self.log.accepted.len();
        self.until("accept", |log| log.accepted.len() > before);
        self.reactor.stop_listening(listener);
        (client, self.log.accepted[before])
    }

    /// Runs one file operation to its end.
    fn file(&mut self, op: FileOp) -> Result<usize, i32> {
        self.file_buf(op).0
    }

    fn file_buf(&mut self, op: FileOp) -> (Result<usize, i32>, Option<AlignedBuf>) {
        self.reactor.file(77, op);
        self.until("file operation", |log| log.files.contains_key(&77));
        self.log.files.remove(&77).unwrap()
    }
}

fn client(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(Duration::from_nanos(PATIENCE_NS))).unwrap();
    client.set_write_timeout(Some(Duration::from_nanos(PATIENCE_NS))).unwrap();
    client
}

/// Reproducible numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Sends back what comes, with bounded memory, until all clients are gone.
struct Echo {
    log: Log,
    busy: HashSet<ConnId>,
    stopped: HashSet<ConnId>,
    over: usize,
}

/// Bytes waiting to be echoed above which receiving stops.
const ECHO_PENDING_BYTES_MAX: usize = 256 << 10;

fn serve_echo(reactor: &mut AnyReactor, clients: usize) {
    let mut echo = Echo { log: Log::default(), busy: HashSet::new(), stopped: HashSet::new(), over: 0 };
    let end_ns = mono_ns() + PATIENCE_NS;
    while echo.over < clients {
        assert!(mono_ns() < end_ns, "echo hangs: {} of {clients} over", echo.over);
        reactor.turn(Some(mono_ns() + 20_000_000), &mut echo.log).unwrap();
        for (conn, _, result) in echo.log.sent.drain(..) {
            result.unwrap();
            echo.busy.remove(&conn);
        }
        let mut gone = Vec::new();
        for (conn, pending) in &mut echo.log.received {
            if pending.len() > ECHO_PENDING_BYTES_MAX && echo.stopped.insert(*conn) {
                reactor.receive(*conn, false);
            }
            if !pending.is_empty() && echo.busy.insert(*conn) {
                reactor.send(*conn, std::mem::take(pending));
            }
            if pending.is_empty() && echo.stopped.remove(conn) {
                reactor.receive(*conn, true);
            }
            if pending.is_empty() && !echo.busy.contains(conn) && echo.log.closed.contains_key(conn) {
                gone.push(*conn);
            }
        }
        for conn in gone {
            assert_eq!(echo.log.closed.remove(&conn), Some(None));
            echo.log.received.remove(&conn);
            reactor.close(conn);
            echo.over += 1;
        }
    }
    assert_eq!(echo.log.accepted.len(), clients);
    // What was queued last, the closes, leaves with the next turn.
    reactor.turn(Some(0), &mut echo.log).unwrap();
}

/// A client that sends `len` bytes from one thread and reads them back in small pieces in another.
fn echo_client(addr: SocketAddr, seed: u64, len: usize) {
    let bytes = Arc::new(Random(seed).bytes(len));
    let mut stream = client(addr);
    let mut writer = stream.try_clone().unwrap();
    let to_write = Arc::clone(&bytes);
    let writing = thread::spawn(move || {
        writer.write_all(&to_write).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::with_capacity(len);
    let mut piece = [0; 1500];
    loop {
        let count = stream.read(&mut piece).unwrap();
        if count == 0 {
            break;
        }
        back.extend_from_slice(&piece[..count]);
        thread::yield_now();
    }
    writing.join().unwrap();
    assert!(back == *bytes, "the echo differs: {} of {len} bytes came back", back.len());
}

fn run_echo(kind: Kind, settings: &Settings, clients: usize, large: usize) {
    let mut world = World::with(kind, settings);
    let (_, addr) = world.listen();
    let mut random = Random(0x5eed);
    let threads: Vec<_> = (0..clients)
        .map(|index| {
            let bytes_max = if index < large { 4 << 20 } else { 64 << 10 };
            let len = 1 + (random.next() % bytes_max) as usize;
            thread::spawn(move || echo_client(addr, index as u64 + 1, len))
        })
        .collect();
    serve_echo(&mut world.reactor, clients);
    threads.into_iter().for_each(|client| client.join().unwrap());
}

fn echo(kind: Kind) {
    run_echo(kind, &Settings::default(), 100, 8);
}

/// Submission queue, completion queue and receive buffers all run over.
fn echo_with_tiny_queues(kind: Kind) {
    let settings = Settings { entries: 2, recv_buffers: 2, recv_buffer_bytes: 512, ..Settings::default() };
    run_echo(kind, &settings, 60, 1);
}

fn echo_with_spin(kind: Kind) {
    let settings = Settings { spin: Duration::from_micros(30), ..Settings::default() };
    run_echo(kind, &settings, 10, 1);
}

/// More than any socket buffer holds, so that a send of it stays in flight until the peer reads.
const STUCK_BYTES: usize = 32 << 20;

fn close_while_sending(kind: Kind) {
    let mut world = World::new(kind);
    let (mut stuck, conn) = world.pair();
    let (mut other, other_conn) = world.pair();
    world.reactor.send(conn, vec![7; STUCK_BYTES]);
    world.turn();
    world.reactor.close(conn);
    world.reactor.send(other_conn, b"alive".to_vec());
    world.until("the other's send", |log| !log.sent.is_empty());
    assert_eq!(world.log.sent, [(other_conn, 5, Ok(()))], "a closed connection's send is forgotten");
    let mut five = [0; 5];
    other.read_exact(&mut five).unwrap();
    let mut rest = Vec::new();
    let _ = stuck.read_to_end(&mut rest);
    assert!(rest.len() < STUCK_BYTES && rest.iter().all(|byte| *byte == 7));
    world.turn();
    assert!(world.log.closed.is_empty(), "the owner closed it: nothing follows");
}

fn peer_reset(kind: Kind) {
    let mut world = World::new(kind);
    let (stream, conn) = world.pair();
    world.reactor.send(conn, vec![1; STUCK_BYTES]);
    world.turn();
    // Unread bytes make the kernel answer with a reset.
    drop(stream);
    world.until("reset", |log| log.closed.contains_key(&conn) && !log.sent.is_empty());
    let (sender, len, result) = world.log.sent[0];
    assert_eq!((sender, len), (conn, STUCK_BYTES), "the whole buffer comes back");
    assert!(matches!(result, Err(libc::ECONNRESET | libc::EPIPE)), "{result:?}");
    // Which of the two sees the reset first is up to the kernel; the other one finds a closed socket.
    assert!(matches!(world.log.closed[&conn], None | Some(libc::ECONNRESET | libc::EPIPE)));
    world.reactor.send(conn, b"again".to_vec());
    world.until("failed send", |log| log.sent.len() == 2);
    assert!(world.log.sent[1].2.is_err());
    world.reactor.close(conn);
    world.turn();
}

fn half_close(kind: Kind) {
    let mut world = World::new(kind);
    let (mut stream, conn) = world.pair();
    stream.write_all(b"request").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    world.until("end", |log| log.closed.contains_key(&conn));
    assert_eq!(world.log.closed[&conn], None);
    assert_eq!(world.log.received[&conn], b"request");
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all.len()
    });
    world.reactor.send(conn, vec![2; 3 << 20]);
    world.until("answer", |log| log.sent.len() == 1);
    assert_eq!(world.log.sent, [(conn, 3 << 20, Ok(()))]);
    world.reactor.send(conn, Vec::new());
    world.until("empty send", |log| log.sent.len() == 2);
    assert_eq!(world.log.sent[1], (conn, 0, Ok(())));
    world.reactor.close(conn);
    world.turn();
    assert_eq!(reader.join().unwrap(), 3 << 20);
}

fn stale_ids(kind: Kind) {
    let mut world = World::new(kind);
    let (first, old) = world.pair();
    world.reactor.close(old);
    world.turn();
    let (mut second, new) = world.pair();
    assert_ne!(old, new);
    world.reactor.send(old, b"lost".to_vec());
    world.reactor.receive(old, false);
    world.reactor.close(old);
    world.reactor.close(ConnId(u64::MAX >> 2));
    second.write_all(b"hello").unwrap();
    world.until("bytes", |log| log.received.get(&new).is_some_and(|bytes| bytes == b"hello"));
    world.reactor.send(new, b"world".to_vec());
    let mut five = [0; 5];
    world.until("send", |log| !log.sent.is_empty());
    second.read_exact(&mut five).unwrap();
    assert_eq!((&five, world.log.sent.len()), (b"world", 1));
    drop(first);
}

fn outgoing(kind: Kind) {
    let mut world = World::new(kind);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = taken.local_addr().unwrap();
    drop(taken);
    let refused = world.reactor.connect(nobody);
    world.until("refusal", |log| log.connected.contains_key(&refused));
    assert_eq!(world.log.connected[&refused], Err(libc::ECONNREFUSED));
    world.reactor.close(refused);

    let mut addrs: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap()];
    if Path::new("/proc/net/if_inet6").exists() {
        addrs.push("[::1]:0".parse().unwrap());
    }
    for addr in addrs {
        let socket = listen_tcp(addr, true).unwrap();
        let addr = local_addr(&socket).unwrap();
        let again = listen_tcp(addr, true).expect("several shards listen on one port");
        drop(again);
        world.reactor.listen(socket);
        let accepted = world.log.accepted.len();
        let out = world.reactor.connect(addr);
        world.until("connection", |log| log.connected.contains_key(&out) && log.accepted.len() > accepted);
        assert_eq!(world.log.connected[&out], Ok(()));
        let inside = world.log.accepted[accepted];
        world.reactor.send(out, b"ping".to_vec());
        world.reactor.send(inside, b"pong".to_vec());
        let got = |log: &Log, conn, bytes: &[u8]| log.received.get(&conn).is_some_and(|b| b == bytes);
        world.until("both", |log| got(log, out, b"pong") && got(log, inside, b"ping"));
        world.reactor.close(out);
        world.until("end", |log| log.closed.contains_key(&inside));
    }
    let abandoned = world.reactor.connect(nobody);
    world.reactor.close(abandoned);
    world.turn();
    world.turn();
    assert!(!world.log.connected.contains_key(&abandoned), "closed before it came up: nothing follows");
}

fn backpressure(kind: Kind) {
    let mut world = World::new(kind);
    let (stream, conn) = world.pair();
    world.reactor.receive(conn, false);
    world.turn();
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&vec![3; STUCK_BYTES]).unwrap());
    // A second connection's round trips give the first one's bytes every chance to arrive.
    let (mut other, other_conn) = world.pair();
    for round in 1..200 {
        other.write_all(&[1; 100]).unwrap();
        world.until("other", |log| log.received.get(&other_conn).is_some_and(|bytes| bytes.len() == round * 100));
    }
    assert!(!world.log.received.contains_key(&conn), "stopped before anything was sent");
    for round in 0..20 {
        world.reactor.receive(conn, round % 2 == 0);
        world.turn();
    }
    world.reactor.receive(conn, true);
    world.until("everything", |log| log.received.get(&conn).is_some_and(|bytes| bytes.len() == STUCK_BYTES));
    writing.join().unwrap();
}

fn deadlines(kind: Kind) {
    for spin in [0, 20] {
        let mut world = World::with(kind, &Settings { spin: Duration::from_micros(spin), ..Settings::default() });
        world.turn();
        world.reactor.turn(Some(mono_ns()), &mut world.log).unwrap();
        let at_ns = world.reactor.mono_ns() + 3_000_000;
        while world.reactor.mono_ns() < at_ns {
            world.reactor.turn(Some(at_ns), &mut world.log).unwrap();
        }
        assert_eq!(world.log.woken, 0);
        let waker = world.reactor.waker();
        let waking = thread::spawn(move || waker.wake());
        while world.log.woken == 0 {
            world.reactor.turn(None, &mut world.log).unwrap();
        }
        waking.join().unwrap();
        let waker = world.reactor.waker();
        waker.wake();
        world.reactor.wake(&waker);
        world.reactor.turn(None, &mut world.log).unwrap();
        assert_eq!(world.log.woken, 2, "any number of wakes give one call, and a turn that does not wait");
    }
}

/// Wakes of the stress test, count, in each of its threads.
const WAKES: u64 = 50_000;

fn wakes_from_threads(kind: Kind) {
    let mut world = World::new(kind);
    let (asked, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let threads: Vec<_> = (0..2)
        .map(|index| {
            let (waker, asked, answered) = (world.reactor.waker(), Arc::clone(&asked), Arc::clone(&answered));
            thread::spawn(move || {
                for round in 0..WAKES {
                    let mine = asked.fetch_add(1, Ordering::Relaxed) + 1;
                    waker.wake();
                    // Now and then let the reactor fall asleep: that is where a wake could get lost.
                    while (round + index) % 8 == 0 && answered.load(Ordering::Acquire) < mine {
                        std::hint::spin_loop();
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut seen = 0;
    while seen < 2 * WAKES {
        let before = (mono_ns(), world.log.woken);
        world.reactor.turn(Some(before.0 + PATIENCE_NS), &mut world.log).unwrap();
        assert!(mono_ns() < before.0 + PATIENCE_NS, "a wake was lost at {seen}");
        if world.log.woken > before.1 {
            seen = asked.load(Ordering::Relaxed);
            answered.store(seen, Ordering::Release);
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(world.log.woken <= 2 * WAKES);
}

fn mailbox_from_threads(kind: Kind) {
    let mut world = World::new(kind);
    let (sender, receiver) = mailbox::<(u64, u64)>(64, world.reactor.waker());
    let threads: Vec<_> = (0..3)
        .map(|thread| {
            let sender = sender.clone();
            thread::spawn(move || {
                for number in 0..30_000 {
                    let mut message = (thread, number);
                    while let Err(back) = sender.push(message) {
                        message = back;
                        sender.flush_from_thread();
                        thread::yield_now();
                    }
                    if number % 3 == 0 {
                        sender.flush_from_thread();
                    }
                }
            })
        })
        .collect();
    let mut next = [0; 3];
    while next != [30_000; 3] {
        let end_ns = mono_ns() + PATIENCE_NS;
        world.reactor.turn(Some(end_ns), &mut world.log).unwrap();
        assert!(mono_ns() < end_ns, "a message was left lying at {next:?}");
        while let Some((thread, number)) = receiver.pop() {
            assert_eq!(number, next[thread as usize], "in the order of each sender");
            next[thread as usize] += 1;
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(receiver.pop().is_none());
}

fn mutual_wakes(kind: Kind) {
    for other_kind in [Kind::Ring, Kind::Epoll] {
        const ROUNDS: u64 = 20_000;
        let mut here = World::new(kind);
        let (to_here, from_there) = mailbox::<u64>(8, here.reactor.waker());
        let (give, take) = channel();
        let there = thread::spawn(move || {
            let mut there = World::new(other_kind);
            let (to_there, from_here) = mailbox::<u64>(8, there.reactor.waker());
            give.send(to_there).unwrap();
            let mut last = 0;
            while last < ROUNDS {
                there.reactor.turn(Some(mono_ns() + PATIENCE_NS), &mut there.log).unwrap();
                while let Some(number) = from_here.pop() {
                    assert_eq!(number, last + 1);
                    last = number;
                    to_here.push(number).unwrap();
                }
                to_here.flush(&mut there.reactor);
            }
            there.turn();
        });
        let to_there = take.recv().unwrap();
        let mut done = 0;
        to_there.push(1).unwrap();
        to_there.flush(&mut here.reactor);
        while done < ROUNDS {
            let end_ns = mono_ns() + PATIENCE_NS;
            here.reactor.turn(Some(end_ns), &mut here.log).unwrap();
            assert!(mono_ns() < end_ns, "a wake was lost after {done}");
            while let Some(number) = from_there.pop() {
                done = number;
                if done < ROUNDS {
                    to_there.push(done + 1).unwrap();
                }
            }
            to_there.flush(&mut here.reactor);
        }
        there.join().unwrap();
        // The target is gone: a late wake goes nowhere and does no harm.
        to_there.push(0).unwrap();
        to_there.flush(&mut here.reactor);
        here.turn();
    }
}

/// Fresh directories on a real file system and on tmpfs, with the flag for unbuffered writes each takes.
fn directories(name: &str, kind: Kind) -> Vec<PathBuf> {
    let name = format!("reactor-{name}-{kind:?}-{}", std::process::id());
    let mut all = vec![PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&name)];
    if Path::new("/dev/shm").exists() {
        all.push(Path::new("/dev/shm").join(&name));
    }
    for dir in &all {
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir_all(dir).unwrap();
    }
    all
}

/// One fresh directory, on the fastest of them.
fn scratch(name: &str, kind: Kind) -> PathBuf {
    let mut all = directories(name, kind);
    let last = all.pop().expect("there is always one");
    all.iter().for_each(|unused| std::fs::remove_dir(unused).unwrap());
    last
}

fn pattern(len: usize, seed: u64) -> AlignedBuf {
    let mut buf = AlignedBuf::zeroed(len);
    let bytes = Random(seed).bytes(buf.len());
    buf.as_mut_slice().copy_from_slice(&bytes);
    buf
}

fn name(name: &str) -> CString {
    CString::new(name).unwrap()
}

fn files(kind: Kind) {
    run_files(kind, DurableWrite::Dsync);
}

fn files_with_fdatasync(kind: Kind) {
    run_files(kind, DurableWrite::Fdatasync);
}

fn run_files(kind: Kind, durable_write: DurableWrite) {
    let mut world = World::with(kind, &Settings { durable_write, ..Settings::default() });
    for path in directories(&format!("files-{durable_write:?}"), kind) {
        let dir_file = File::open(&path).unwrap();
        let dir = dir_file.as_raw_fd();
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let create = |flags| FileOp::OpenAt { dir, path: name("a.tmp"), flags, mode: 0o600 };
        let fd = match world.file(create(flags | libc::O_DIRECT)) {
            // Older tmpfs refuses O_DIRECT after creating the file.
            Err(libc::EINVAL) => {
                world.file(FileOp::UnlinkAt { dir, path: name("a.tmp") }).unwrap();
                world.file(create(flags)).unwrap()
            }
            other => other.unwrap(),
        } as RawFd;
        assert_eq!(world.file(create(flags)), Err(libc::EEXIST));
        assert_eq!(world.file(FileOp::Allocate { fd, mode: 0, offset: 0, len: 1 << 20 }), Ok(0));
        assert_eq!(std::fs::metadata(path.join("a.tmp")).unwrap().len(), 1 << 20);
        for (index, durable) in [(0, true), (1, false), (2, true)] {
            let buf = pattern(8192, index + 1);
            let (result, buf) = world.file_buf(FileOp::Write { fd, offset: index * 8192, buf, durable });
            assert_eq!((result, buf.unwrap().len()), (Ok(8192), 8192));
        }
        assert_eq!(world.file(FileOp::Fdatasync { fd }), Ok(0));
        assert_eq!(world.file(FileOp::RenameAt { dir, from: name("a.tmp"), to: name("a.wal") }), Ok(0));
        assert_eq!(world.file(FileOp::Fsync { fd: dir }), Ok(0));
        assert_eq!(world.file(FileOp::Truncate { fd, len: 3 * 8192 }), Ok(0));
        assert_eq!(world.file(FileOp::Close { fd }), Ok(0));
        assert_eq!(world.file(FileOp::Close { fd: -1 }), Err(libc::EBADF));
        let read = std::fs::read(path.join("a.wal")).unwrap();
        let expected: Vec<u8> = (1..=3).flat_map(|seed| pattern(8192, seed).as_slice().to_vec()).collect();
        assert!(read == expected);
        assert_eq!(world.file(FileOp::UnlinkAt { dir, path: name("a.wal") }), Ok(0));
        assert_eq!(world.file(FileOp::UnlinkAt { dir, path: name("a.wal") }), Err(libc::ENOENT));
        std::fs::remove_dir(&path).unwrap();
    }
}

fn file_errors(kind: Kind) {
    for durable_write in [DurableWrite::Dsync, DurableWrite::Fdatasync] {
        let mut world = World::with(kind, &Settings { durable_write, ..Settings::default() });
        for durable in [false, true] {
            let (result, buf) = world.file_buf(FileOp::Write { fd: -1, offset: 0, buf: pattern(4096, 1), durable });
            assert_eq!((result, buf.unwrap().len()), (Err(libc::EBADF), 4096), "the buffer comes back");
            // A full device takes no bytes; a file opened for reading no writes.
            let full = File::options().write(true).open("/dev/full").unwrap();
            let write = FileOp::Write { fd: full.as_raw_fd(), offset: 0, buf: pattern(4096, 1), durable };
            assert_eq!(world.file(write), Err(libc::ENOSPC));
            let read_only = File::open("/proc/self/exe").unwrap();
            let write = FileOp::Write { fd: read_only.as_raw_fd(), offset: 0, buf: pattern(4096, 1), durable };
            assert_eq!(world.file(write), Err(libc::EBADF));
        }
        for path in directories(&format!("errors-{durable_write:?}"), kind) {
            let dir = File::open(&path).unwrap();
            let open = FileOp::OpenAt { dir: dir.as_raw_fd(), path: name("none"), flags: libc::O_RDWR, mode: 0 };
            assert_eq!(world.file(open), Err(libc::ENOENT));
            assert_eq!(world.file(FileOp::Fsync { fd: -1 }), Err(libc::EBADF));
            std::fs::remove_dir(&path).unwrap();
        }
    }
    in_child("file_errors", kind, || short_write(kind));
}

/// A file size limit cuts a write short: that is an error, not a success of fewer bytes.
fn short_write(kind: Kind) {
    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: ignoring a signal installs no code.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 6000, 6000).unwrap();
    for durable_write in [DurableWrite::Dsync, DurableWrite::Fdatasync] {
        let mut world = World::with(kind, &Settings { durable_write, ..Settings::default() });
        for path in directories(&format!("short-{durable_write:?}"), kind) {
            let file = File::create_new(path.join("short")).unwrap();
            let fd = file.as_raw_fd();
            let write = |offset| FileOp::Write { fd, offset, buf: pattern(4096, 5), durable: true };
            assert_eq!(world.file(write(0)), Ok(4096));
            assert_eq!(world.file(write(4096)), Err(libc::EIO));
            assert_eq!(world.file(write(8192)), Err(libc::EFBIG));
            std::fs::remove_dir_all(&path).unwrap();
        }
    }
}

fn thousands_in_flight(kind: Kind) {
    const OPS: u64 = 5_000;
    let mut world = World::with(kind, &Settings { entries: 64, ..Settings::default() });
    let path = scratch("thousands", kind);
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path.join("f")).unwrap();
    let fd = file.as_raw_fd();
    for index in 0..OPS {
        let mut buf = AlignedBuf::zeroed(4096);
        buf.as_mut_slice()[..8].copy_from_slice(&index.to_le_bytes());
        world.reactor.file(index, FileOp::Write { fd, offset: index * 4096, buf, durable: index % 16 == 0 });
    }
    world.until("all writes", |log| log.files.len() as u64 == OPS);
    for index in 0..OPS {
        let (result, buf) = &world.log.files[&index];
        assert_eq!(*result, Ok(4096));
        assert_eq!(buf.as_ref().unwrap().as_slice()[..8], index.to_le_bytes());
        let mut read = [0; 8];
        file.read_exact_at(&mut read, index * 4096).unwrap();
        assert_eq!(u64::from_le_bytes(read), index);
    }
    std::fs::remove_dir_all(&path).unwrap();
}

fn dropped_in_flight(kind: Kind) {
    for submitted in [false, true] {
        let mut world = World::new(kind);
        let (mut stream, conn) = world.pair();
        let (mut idle, _) = world.pair();
        let (_, addr) = world.listen();
        let path = scratch("dropped", kind);
        let file = File::create_new(path.join("f")).unwrap();
        world.reactor.send(conn, vec![9; STUCK_BYTES]);
        let out = world.reactor.connect(addr);
        for index in 0..300 {
            let write =
                FileOp::Write { fd: file.as_raw_fd(), offset: index * 4096, buf: pattern(4096, 1), durable: true };
            world.reactor.file(index, write);
        }
        let open = FileOp::OpenAt { dir: libc::AT_FDCWD, path: name("/dev/null"), flags: libc::O_RDWR, mode: 0 };
        world.reactor.file(300, open);
        if submitted {
            world.turn();
        }
        let _ = out;
        drop(world);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < STUCK_BYTES);
        assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0, "all sockets are closed");
        std::fs::remove_dir_all(&path).unwrap();
    }
}

fn stop_listening(kind: Kind) {
    let mut world = World::new(kind);
    let (listener, addr) = world.listen();
    let first = client(addr);
    world.until("accept", |log| log.accepted.len() == 1);
    world.reactor.stop_listening(listener);
    world.reactor.stop_listening(listener);
    world.turn();
    world.until("refusal", |_| TcpStream::connect(addr).is_err());
    // The connection that was accepted lives on.
    let conn = world.log.accepted[0];
    (&first).write_all(b"x").unwrap();
    world.until("byte", |log| log.received.contains_key(&conn));
}

/// Runs `test` in a child process that runs only the named test of this file, so that it has all descriptors to itself.
fn in_child(test: &str, kind: Kind, run: impl FnOnce()) {
    let module = if kind == Kind::Ring { "ring" } else { "epoll" };
    in_child_named(&format!("{module}::{test}"), run);
}

fn in_child_named(test: &str, run: impl FnOnce()) {
    const CHILD: &str = "REACTOR_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return run();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "in the child: {text}");
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The limit under which `room` more descriptors can be opened: the kernel limits their numbers, and there may be gaps.
fn limit_with_room(room: u64) -> u64 {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers: HashSet<u64> = entries.map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    // The directory that was read is closed by now, so its number, the lowest free one, counts as room.
    let mut left = room - 1;
    (0..)
        .find(|n| {
            left -= u64::from(!numbers.contains(n)).min(left);
            left == 0
        })
        .unwrap()
        + 1
}

fn descriptors_do_not_leak(kind: Kind) {
    in_child("descriptors_do_not_leak", kind, || {
        let before = open_descriptors();
        let mut world = World::new(kind);
        let (listener, addr) = world.listen();
        world.turn();
        let with_reactor = open_descriptors();
        for round in 0..30 {
            let clients: Vec<_> = (0..10).map(|_| client(addr)).collect();
            let out = world.reactor.connect(addr);
            world.until("accept", |log| log.accepted.len() == 11 && log.connected.contains_key(&out));
            for (index, conn) in world.log.accepted.clone().into_iter().enumerate() {
                if (index + round) % 3 == 0 {
                    world.reactor.send(conn, vec![0; 1 << 20]);
                }
                world.reactor.close(conn);
            }
            world.reactor.close(out);
            drop(clients);
            world.log = Log::default();
        }
        world.until("all closed", |_| open_descriptors() <= with_reactor);
        world.reactor.file(1, FileOp::Fsync { fd: -1 });
        // Accepted by the kernel, perhaps, but never by us.
        let late: Vec<_> = (0..5).map(|_| client(addr)).collect();
        world.reactor.stop_listening(listener);
        world.turn();
        drop(world);
        drop(late);
        // The ring itself is torn down by the kernel, which may take a moment.
        let end_ns = mono_ns() + PATIENCE_NS;
        while open_descriptors() > before {
            assert!(mono_ns() < end_ns, "{} descriptors, {before} before", open_descriptors());
            thread::yield_now();
        }
        assert_eq!(open_descriptors(), before);
    });
}

fn descriptors_run_out(kind: Kind) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    in_child("descriptors_run_out", kind, || {
        let mut world = World::new(kind);
        let socket = listen_tcp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let addr = local_addr(&socket).unwrap();
        // The kernel completes these connections by itself, before anybody accepts.
        let clients: Vec<_> = (0..60).map(|_| client(addr)).collect();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, limit_with_room(20), hard).unwrap();
        // Only now: a ring's accept goes by the limit at the time it was armed.
        world.reactor.listen(socket);
        world.until("as many as there is room for", |log| log.accepted.len() == 20);
        let refused = world.reactor.connect(addr);
        world.until("no descriptor", |log| log.connected.contains_key(&refused));
        assert_eq!(world.log.connected[&refused], Err(libc::EMFILE));
        let before_ns = mono_ns();
        world.reactor.turn(Some(before_ns + 1_000_000), &mut world.log).unwrap();
        assert_eq!(world.log.accepted.len(), 20, "accepting pauses");
        // A descriptor closed here makes room at once.
        for conn in world.log.accepted.drain(..10).collect::<Vec<_>>() {
            world.reactor.close(conn);
        }
        world.until("resumed by a close", |log| log.accepted.len() == 20);
        // One that comes free elsewhere is found by trying again.
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        world.until("resumed by time", |log| log.accepted.len() == 50);
        drop(clients);
    });
}

/// As in a container whose seccomp profile knows neither io_uring nor epoll_pwait2.
#[test]
fn falls_back_to_epoll_under_seccomp() {
    in_child_named("falls_back_to_epoll_under_seccomp", || {
        forbid(&[libc::SYS_io_uring_setup as u32, libc::SYS_epoll_pwait2 as u32]);
        assert!(open(Kind::Ring, &Settings::default()).is_err());
        let reactor = open(Kind::Auto, &Settings::default()).unwrap();
        assert_eq!(reactor.name(), "epoll");
        let reason = reactor.fallback_reason().expect("the log wants to know why");
        assert!(reason.contains("io_uring") && reason.contains("not permitted"), "{reason}");
        run_echo(Kind::Epoll, &Settings::default(), 5, 1);
        deadlines(Kind::Epoll);
    });
}

#[test]
fn the_ring_is_the_first_choice() {
    let reactor = open(Kind::Auto, &Settings::default()).unwrap();
    assert_eq!((reactor.name(), reactor.fallback_reason()), ("io_uring", None));
}

/// Makes these system calls fail with EPERM, in this thread and those it starts.
fn forbid(numbers: &[u32]) {
    let op = |code: u32, k: u32, jt: u8| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let mut program = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (index, number) in numbers.iter().enumerate() {
        // To the last instruction if it is this one.
        program.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *number, (numbers.len() - index) as u8));
    }
    program.push(op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
    program.push(op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: numbers only; then a pointer to a valid program that the kernel copies.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter), 0);
    }
}
