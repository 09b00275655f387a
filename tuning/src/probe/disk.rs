//! What the file system of a directory can do. Tries on a nameless file in that directory where possible, on one that
//! is removed at once otherwise; it must never touch a file that was there.

use crate::mounts;
use nix::fcntl::OFlag;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Alignments tried where the kernel does not tell, in bytes: the sector sizes there are.
const ALIGNMENTS: [u32; 2] = [512, 4096];

/// Whether files of a directory can be written past the page cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectIo {
    /// What memory addresses, and file offsets and lengths, must be multiples of, in bytes.
    Supported { memory_align: u32, offset_align: u32 },
    /// One sentence for the log.
    Unsupported { reason: String },
}

/// Tries O_DIRECT in `dir`. An error means that the directory itself cannot be written.
pub fn direct_io(dir: &Path) -> io::Result<DirectIo> {
    // First without O_DIRECT, so that a full or read-only disk is not taken for one without direct writes.
    drop(scratch_file(dir, OFlag::empty())?);
    let unsupported = |what: &str| DirectIo::Unsupported {
        reason: format!("{what} ({} at {}): writes go through the page cache", file_system(dir), dir.display()),
    };
    let file = match scratch_file(dir, OFlag::O_DIRECT) {
        Ok(file) => file,
        Err(error) => return Ok(unsupported(&format!("O_DIRECT is refused: {error}"))),
    };
    match direct_io_alignment(&file) {
        Some((0, _) | (_, 0)) => return Ok(unsupported("the kernel reports no support for O_DIRECT")),
        Some((memory_align, offset_align)) => return Ok(DirectIo::Supported { memory_align, offset_align }),
        None => {}
    }
    for align in ALIGNMENTS {
        if try_write(&file, align as usize).is_ok() {
            return Ok(DirectIo::Supported { memory_align: align, offset_align: align });
        }
    }
    Ok(unsupported("aligned O_DIRECT writes are refused"))
}

/// The name of the file system that holds `path`, such as `ext4`, `xfs` or `tmpfs`; `unknown` if it cannot be told.
pub fn file_system(path: &Path) -> String {
    let from_mounts = || {
        let path = fs::canonicalize(path).ok()?;
        let mounts = mounts::parse(&fs::read_to_string("/proc/self/mountinfo").ok()?);
        mounts::holding(&mounts, &path).map(|mount| mount.fs_type.clone())
    };
    // Without /proc the number in statfs must do, although ext2 to ext4 share one.
    from_mounts().or_else(|| magic_name(path).map(str::to_string)).unwrap_or_else(|| "unknown".to_string())
}

pub(super) fn magic_name(path: &Path) -> Option<&'static str> {
    const NAMES: &[(u32, &str)] = &[
        (0x0000_ef53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0x0102_1994, "tmpfs"),
        (0x794c_7630, "overlay"),
        (0xf2f5_2010, "f2fs"),
        (0x2fc1_2fc1, "zfs"),
        (0xca45_1a4e, "bcachefs"),
        (0x0000_6969, "nfs"),
        (0xff53_4d42, "cifs"),
        (0x6573_5546, "fuse"),
        (0x0102_1997, "9p"),
        (0x8584_58f6, "ramfs"),
        (0x0000_9fa0, "proc"),
        (0x6265_6572, "sysfs"),
    ];
    // The type's width differs by architecture; the numbers have 32 bits.
    let magic = nix::sys::statfs::statfs(path).ok()?.filesystem_type().0 as u32;
    NAMES.iter().find(|row| row.0 == magic).map(|row| row.1)
}

/// A file of our own in `dir` that has no name, or none any more.
fn scratch_file(dir: &Path, flags: OFlag) -> io::Result<File> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let nameless = (flags | OFlag::O_TMPFILE).bits();
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    if let Ok(file) = options.clone().custom_flags(nameless).open(dir) {
        return Ok(file);
    }
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!(".probe-{}-{number}.tmp", std::process::id()));
    // A process killed here may have left one under the same number: in a container every start has the same.
    _ = fs::remove_file(&path);
    let file = options.create_new(true).custom_flags(flags.bits()).open(&path);
    // Also after an error: some file systems create the file and only then refuse O_DIRECT.
    _ = fs::remove_file(&path);
    file
}

/// What statx says (kernel 6.1): memory and offset alignment, zero for no support. `None` when it says nothing.
fn direct_io_alignment(file: &File) -> Option<(u32, u32)> {
    // SAFETY: a struct of integers, for which zero is a value.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, an empty path that ends in NUL, and a struct of the size that the kernel fills.
    let result = unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, &raw mut stat)
    };
    if result != 0 || stat.stx_mask & libc::STATX_DIOALIGN == 0 {
        return None;
    }
    Some((stat.stx_dio_mem_align, stat.stx_dio_offset_align))
}

/// Writes one block at an offset that is aligned to `align` and no better, from memory that is not either.
fn try_write(file: &File, align: usize) -> io::Result<()> {
    let memory = vec![0u8; align * 4];
    let twice = align * 2;
    // Up to the next multiple of twice the alignment, and half of that further.
    let start = (twice - memory.as_ptr() as usize % twice) % twice + align;
    let len = file.write_at(&memory[start..start + align], align as u64)?;
    if len == align { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
