//! One real `etcd` process under test: started on free ports, watched through its log, ended by the test or by Drop.

use crate::seccomp;
use etcd_uring::client::{Client, Config, Endpoint};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for something that a healthy server does in milliseconds. Only failures ever wait this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two looks at a condition that is waited for.
pub const POLL: Duration = Duration::from_millis(2);

/// How a server is started, beyond its ports and directory.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    pub flags: Vec<String>,
    /// Starts it under a seccomp filter that denies `io_uring_setup`, as containers do by default.
    pub deny_io_uring: bool,
    /// Another program than the `etcd` of this build, such as Go etcd.
    pub program: Option<PathBuf>,
    /// Starts it with this soft limit of open files.
    pub open_files_soft: Option<u32>,
    /// Mounts a small disk on `disk` in its directory, which no other process sees.
    pub small_disk: bool,
}

impl Setup {
    pub fn with(flags: &[&str]) -> Self {
        Self { flags: flags.iter().map(|f| (*f).to_owned()).collect(), ..Self::default() }
    }
}

/// The thread plans that tests run under: one thread for everything, and roles apart.
pub const PLANS: &[&[&str]] = &[&["--cores=combined"], &["--cores=raft:1,shards:1"], &["--cores=raft:1,shards:2"]];

/// A directory that is removed at the end of the test.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let base =
            std::env::var_os("ETCD_TEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub struct Server {
    child: Child,
    pub client_port: u16,
    pub peer_port: u16,
    dir: PathBuf,
    setup: Setup,
    log_path: PathBuf,
}

/// First port that tests use; below the kernel's range for outgoing connections, which could take one between a kill and
/// the start after it.
const PORTS_FROM: u32 = 18_000;
const PORTS: u32 = 14_000;

/// A port that was free a moment ago and that no other test of this run gets.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS_FROM + number % PORTS) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub fn etcd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_etcd"))
}

impl Server {
    /// Starts a server on `dir` and waits until it serves.
    pub fn start(dir: &Path, setup: Setup) -> Self {
        let (client_port, peer_port) = (free_port(), free_port());
        let mut server = Self::spawn(dir, setup, client_port, peer_port);
        server.wait_ready();
        server
    }

    /// Starts it again on the same directory and ports.
    pub fn restart(self) -> Self {
        let (dir, setup, ports) = (self.dir.clone(), self.setup.clone(), (self.client_port, self.peer_port));
        drop(self);
        let mut server = Self::spawn(&dir, setup, ports.0, ports.1);
        server.wait_ready();
        server
    }

    fn spawn(dir: &Path, setup: Setup, client_port: u16, peer_port: u16) -> Self {
        let log_path = dir.join("log");
        let log = File::options().create(true).append(true).open(&log_path).unwrap();
        let client_url = format!("http://127.0.0.1:{client_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let mut command = setup.program.as_ref().map_or_else(etcd, Command::new);
        if let Some(limit) = setup.open_files_soft {
            let script = format!("ulimit -S -n {limit} && exec \"$0\" \"$@\"");
            let program = command.get_program().to_owned();
            command = Command::new("sh");
            command.arg("-c").arg(script).arg(program);
        }
        command.args([
            format!("--data-dir={}", dir.join("data").display()),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
        ]);
        command.args(&setup.flags).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        if setup.deny_io_uring {
            seccomp::deny_io_uring(&mut command);
        }
        if setup.small_disk {
            crate::full_disk::give_small_disk(&mut command, &dir.join("disk"));
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, client_port, peer_port, dir: dir.to_owned(), setup, log_path }
    }

    fn wait_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.try_http(self.client_port, "GET", "/health").is_some_and(|(status, _)| status == 200) {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("etcd ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "etcd is not ready:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory the server holds now.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log_path).unwrap_or_default()
    }

    /// The log, once it says that clients are served: lines are written by a thread of their own, a moment after the fact.
    pub fn log_when_ready(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if log.contains("serving client traffic insecurely") && log.ends_with('\n') {
                return log;
            }
            assert!(Instant::now() < deadline, "the log does not say that clients are served:\n{log}");
            std::thread::sleep(POLL);
        }
    }

    pub fn wal_dir(&self) -> PathBuf {
        self.dir.join("data/member/wal")
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    pub fn client(&self) -> Client {
        self.client_of(Endpoint::parse(&self.endpoint()).unwrap())
    }

    pub fn client_of(&self, endpoint: Endpoint) -> Client {
        Client::new(Config {
            endpoints: vec![endpoint],
            dial_timeout: PATIENCE,
            request_bytes_max: 64 << 20,
            receive_bytes_max: usize::MAX,
        })
    }

    /// Kills it like a power cut would, as far as a process can be.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: nix::sys::signal::Signal) -> ExitStatus {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid() as i32), signal).unwrap();
        wait(&mut self.child)
    }

    /// One HTTP/1.1 request; status and body.
    pub fn http(&self, method: &str, target: &str) -> (u16, String) {
        self.http_at(self.client_port, method, target)
    }

    pub fn http_at(&self, port: u16, method: &str, target: &str) -> (u16, String) {
        self.try_http(port, method, target).unwrap_or_else(|| panic!("{method} {target}: no answer\n{}", self.log()))
    }

    fn try_http(&self, port: u16, method: &str, target: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }
}

/// Waits for a process with a deadline.
pub fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "process {} does not end", child.id());
        std::thread::sleep(POLL);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of etcd {}\n{}", self.child.id(), self.log());
        }
    }
}
