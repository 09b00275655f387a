//! A disk in memory that forgets like a real one. Owned by the simulator and by tests; never part of a running server.
//!
//! Every file has its content as processes see it and, per 512-byte sector, what the medium may hold: the durable version
//! and each version written since. A crash picks one of them for every sector, and keeps or drops every directory change
//! that was not synced, all from one seed. A `FileOp` that was submitted but not completed may have happened in part.

mod medium;

use super::{AlignedBuf, Disk};
use crate::effect::{FileId, FileOp, FileResult, OpId};
use medium::{DirChange, Image, Inode, Medium};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// What a completed operation gives back.
pub type Completion = (OpId, FileResult, Option<AlignedBuf>);

/// Kinds of operations that a fault can be asked for; blocking calls and `FileOp`s alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    Create,
    Allocate,
    Write,
    Sync,
    SyncDir,
    Rename,
    Remove,
    Truncate,
    Close,
}

/// Lets `skip` operations of `kind` pass, then fails one with `errno`.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: OpKind,
    pub skip: u32,
    pub errno: i32,
}

/// xorshift64*: the simulator's own random numbers, so that a seed means the same everywhere and always.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        // Spread the seed: neighbouring seeds must not give related streams, and the state must not be zero.
        Self((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let spread = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(spread) * bound as u128) >> 64) as usize
    }
}

pub struct SimDisk {
    rng: Rng,
    medium: Medium,
    /// Directory that the paths of `FileOp`s are relative to.
    op_dir: PathBuf,
    open: BTreeMap<FileId, usize>,
    locked: BTreeSet<usize>,
    in_flight: BTreeMap<OpId, FileOp>,
    faults: Vec<Fault>,
    full: bool,
    /// Blocking calls that change something which may still happen before all of them fail, as after a pulled plug.
    fuse: Option<u64>,
}

impl SimDisk {
    pub fn new(seed: u64, op_dir: impl Into<PathBuf>) -> Self {
        Self {
            rng: Rng::new(seed),
            medium: Medium::new(),
            op_dir: op_dir.into(),
            open: BTreeMap::new(),
            locked: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            faults: Vec::new(),
            full: false,
            fuse: None,
        }
    }

    /// Starts an operation. Nothing happens before `complete` picks it, or a crash hits it halfway.
    pub fn submit(&mut self, id: OpId, op: FileOp) {
        if let FileOp::Write { offset, buf, .. } = &op {
            let block = crate::limits::WAL_BLOCK_BYTES as u64;
            assert!(offset.is_multiple_of(block) && !buf.is_empty(), "writes are whole blocks");
        }
        assert!(self.in_flight.insert(id, op).is_none(), "{id:?} was submitted twice");
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Completes one operation of those in flight, picked by the seed. None if there is none.
    pub fn complete(&mut self) -> Option<Completion> {
        let pick = self.rng.below(self.in_flight.len().max(1));
        let id = *self.in_flight.keys().nth(pick)?;
        self.complete_one(id)
    }

    /// Completes this operation.
    pub fn complete_one(&mut self, id: OpId) -> Option<Completion> {
        let op = self.in_flight.remove(&id)?;
        let (result, buf) = self.execute(op);
        Some((id, result.map_err(|error| error.raw_os_error().expect("simulated errors are errnos")), buf))
    }

    /// The plug is pulled: what is left is what was durable, plus a seeded part of what was not.
    pub fn crash(&mut self) {
        for (_, op) in std::mem::take(&mut self.in_flight) {
            // Each may not have begun, may be done without anyone knowing, or, a write, be done in part.
            if self.rng.below(2) == 0 {
                let op = match op {
                    FileOp::Write { file, offset, buf, .. } => FileOp::Write { file, offset, buf, durable: false },
                    FileOp::Sync { .. } | FileOp::SyncDir | FileOp::Close { .. } => continue,
                    other => other,
                };
                // An operation that fails at this moment has no one to tell.
                let _unheard = self.execute(op);
            }
        }
        self.medium.crash(&mut self.rng);
        self.restart();
    }

    /// The process dies, the machine does not: the page cache survives, locks and descriptors are gone. Writes in flight
    /// are finished by the kernel or were never begun.
    pub fn kill(&mut self) {
        for (_, op) in std::mem::take(&mut self.in_flight) {
            if self.rng.below(2) == 0 {
                let _unheard = self.execute(op);
            }
        }
        self.restart();
    }

    fn restart(&mut self) {
        self.open.clear();
        self.locked.clear();
        self.faults.clear();
        self.fuse = None;
    }

    pub fn fail(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// While full, whatever needs new space fails with ENOSPC.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// After `changes` more changes by blocking calls everything fails with EIO, until `crash`.
    pub fn crash_after(&mut self, changes: u64) {
        self.fuse = Some(changes);
    }

    /// Takes `crash_after` back.
    pub fn disarm(&mut self) {
        self.fuse = None;
    }

    pub fn fuse_blown(&self) -> bool {
        self.fuse == Some(0)
    }

    /// As if another process held the lock of `path`.
    pub fn lock_elsewhere(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.medium.find(path)?;
        self.locked.insert(inode);
        Ok(())
    }

    /// A file's content as processes see it.
    pub fn content(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.medium.image(self.medium.find(path)?)?.current().to_vec())
    }

    /// Replaces a file's content on the medium: damage, for tests of recovery.
    pub fn damage(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        let inode = self.medium.find(path)?;
        *self.medium.image_mut(inode)? = Image::durable(content);
        Ok(())
    }

    fn execute(&mut self, op: FileOp) -> (io::Result<usize>, Option<AlignedBuf>) {
        let done = |result: io::Result<()>| (result.map(|()| 0), None);
        match op {
            FileOp::Create { file, path } => done(self.create(file, &self.op_dir.join(path))),
            FileOp::Allocate { file, len } => done(self.allocate(file, len)),
            FileOp::Write { file, offset, buf, durable } => {
                let result = self.write(file, offset, buf.as_slice(), durable).map(|()| buf.len());
                (result, Some(buf))
            }
            FileOp::Sync { file } => done(self.sync(file)),
            FileOp::SyncDir => done(self.sync_dir(&self.op_dir.clone())),
            FileOp::Rename { from, to } => done(self.rename(&self.op_dir.join(from), &self.op_dir.join(to))),
            FileOp::Remove { path } => done(self.remove(&self.op_dir.join(path))),
            FileOp::Truncate { file, len } => done(self.truncate(file, len)),
            FileOp::Close { file } => done(self.close(file)),
        }
    }

    /// Every change passes here first: counts down the fuse and answers with the error asked for.
    fn admit(&mut self, kind: OpKind) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => return Err(io::Error::from_raw_os_error(libc::EIO)),
            Some(left) => *left -= 1,
            None => {}
        }
        if let Some(at) = self.faults.iter().position(|fault| fault.kind == kind) {
            if self.faults[at].skip == 0 {
                return Err(io::Error::from_raw_os_error(self.faults.remove(at).errno));
            }
            self.faults[at].skip -= 1;
        }
        Ok(())
    }

    fn inode(&self, file: FileId) -> usize {
        *self.open.get(&file).unwrap_or_else(|| panic!("{file:?} is not open"))
    }

    fn space(&self, inode: usize, end: u64) -> io::Result<()> {
        let grows = end > self.medium.image(inode)?.current().len() as u64;
        if self.full && grows { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) }
    }

    fn write(&mut self, file: FileId, offset: u64, data: &[u8], durable: bool) -> io::Result<()> {
        self.admit(OpKind::Write)?;
        let inode = self.inode(file);
        self.space(inode, offset + data.len() as u64)?;
        self.medium.image_mut(inode)?.write(offset as usize, data, durable);
        Ok(())
    }

    fn keep(&mut self, file: FileId, inode: usize) -> io::Result<()> {
        if !self.locked.insert(inode) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        assert!(self.open.insert(file, inode).is_none(), "{file:?} was opened twice");
        Ok(())
    }
}

