//! Door: the real disk, with blocking system calls. Owned by whoever recovers a log or runs a tool; after recovery its open
//! log file is handed to the reactor with `take`. A failed call is reported as it is, never retried here (EINTR aside).

use super::Disk;
use crate::effect::FileId;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::unistd::{Whence, lseek};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// etcd's modes: data directories were found readable by others once (CVE-2020-15113).
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Bytes of zeros written at once where the file system cannot reserve space itself.
const ZERO_BYTES: usize = 256 << 10;

pub struct FileDisk {
    root: PathBuf,
    files: BTreeMap<FileId, File>,
}

impl FileDisk {
    /// Paths of all operations are relative to `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), files: BTreeMap::new() }
    }

    /// Hands an open file over: descriptor, position-independent, lock still held.
    pub fn take(&mut self, file: FileId) -> Option<OwnedFd> {
        self.files.remove(&file).map(OwnedFd::from)
    }

    fn file(&self, file: FileId) -> &File {
        self.files.get(&file).unwrap_or_else(|| panic!("{file:?} is not open"))
    }

    fn keep(&mut self, file: FileId, opened: File) -> io::Result<()> {
        lock(&opened)?;
        assert!(self.files.insert(file, opened).is_none(), "{file:?} was opened twice");
        Ok(())
    }
}

impl Disk for FileDisk {
    fn list(&mut self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.root.join(dir))?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<String>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&mut self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(self.root.join(dir))
    }

    fn remove_dir(&mut self, dir: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(self.root.join(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn create(&mut self, file: FileId, path: &Path) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        let opened = options.open(self.root.join(path))?;
        self.keep(file, opened)
    }

    fn open(&mut self, file: FileId, path: &Path) -> io::Result<()> {
        let opened = OpenOptions::new().read(true).write(true).open(self.root.join(path))?;
        self.keep(file, opened)
    }

    fn close(&mut self, file: FileId) -> io::Result<()> {
        self.files.remove(&file).map(drop).ok_or_else(|| io::Error::from(Errno::EBADF))
    }

    fn len(&mut self, file: FileId) -> io::Result<u64> {
        Ok(self.file(file).metadata()?.len())
    }

    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file(file).read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file(file).write_all_at(data, offset)
    }

    fn truncate(&mut self, file: FileId, len: u64) -> io::Result<()> {
        self.file(file).set_len(len)
    }

    fn allocate(&mut self, file: FileId, len: u64) -> io::Result<()> {
        let len_signed = i64::try_from(len).map_err(|_| io::Error::from(Errno::EFBIG))?;
        match fallocate(self.file(file), FallocateFlags::empty(), 0, len_signed) {
            Ok(()) => Ok(()),
            // No fallocate here (some network and older file systems): reserve by writing what is missing.
            Err(Errno::EOPNOTSUPP) => {
                let zeros = vec![0; ZERO_BYTES];
                let mut at = self.len(file)?;
                while at < len {
                    let count = (len - at).min(ZERO_BYTES as u64);
                    self.write_at(file, at, &zeros[..count as usize])?;
                    at += count;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn hole_after(&mut self, file: FileId, offset: u64) -> io::Result<u64> {
        if offset >= self.len(file)? {
            return Ok(offset);
        }
        match lseek(self.file(file), as_offset(offset)?, Whence::SeekHole) {
            Ok(found) => Ok(found as u64),
            Err(Errno::EINVAL) => Ok(offset),
            Err(error) => Err(error.into()),
        }
    }

    fn data_after(&mut self, file: FileId, offset: u64) -> io::Result<Option<u64>> {
        if offset >= self.len(file)? {
            return Ok(None);
        }
        match lseek(self.file(file), as_offset(offset)?, Whence::SeekData) {
            Ok(found) => Ok(Some(found as u64)),
            Err(Errno::ENXIO) => Ok(None),
            Err(Errno::EINVAL) => Ok(Some(offset)),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&mut self, file: FileId) -> io::Result<()> {
        self.file(file).sync_data()
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        File::open(self.root.join(dir))?.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(self.root.join(path))
    }

    fn set_direct(&mut self, file: FileId) -> io::Result<bool> {
        let flags = OFlag::from_bits_retain(fcntl(self.file(file), FcntlArg::F_GETFL)?);
        match fcntl(self.file(file), FcntlArg::F_SETFL(flags | OFlag::O_DIRECT)) {
            Ok(_) => Ok(true),
            Err(Errno::EINVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn as_offset(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::Error::from(Errno::EFBIG))
}

/// The lock Go etcd takes on log files: a write lock on the open file description, over the whole file.
fn lock(file: &File) -> io::Result<()> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}
