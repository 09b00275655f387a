//! What the simulated disk holds: files as versions of sectors, directories as changes that may be lost.
//! Nothing is ever invented here: after a crash a sector holds something that was written to it, or zeros.

use super::Rng;
use crate::limits::WAL_SECTOR_BYTES;
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};

type Sector = [u8; WAL_SECTOR_BYTES];

/// One file: what processes read, what is safe, and for each sector and the length what was written since.
#[derive(Default)]
pub(super) struct Image {
    current: Vec<u8>,
    durable: Vec<u8>,
    versions: BTreeMap<usize, Vec<Sector>>,
    lens: Vec<usize>,
}

impl Image {
    pub(super) fn durable(content: &[u8]) -> Self {
        Self { current: content.to_vec(), durable: content.to_vec(), ..Self::default() }
    }

    pub(super) fn current(&self) -> &[u8] {
        &self.current
    }

    pub(super) fn write(&mut self, offset: usize, data: &[u8], durable: bool) {
        let end = offset + data.len();
        if end > self.current.len() {
            self.current.resize(end, 0);
            self.lens.push(end);
        }
        self.current[offset..end].copy_from_slice(data);
        let sectors = offset / WAL_SECTOR_BYTES..end.div_ceil(WAL_SECTOR_BYTES);
        if durable {
            assert!(offset.is_multiple_of(WAL_SECTOR_BYTES), "durable writes are whole sectors");
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            self.durable[offset..end].copy_from_slice(data);
            // The size that reaches this data is durable with it.
            self.lens.retain(|len| *len >= end);
            sectors.for_each(|sector| drop(self.versions.remove(&sector)));
        } else {
            for sector in sectors {
                let version = sector_of(&self.current, sector);
                self.versions.entry(sector).or_default().push(version);
            }
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        let touched = len.min(self.current.len()) / WAL_SECTOR_BYTES..self.current.len().div_ceil(WAL_SECTOR_BYTES);
        self.current.resize(len, 0);
        self.lens.push(len);
        for sector in touched {
            let version = sector_of(&self.current, sector);
            self.versions.entry(sector).or_default().push(version);
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.current);
        self.versions.clear();
        self.lens.clear();
    }

    fn crash(&mut self, rng: &mut Rng) {
        let pick = rng.below(self.lens.len() + 1);
        let len = if pick == 0 { self.durable.len() } else { self.lens[pick - 1] };
        let mut content = std::mem::take(&mut self.durable);
        content.resize(len, 0);
        for (sector, versions) in std::mem::take(&mut self.versions) {
            let pick = rng.below(versions.len() + 1);
            let start = sector * WAL_SECTOR_BYTES;
            if pick > 0 && start < len {
                let count = WAL_SECTOR_BYTES.min(len - start);
                content[start..start + count].copy_from_slice(&versions[pick - 1][..count]);
            }
        }
        *self = Self::durable(&content);
    }
}

fn sector_of(content: &[u8], sector: usize) -> Sector {
    let mut version = [0; WAL_SECTOR_BYTES];
    let start = (sector * WAL_SECTOR_BYTES).min(content.len());
    let end = (start + WAL_SECTOR_BYTES).min(content.len());
    version[..end - start].copy_from_slice(&content[start..end]);
    version
}

#[derive(Clone)]
pub(super) enum DirChange {
    Add { name: String, inode: usize },
    Rename { from: String, to: String, inode: usize },
    Remove { name: String },
}

impl DirChange {
    fn apply(&self, entries: &mut BTreeMap<String, usize>) {
        match self {
            Self::Add { name, inode } => drop(entries.insert(name.clone(), *inode)),
            Self::Rename { from, to, inode } => {
                // Where the create was lost but the rename kept, the file appears under its new name only.
                if entries.get(from) == Some(inode) {
                    entries.remove(from);
                }
                entries.insert(to.clone(), *inode);
            }
            Self::Remove { name } => drop(entries.remove(name)),
        }
    }
}

pub(super) enum Inode {
    File(Image),
    Directory { current: BTreeMap<String, usize>, durable: BTreeMap<String, usize>, changes: Vec<DirChange> },
}

impl Inode {
    pub(super) fn directory() -> Self {
        Self::Directory { current: BTreeMap::new(), durable: BTreeMap::new(), changes: Vec::new() }
    }
}

/// All files and directories; number 0 is the root. Inodes are never reused, so a lost unlink finds its file again.
pub(super) struct Medium {
    inodes: Vec<Inode>,
}

impl Medium {
    pub(super) fn new() -> Self {
        Self { inodes: vec![Inode::directory()] }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let Inode::Directory { current, .. } = &self.inodes[at] else { return Err(errno(libc::ENOTDIR)) };
            let name = name.to_str().ok_or_else(|| errno(libc::EINVAL))?;
            at = *current.get(name).ok_or_else(|| errno(libc::ENOENT))?;
        }
        Ok(at)
    }

    pub(super) fn names(&self, inode: usize) -> io::Result<Vec<String>> {
        match &self.inodes[inode] {
            Inode::Directory { current, .. } => Ok(current.keys().cloned().collect()),
            Inode::File(_) => Err(errno(libc::ENOTDIR)),
        }
    }

    pub(super) fn image(&self, inode: usize) -> io::Result<&Image> {
        match &self.inodes[inode] {
            Inode::File(image) => Ok(image),
            Inode::Directory { .. } => Err(errno(libc::EISDIR)),
        }
    }

    pub(super) fn image_mut(&mut self, inode: usize) -> io::Result<&mut Image> {
        match &mut self.inodes[inode] {
            Inode::File(image) => Ok(image),
            Inode::Directory { .. } => Err(errno(libc::EISDIR)),
        }
    }

    pub(super) fn add(&mut self, path: &Path, inode: Inode) -> io::Result<usize> {
        let name = name_of(path)?;
        let number = self.inodes.len();
        self.inodes.push(inode);
        self.record(path, DirChange::Add { name, inode: number })?;
        Ok(number)
    }

    /// Changes the entry of an existing `path` in its directory.
    pub(super) fn change(&mut self, path: &Path, make: impl FnOnce(String, usize) -> DirChange) -> io::Result<()> {
        let inode = self.find(path)?;
        let change = make(name_of(path)?, inode);
        self.record(path, change)
    }

    fn record(&mut self, path: &Path, change: DirChange) -> io::Result<()> {
        let parent = self.find(path.parent().unwrap_or(Path::new("")))?;
        let Inode::Directory { current, changes, .. } = &mut self.inodes[parent] else {
            return Err(errno(libc::ENOTDIR));
        };
        change.apply(current);
        changes.push(change);
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let inode = self.find(dir)?;
        let Inode::Directory { current, durable, changes } = &mut self.inodes[inode] else {
            return Err(errno(libc::ENOTDIR));
        };
        durable.clone_from(current);
        changes.clear();
        Ok(())
    }

    pub(super) fn crash(&mut self, rng: &mut Rng) {
        for inode in &mut self.inodes {
            match inode {
                Inode::File(image) => image.crash(rng),
                Inode::Directory { current, durable, changes } => {
                    for change in changes.drain(..) {
                        if rng.below(2) == 0 {
                            change.apply(durable);
                        }
                    }
                    current.clone_from(durable);
                }
            }
        }
    }
}

pub(super) fn name_of(path: &Path) -> io::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| errno(libc::EINVAL))
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}