impl Disk for SimDisk {
    fn list(&mut self, dir: &Path) -> io::Result<Vec<String>> {
        let inode = self.medium.find(dir)?;
        self.medium.names(inode)
    }

    fn create_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.admit(OpKind::Create)?;
        if self.medium.find(dir).is_ok() {
            return Ok(());
        }
        self.medium.add(dir, Inode::directory()).map(drop)
    }

    fn remove_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.admit(OpKind::Remove)?;
        match self.medium.find(dir) {
            Ok(_) => self.medium.change(dir, |name, _| DirChange::Remove { name }),
            Err(_) => Ok(()),
        }
    }

    fn create(&mut self, file: FileId, path: &Path) -> io::Result<()> {
        self.admit(OpKind::Create)?;
        if self.medium.find(path).is_ok() {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let inode = self.medium.add(path, Inode::File(Image::default()))?;
        self.keep(file, inode)
    }

    fn open(&mut self, file: FileId, path: &Path) -> io::Result<()> {
        let inode = self.medium.find(path)?;
        self.medium.image(inode)?;
        self.keep(file, inode)
    }

    fn close(&mut self, file: FileId) -> io::Result<()> {
        let inode = self.open.remove(&file).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        self.locked.remove(&inode);
        self.admit(OpKind::Close)
    }

    fn len(&mut self, file: FileId) -> io::Result<u64> {
        Ok(self.medium.image(self.inode(file))?.current().len() as u64)
    }

    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let content = self.medium.image(self.inode(file))?.current();
        let rest = &content[content.len().min(offset as usize)..];
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(file, offset, data, false)
    }

    fn truncate(&mut self, file: FileId, len: u64) -> io::Result<()> {
        self.admit(OpKind::Truncate)?;
        let inode = self.inode(file);
        self.medium.image_mut(inode)?.set_len(len as usize);
        Ok(())
    }

    fn allocate(&mut self, file: FileId, len: u64) -> io::Result<()> {
        self.admit(OpKind::Allocate)?;
        let inode = self.inode(file);
        self.space(inode, len)?;
        let image = self.medium.image_mut(inode)?;
        if (image.current().len() as u64) < len {
            image.set_len(len as usize);
        }
        Ok(())
    }

    fn hole_after(&mut self, _file: FileId, offset: u64) -> io::Result<u64> {
        Ok(offset)
    }

    fn data_after(&mut self, file: FileId, offset: u64) -> io::Result<Option<u64>> {
        Ok((offset < self.len(file)?).then_some(offset))
    }

    fn sync(&mut self, file: FileId) -> io::Result<()> {
        self.admit(OpKind::Sync)?;
        let inode = self.inode(file);
        self.medium.image_mut(inode)?.sync();
        Ok(())
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.admit(OpKind::SyncDir)?;
        self.medium.sync_dir(dir)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.admit(OpKind::Rename)?;
        assert_eq!(from.parent(), to.parent(), "files stay in their directory");
        let to = medium::name_of(to)?;
        self.medium.change(from, |name, inode| DirChange::Rename { from: name, to, inode })
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.admit(OpKind::Remove)?;
        self.medium.change(path, |name, _| DirChange::Remove { name })
    }

    fn set_direct(&mut self, _file: FileId) -> io::Result<bool> {
        Ok(true)
    }
}
