//! The vocabulary between the engine and whoever runs it: time and events go in as values, work comes out as values.
//! Nothing here does anything; `replica` produces effects, the driver executes them.

use crate::disk::AlignedBuf;
use std::path::PathBuf;

/// The only clock the engine knows, handed in with every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic nanoseconds since an arbitrary start; never falls.
    pub mono_ns: u64,
    /// Wall clock in milliseconds since the Unix epoch; may jump.
    pub unix_ms: u64,
}

/// Names one file operation until its completion comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// Names one open file of the log. The engine chooses the number when it opens or creates the file; the executor maps it
/// to a descriptor. Numbers are never used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A file operation. Paths are relative to the WAL directory. No order is promised between operations except by
/// completion: who needs an order waits for `Input::FileDone` of the first before emitting the second.
#[derive(Debug)]
pub enum FileOp {
    /// Creates `path` (it must not exist; mode 0600) and opens it for reading and writing, O_DIRECT where the file system
    /// takes it, and takes the OFD write lock that Go etcd also takes.
    Create {
        file: FileId,
        path: PathBuf,
    },
    /// Reserves `[0, len)` on the medium and makes it read as zeros; the file's size becomes `len`.
    Allocate {
        file: FileId,
        len: u64,
    },
    /// Writes the whole of `buf` at `offset`. `durable`: the completion means it is on the medium (RWF_DSYNC or
    /// write followed by fdatasync, as `--wal-sync` says). Offset and length are multiples of the log's block size.
    Write {
        file: FileId,
        offset: u64,
        buf: AlignedBuf,
        durable: bool,
    },
    /// fdatasync.
    Sync {
        file: FileId,
    },
    /// fsync of the WAL directory: creates, renames and unlinks before it are durable.
    SyncDir,
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    Truncate {
        file: FileId,
        len: u64,
    },
    Close {
        file: FileId,
    },
}

/// How a file operation ended. The number is the count of bytes written for `Write`, 0 otherwise; the error is an errno.
pub type FileResult = Result<usize, i32>;
