//! What this kernel and file system can do, found out by trying: version numbers say little about kernels with
//! backports, containers and sysctls. Run once at start, on any thread, as any user. Nothing here may fail the start:
//! what is missing is an answer, with a reason fit for the log.

mod disk;
mod ring;
#[cfg(test)]
mod tests;

pub use disk::{DirectIo, direct_io, file_system};
pub use ring::{IoUring, Ring, io_uring};

use nix::sys::resource::{Resource, getrlimit};

/// A resource limit; `u64::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    pub soft: u64,
    pub hard: u64,
}

/// What there is to know about the kernel, whatever directory is used.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// As `uname -r` prints it.
    pub release: String,
    pub io_uring: IoUring,
    /// Memory that may be locked, in bytes: kernels before 5.12 charge rings to it.
    pub memlock_bytes: ResourceLimit,
    /// Open files and connections.
    pub open_files: ResourceLimit,
}

impl Kernel {
    pub fn probe() -> Self {
        Kernel {
            release: release(),
            io_uring: io_uring(),
            memlock_bytes: limit(Resource::RLIMIT_MEMLOCK),
            open_files: limit(Resource::RLIMIT_NOFILE),
        }
    }
}

/// Empty where `/proc` is not mounted.
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_string()).unwrap_or_default()
}

fn limit(resource: Resource) -> ResourceLimit {
    // Only a wrong argument makes this call fail; what cannot be known is taken as unlimited.
    let (soft, hard) = getrlimit(resource).unwrap_or((u64::MAX, u64::MAX));
    ResourceLimit { soft, hard }
}
