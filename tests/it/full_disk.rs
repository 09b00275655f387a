//! A server whose disk has no space for a second log segment: a tmpfs of its own, bounded, in a mount namespace of its own.
//! Root makes the namespace as it is; anybody else in a user namespace, where the kernel allows those. Where it does not,
//! the test says so and ends: the same is then only shown on the simulated disk, in `engine/tests/overload/full_disk.rs`.

use crate::server::{PATIENCE, Server, Setup, TempDir};
use engine::pb::etcdserverpb::{PutRequest, RangeRequest};
use nix::sched::{CloneFlags, unshare};
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// One segment fits beside the ballast, two do not; without the ballast two do.
const DISK_SIZE: &CStr = c"size=140m,mode=0700";
const BALLAST_BYTES: i64 = 30 << 20;
const VALUE_BYTES: usize = 1 << 20;

/// Gives the child a small disk at `path`, partly taken by the file `ballast`.
pub fn give_small_disk(command: &mut Command, path: &Path) {
    fs::create_dir_all(path).unwrap();
    // SAFETY: both calls only answer a number and cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let uid_map = format!("0 {uid} 1\n");
    let gid_map = format!("0 {gid} 1\n");
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let ballast = CString::new([path.as_bytes(), b"/ballast"].concat()).unwrap();
    let root = uid == 0;
    let in_child = move || {
        if root {
            unshare(CloneFlags::CLONE_NEWNS)?;
        } else {
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
            write_file(c"/proc/self/setgroups", b"deny")?;
            write_file(c"/proc/self/uid_map", uid_map.as_bytes())?;
            write_file(c"/proc/self/gid_map", gid_map.as_bytes())?;
        }
        mount_disk(&path, &ballast)
    };
    // SAFETY: the closure runs in the child between fork and exec and makes system calls on memory that was ready before;
    // it allocates nothing and takes no lock.
    unsafe { command.pre_exec(in_child) };
}

fn write_file(path: &CStr, content: &[u8]) -> io::Result<()> {
    // SAFETY: `path` ends in a zero byte and `content` is as long as is said; the descriptor is closed by the same call.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(file)?;
        let written = libc::write(file, content.as_ptr().cast(), content.len());
        let result = check(written as i32);
        libc::close(file);
        result
    }
}

fn mount_disk(path: &CStr, ballast: &CStr) -> io::Result<()> {
    let (tmpfs, none) = (c"tmpfs".as_ptr(), std::ptr::null());
    // SAFETY: every string ends in a zero byte and outlives its call; null is allowed where mount(2) says so.
    unsafe {
        // What is mounted here must not appear outside.
        check(libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, std::ptr::null()))?;
        check(libc::mount(tmpfs, path.as_ptr(), tmpfs, 0, DISK_SIZE.as_ptr().cast()))?;
        let file = libc::open(ballast.as_ptr(), libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC, 0o600);
        check(file)?;
        let result = check(libc::fallocate(file, 0, 0, BALLAST_BYTES));
        libc::close(file);
        result
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The server's own view of its disk.
fn disk_of(server: &Server, dir: &Path) -> PathBuf {
    let dir = dir.canonicalize().unwrap();
    let inside = dir.strip_prefix("/").unwrap();
    Path::new("/proc").join(server.pid().to_string()).join("root").join(inside).join("disk")
}

fn put(number: usize, value_bytes: usize) -> PutRequest {
    PutRequest { key: format!("k{number:04}").into(), value: vec![b'v'; value_bytes].into(), ..Default::default() }
}

fn count(server: &Server) -> i64 {
    let get = RangeRequest { key: "k".into(), range_end: "l".into(), count_only: true, ..Default::default() };
    server.client().range(&get, Instant::now() + PATIENCE).unwrap().count
}

#[test]
fn writes_are_refused_reads_go_on_and_writes_resume() {
    let dir = TempDir::new("full-disk");
    let mut probe = Command::new("true");
    give_small_disk(&mut probe, &dir.path().join("disk"));
    if let Err(error) = probe.status() {
        eprintln!("not run: no mount namespace is to be had here ({error}); see engine/tests/overload/full_disk.rs");
        return;
    }
    let data_dir = format!("--data-dir={}", dir.path().join("disk/data").display());
    let server = Server::start(dir.path(), Setup { small_disk: true, ..Setup::with(&[&data_dir]) });
    let mut client = server.client();
    let mut acked = 0;
    let refusal = loop {
        match client.put(&put(acked, VALUE_BYTES), Instant::now() + PATIENCE) {
            Ok(_) => acked += 1,
            Err(status) => break status,
        }
        assert!(acked < 200, "140 MB hold more than 200 MB");
    };
    let no_space = (8, "etcdserver: mvcc: database space exceeded");
    assert_eq!((refusal.code as u8, refusal.message.as_str()), no_space, "after {acked} puts");
    assert!(acked > 50, "the first segment was used before: {acked} puts of 1 MiB");
    assert_eq!(count(&server), acked as i64, "reads go on");
    let (status, body) = server.http("GET", "/health");
    assert!(status == 503 && body.contains("LOG FULL"), "{status} {body}");
    assert!(server.http("GET", "/metrics").1.contains("\netcd_uring_log_full 1\n"));
    assert_eq!(server.http("GET", "/livez").0, 200, "a restart would not help");
    for text in ["cannot allocate the next WAL segment", "writes are refused"] {
        // Logs are written by a thread of their own.
        let deadline = Instant::now() + PATIENCE;
        while !server.log().contains(text) {
            assert!(Instant::now() < deadline, "`{text}` is not in the log");
            std::thread::yield_now();
        }
    }

    let disk = disk_of(&server, dir.path());
    fs::remove_file(disk.join("ballast")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while let Err(status) = client.put(&put(acked, 1), Instant::now() + PATIENCE) {
        assert_eq!((status.code as u8, status.message.as_str()), no_space);
        assert!(Instant::now() < deadline, "writes do not resume");
    }
    acked += 1;
    assert_eq!(server.http("GET", "/health").0, 200);
    everything_is_in_the_log(server, &disk.join("data"), acked);
}

/// The disk ends with the server: its log is copied and another server is started on the copy.
fn everything_is_in_the_log(server: Server, data: &Path, acked: usize) {
    let copy = TempDir::new("full-disk-copy");
    let wal = copy.path().join("data/member/wal");
    fs::create_dir_all(&wal).unwrap();
    fs::create_dir_all(copy.path().join("data/member/snap")).unwrap();
    for entry in fs::read_dir(data.join("member/wal")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().ends_with(".wal") {
            fs::copy(entry.path(), wal.join(entry.file_name())).unwrap();
        }
    }
    drop(server);
    let again = Server::start(copy.path(), Setup::default());
    assert_eq!(count(&again), acked as i64, "nothing acknowledged is lost");
}
