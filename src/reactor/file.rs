//! File operations done with plain system calls: by the epoll reactor's disk thread, and by the ring for what an older
//! kernel cannot do. No state. A short write is an error here too, and a failed sync is never retried.

use super::{DurableWrite, FileOp};
use engine::disk::AlignedBuf;
use std::os::fd::RawFd;

/// Most bytes one write may carry: the kernel cuts anything above 2 GiB - 4 KiB, which would be a short write.
pub(super) const WRITE_BYTES_MAX: usize = 1 << 30;

/// Times an interrupted operation is started again, count. Signals are rare; a storm of them ends in EINTR, not in a loop.
pub(super) const RETRIES_MAX: u8 = 16;

/// Flags of every open: nothing this process starts may inherit the log.
pub(super) const OPEN_FLAGS_ALWAYS: i32 = libc::O_CLOEXEC;

/// Carries out `op`; blocks. Bytes written, descriptor opened or 0, or an errno; and the buffer of a write.
pub(super) fn run(op: FileOp, durable_write: DurableWrite) -> (Result<usize, i32>, Option<AlignedBuf>) {
    match op {
        FileOp::Write { fd, offset, buf, durable } => {
            let result = write(fd, offset, &buf, durable.then_some(durable_write));
            (result, Some(buf))
        }
        other => (run_plain(&other), None),
    }
}

fn write(fd: RawFd, offset: u64, buf: &AlignedBuf, durable: Option<DurableWrite>) -> Result<usize, i32> {
    if buf.len() > WRITE_BYTES_MAX {
        return Err(libc::EINVAL);
    }
    let flags = if durable == Some(DurableWrite::Dsync) { libc::RWF_DSYNC } else { 0 };
    let iov = libc::iovec { iov_base: buf.as_slice().as_ptr().cast_mut().cast(), iov_len: buf.len() };
    // SAFETY: `iov` names the `len()` initialised bytes of `buf`, which outlives the call; a write only reads them.
    let attempt = |flags| retry(|| unsafe { libc::pwritev2(fd, &iov, 1, offset as libc::off_t, flags) });
    let (written, synced) = match attempt(flags) {
        // Files of drivers that know no flags.
        Err(libc::EOPNOTSUPP) if flags != 0 => (attempt(0)?, false),
        other => (other?, flags != 0),
    };
    if written != buf.len() {
        return Err(libc::EIO);
    }
    if durable.is_some() && !synced {
        // SAFETY: takes a number only.
        once(unsafe { libc::fdatasync(fd) } as isize)?;
    }
    Ok(written)
}

fn run_plain(op: &FileOp) -> Result<usize, i32> {
    match op {
        FileOp::Write { .. } => unreachable!("writes have their own path"),
        // SAFETY: takes a number only. Not retried: after a failed sync the state of the medium is unknown.
        FileOp::Fdatasync { fd } => once(unsafe { libc::fdatasync(*fd) } as isize),
        // SAFETY: takes a number only. Not retried, as above.
        FileOp::Fsync { fd } => once(unsafe { libc::fsync(*fd) } as isize),
        FileOp::Allocate { fd, mode, offset, len } => {
            // SAFETY: takes numbers only.
            retry(|| unsafe { libc::fallocate(*fd, *mode, *offset as libc::off_t, *len as libc::off_t) } as isize)
        }
        FileOp::OpenAt { dir, path, flags, mode } => {
            let flags = *flags | OPEN_FLAGS_ALWAYS;
            // SAFETY: `path` is a NUL-terminated string that outlives the call.
            retry(|| unsafe { libc::openat(*dir, path.as_ptr(), flags, *mode) } as isize)
        }
        FileOp::RenameAt { dir, from, to } => {
            // SAFETY: both paths are NUL-terminated strings that outlive the call.
            retry(|| unsafe { libc::renameat(*dir, from.as_ptr(), *dir, to.as_ptr()) } as isize)
        }
        FileOp::UnlinkAt { dir, path } => {
            // SAFETY: `path` is a NUL-terminated string that outlives the call.
            retry(|| unsafe { libc::unlinkat(*dir, path.as_ptr(), 0) } as isize)
        }
        // SAFETY: takes numbers only.
        FileOp::Truncate { fd, len } => retry(|| unsafe { libc::ftruncate(*fd, *len as libc::off_t) } as isize),
        // SAFETY: the caller of the operation owns the descriptor and gives it up with it. Never retried: Linux has freed
        // the number even when close reports an error.
        FileOp::Close { fd } => once(unsafe { libc::close(*fd) } as isize),
    }
}

fn retry(mut call: impl FnMut() -> isize) -> Result<usize, i32> {
    let mut result = once(call());
    for _ in 0..RETRIES_MAX {
        if result != Err(libc::EINTR) {
            break;
        }
        result = once(call());
    }
    result
}

fn once(returned: isize) -> Result<usize, i32> {
    usize::try_from(returned).map_err(|_| nix::errno::Errno::last_raw())
}
