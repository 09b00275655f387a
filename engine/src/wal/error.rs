//! Errors of the log: why it cannot be opened, and why a running one had to stop.
//! Every message names the file, the place and what to do; none of them is ever handled by trying again.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// What an operator does about a log that must not be repaired by cutting.
const ADVICE: &str = "do not edit or delete log files: if the cluster has a quorum without this member, remove the member, \
                      empty its data directory and add it again; otherwise restore the cluster from a snapshot";

/// Why a log was not opened. Unless the disk failed while the tail was repaired, nothing was changed.
#[derive(Debug)]
pub enum RecoverError {
    /// There is no log in this directory.
    Missing { dir: PathBuf },
    /// Another process holds the lock of a log file.
    Locked { path: PathBuf },
    /// The disk refused an operation.
    Io { what: &'static str, path: PathBuf, error: io::Error },
    /// The log holds something that no crash can have left behind.
    Corrupt { path: PathBuf, offset: u64, expected: String },
    /// The log ends before an entry that is known to be committed or applied.
    TooShort { path: PathBuf, offset: u64, last_index: u64, needed_index: u64 },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { dir } => write!(f, "no write-ahead log in {}", dir.display()),
            Self::Locked { path } => {
                write!(
                    f,
                    "{} is locked by another process: is an etcd already running on this data directory?",
                    path.display()
                )
            }
            Self::Io { what, path, error } => write!(f, "cannot {what} {}: {error}", path.display()),
            Self::Corrupt { path, offset, expected } => {
                write!(
                    f,
                    "write-ahead log {} is damaged at offset {offset}: expected {expected}; {ADVICE}",
                    path.display()
                )
            }
            Self::TooShort { path, offset, last_index, needed_index } => write!(
                f,
                "write-ahead log ends in {} at offset {offset} with entry {last_index}, but entry {needed_index} is known to be \
                 committed: entries are missing; {ADVICE}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for RecoverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// A write or sync of the running log failed. What is on the medium is unknown from here on, so nothing may be
/// acknowledged any more and nothing is retried: the member stops (a kernel that failed an fsync may drop the data and
/// succeed on the next one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    pub what: &'static str,
    pub segment: String,
    pub errno: i32,
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        write!(
            f,
            "write-ahead log segment {}: cannot {}: {error}; stopping, since nothing after it may be acknowledged",
            self.segment, self.what
        )
    }
}

impl std::error::Error for Fatal {}
