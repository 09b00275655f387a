//! Door: the engine's file operations on the reactor. Maps file numbers to descriptors, keeps the log's locks, and measures.
//! A log file is locked for as long as it is open here; two servers on one directory exclude each other by that.

use crate::ops::metrics::RaftProbe;
use crate::reactor::{self, Reactor};
use engine::disk::AlignedBuf;
use engine::effect::{FileId, FileOp, FileResult, OpId};
use engine::request_id::IdMap;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Mode of log files, as etcd makes them.
const FILE_MODE: u32 = 0o600;

/// A durable write slower than this is worth a warning, in nanoseconds: etcd's "slow fdatasync" threshold of 1 s.
const SLOW_WRITE_NS: u64 = 1_000_000_000;

/// What a completion needs to know about the operation it ends.
enum Started {
    Create { file: FileId, path: CString, direct: bool },
    Write { at_ns: u64, durable: bool },
    Other,
}

pub struct Disk {
    dir: OwnedFd,
    files: IdMap<OwnedFd>,
    started: IdMap<Started>,
    /// Operations to be repeated in another form at the next chance: a create without O_DIRECT.
    again: Vec<(u64, reactor::FileOp)>,
}

type Done = (OpId, FileResult, Option<AlignedBuf>);

impl Disk {
    /// `log_file` is the file recovery left open, as the engine numbers it.
    pub fn new(wal_dir: &Path, log_file: FileId, descriptor: OwnedFd) -> io::Result<Self> {
        let dir = File::open(wal_dir)?.into();
        let mut files = IdMap::default();
        files.insert(u64::from(log_file.0), descriptor);
        Ok(Self { dir, files, started: IdMap::default(), again: Vec::new() })
    }

    /// Starts an operation. What needs no kernel (or fails before it) is done at once and answered.
    pub fn start<R: Reactor>(&mut self, id: OpId, op: FileOp, mono_ns: u64, reactor: &mut R) -> Option<Done> {
        let dir = self.dir.as_raw_fd();
        let mut started = Started::Other;
        let op = match op {
            FileOp::Create { file, path } => {
                let path = c_path(&path);
                started = Started::Create { file, path: path.clone(), direct: true };
                create_op(dir, path, true)
            }
            FileOp::Allocate { file, len } => {
                reactor::FileOp::Allocate { fd: self.descriptor(file), mode: 0, offset: 0, len }
            }
            FileOp::Write { file, offset, buf, durable } => {
                started = Started::Write { at_ns: mono_ns, durable };
                reactor::FileOp::Write { fd: self.descriptor(file), offset, buf, durable }
            }
            FileOp::Sync { file } => reactor::FileOp::Fdatasync { fd: self.descriptor(file) },
            FileOp::SyncDir => reactor::FileOp::Fsync { fd: dir },
            FileOp::Rename { from, to } => reactor::FileOp::RenameAt { dir, from: c_path(&from), to: c_path(&to) },
            FileOp::Remove { path } => reactor::FileOp::UnlinkAt { dir, path: c_path(&path) },
            FileOp::Truncate { file, len } => reactor::FileOp::Truncate { fd: self.descriptor(file), len },
            FileOp::Close { file } => {
                // Dropping the descriptor closes it and ends its lock.
                let known = self.files.remove(&u64::from(file.0));
                assert!(known.is_some(), "{file:?} is closed twice");
                return Some((id, Ok(0), None));
            }
        };
        self.started.insert(id.0, started);
        reactor.file(id.0, op);
        None
    }

    /// Takes a completion of the reactor. None when the operation goes on in another form.
    pub fn done(
        &mut self,
        id: u64,
        result: Result<usize, i32>,
        buf: Option<AlignedBuf>,
        mono_ns: u64,
        probe: &RaftProbe,
    ) -> Option<Done> {
        let started = self.started.remove(&id).expect("a completion belongs to an operation");
        let result = match started {
            Started::Create { path, file, direct: true } if result == Err(libc::EINVAL) => {
                // This file system takes no O_DIRECT (older tmpfs): the page cache will do.
                let op = create_op(self.dir.as_raw_fd(), path.clone(), false);
                self.started.insert(id, Started::Create { file, path, direct: false });
                self.again.push((id, op));
                return None;
            }
            Started::Create { file, .. } => result.and_then(|descriptor| self.adopt(file, descriptor)),
            Started::Write { at_ns, durable } => {
                if durable {
                    let took_ns = mono_ns.saturating_sub(at_ns);
                    probe.wal_fsync.observe_ns(took_ns);
                    if took_ns > SLOW_WRITE_NS {
                        let took = format!("{:?}", std::time::Duration::from_nanos(took_ns));
                        tracing::warn!(took, "expected-duration" = "1s", "slow fdatasync");
                    }
                }
                probe.wal_write_bytes.add(*result.as_ref().unwrap_or(&0) as i64);
                result
            }
            Started::Other => result,
        };
        Some((OpId(id), result, buf))
    }

    /// Starts what `done` has put off.
    pub fn go_on<R: Reactor>(&mut self, reactor: &mut R) {
        for (id, op) in self.again.drain(..) {
            reactor.file(id, op);
        }
    }

    fn descriptor(&self, file: FileId) -> i32 {
        self.files.get(&u64::from(file.0)).unwrap_or_else(|| panic!("{file:?} is not open")).as_raw_fd()
    }

    fn adopt(&mut self, file: FileId, descriptor: usize) -> Result<usize, i32> {
        // SAFETY: the kernel just made this descriptor for our open and nobody else knows it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
        let whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(&descriptor, FcntlArg::F_OFD_SETLK(&whole)).map_err(|errno| errno as i32)?;
        let before = self.files.insert(u64::from(file.0), descriptor);
        assert!(before.is_none(), "{file:?} is opened twice");
        Ok(0)
    }
}

fn create_op(dir: i32, path: CString, direct: bool) -> reactor::FileOp {
    let mut flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    if direct {
        flags |= OFlag::O_DIRECT;
    }
    reactor::FileOp::OpenAt { dir, path, flags: flags.bits(), mode: FILE_MODE }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("log file names have no zero byte")
}
