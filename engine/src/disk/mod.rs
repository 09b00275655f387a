//! The disk as the engine sees it. After recovery, file operations leave as effects (`effect::FileOp`) and run on the
//! reactor; this module is for what happens before (recovery) and beside (tools), and for the simulated disk.
//! Nothing here decides anything: it moves bytes and reports what the medium says.

mod buf;
mod file;
mod sim;

pub use buf::AlignedBuf;
pub use file::FileDisk;
pub use libc::{EDQUOT, EIO, ENOSPC};
pub use sim::{Completion, Fault, OpKind, SimDisk};

use crate::effect::FileId;
use std::io;
use std::path::Path;

/// Blocking file operations below one directory, which paths are relative to. Files are named by numbers that the caller
/// chooses and never uses twice, so that an open file can be handed on to whoever executes `FileOp`s.
pub trait Disk {
    /// Names in `dir`, sorted. `NotFound` if there is no such directory.
    fn list(&mut self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory of mode 0700, parents included.
    fn create_dir(&mut self, dir: &Path) -> io::Result<()>;

    /// Removes a directory and the files in it; no error if there is none.
    fn remove_dir(&mut self, dir: &Path) -> io::Result<()>;

    /// Makes a new file of mode 0600, open for reading and writing and locked against other processes.
    fn create(&mut self, file: FileId, path: &Path) -> io::Result<()>;

    /// Opens an existing file for reading and writing and locks it. `WouldBlock` if another process holds the lock.
    fn open(&mut self, file: FileId, path: &Path) -> io::Result<()>;

    /// Closes the file; its lock ends with it.
    fn close(&mut self, file: FileId) -> io::Result<()>;

    fn len(&mut self, file: FileId) -> io::Result<u64>;

    /// Reads until `buf` is full or the file ends; the count of bytes read.
    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `data`; not durable before `sync`.
    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<()>;

    fn truncate(&mut self, file: FileId, len: u64) -> io::Result<()>;

    /// Reserves `[0, len)` on the medium. What was not written reads as zeros, the size becomes at least `len`.
    fn allocate(&mut self, file: FileId, len: u64) -> io::Result<()>;

    /// First offset from `offset` on that the medium holds no written data for; the file's length if there is none. A
    /// disk that cannot tell answers `offset`. Only ever used to skip work, never to decide what is in a file.
    fn hole_after(&mut self, file: FileId, offset: u64) -> io::Result<u64>;

    /// First offset from `offset` on that may hold something other than zeros; None if all is zeros to the end.
    fn data_after(&mut self, file: FileId, offset: u64) -> io::Result<Option<u64>>;

    /// fdatasync.
    fn sync(&mut self, file: FileId) -> io::Result<()>;

    /// Makes creates, renames and removals in `dir` durable.
    fn sync_dir(&mut self, dir: &Path) -> io::Result<()>;

    /// Renames a file or a directory within its parent.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&mut self, path: &Path) -> io::Result<()>;

    /// Makes later writes to the file bypass the page cache if the file system can do that; whether it can.
    fn set_direct(&mut self, file: FileId) -> io::Result<bool>;
}
