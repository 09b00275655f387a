//! The probes on the machine the tests run on: they must answer on every one, also where io_uring is forbidden.
//! `unsafe` here installs seccomp filters.

use super::*;
use std::path::{Path, PathBuf};

/// What to do on the filter's own thread, after it forbade `io_uring_setup` for it alone.
fn with_io_uring_denied<T: Send + 'static>(errno: i32, run: fn() -> T) -> T {
    let thread = std::thread::spawn(move || {
        let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
        let mut filter = [
            // The system call's number is the first word of struct seccomp_data.
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
            statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
            statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        nix::sys::prctl::set_no_new_privs().expect("an ordinary user may give up privileges");
        // SAFETY: a program of the stated length that outlives the call, which copies it.
        let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
        assert_eq!(result, 0, "seccomp filter refused: {}", std::io::Error::last_os_error());
        run()
    });
    thread.join().expect("no panic")
}

#[test]
fn a_denied_ring_is_an_answer_with_a_reason() {
    for (errno, name) in [(libc::EPERM, "EPERM"), (libc::ENOSYS, "ENOSYS"), (libc::ENOMEM, "ENOMEM")] {
        let kernel = with_io_uring_denied(errno, Kernel::probe);
        let IoUring::Unavailable { errno: found, reason } = kernel.io_uring else {
            panic!("{name}: io_uring was denied");
        };
        assert_eq!(found, Some(errno));
        assert!(reason.contains(name) && reason.contains("epoll") && !reason.contains('\n'), "{reason}");
    }
}

#[test]
fn reasons_name_the_remedy() {
    let rows = [
        (Some(libc::EPERM), Some(2), "kernel.io_uring_disabled is 2"),
        (Some(libc::EPERM), Some(1), "kernel.io_uring_group"),
        (Some(libc::EPERM), Some(0), "seccomp"),
        (Some(libc::EPERM), None, "seccomp"),
        (Some(libc::ENOSYS), None, "too old"),
        (Some(libc::ENOMEM), None, "RLIMIT_MEMLOCK"),
        (Some(libc::EMFILE), None, "RLIMIT_NOFILE"),
        (Some(libc::EINVAL), None, "EINVAL: Invalid argument"),
        (None, None, "unknown"),
    ];
    for (errno, disabled, expect) in rows {
        let reason = ring::explain(errno, disabled);
        assert!(reason.contains(expect), "{reason:?} does not say {expect:?}");
    }
}

#[test]
fn this_kernel() {
    let kernel = Kernel::probe();
    assert!(kernel.release.contains('.'), "{}", kernel.release);
    assert!(kernel.open_files.soft > 0 && kernel.open_files.soft <= kernel.open_files.hard);
    assert!(kernel.memlock_bytes.soft <= kernel.memlock_bytes.hard);
    match &kernel.io_uring {
        IoUring::Available(ring) => {
            assert!(ring.accept_multishot && ring.recv_multishot && ring.missing_ops.is_empty());
            assert!(ring.single_issuer || !ring.defer_taskrun, "the second needs the first");
            // Whatever is newer brings all of it.
            assert!(!ring.ftruncate || (ring.single_issuer && ring.defer_taskrun && ring.coop_taskrun));
        }
        IoUring::Unavailable { reason, .. } => assert!(reason.contains("epoll"), "{reason}"),
    }
    println!("{kernel:?}");
}

/// A directory of our own below `parent`, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path, name: &str) -> std::io::Result<Self> {
        let path = parent.join(format!("probe-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn direct_io_of_whatever_is_here() {
    let parents = [std::env::temp_dir(), PathBuf::from("/dev/shm"), PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
    for parent in parents {
        // A read-only source tree or a missing /dev/shm is no failure of ours.
        let Ok(scratch) = Scratch::new(&parent, "direct") else { continue };
        match direct_io(&scratch.0).expect("a directory we can write") {
            DirectIo::Supported { memory_align, offset_align } => {
                assert!(memory_align.is_power_of_two() && offset_align.is_power_of_two());
            }
            DirectIo::Unsupported { reason } => assert!(reason.contains("page cache"), "{reason}"),
        }
        let left = std::fs::read_dir(&scratch.0).expect("readable").count();
        assert_eq!(left, 0, "nothing stays behind");
        println!("{}: {} {:?}", parent.display(), file_system(&parent), direct_io(&scratch.0));
    }
    assert!(direct_io(Path::new("/nonexistent")).is_err());
}

#[test]
fn file_systems() {
    assert_eq!(file_system(Path::new("/proc/self")), "proc");
    assert_eq!(disk::magic_name(Path::new("/proc/self")), Some("proc"));
    assert_eq!(file_system(Path::new("/sys")), "sysfs");
    assert_ne!(file_system(&std::env::temp_dir()), "unknown");
    assert_eq!(disk::magic_name(Path::new("/nonexistent")), None);
    assert_eq!(file_system(Path::new("/nonexistent")), "unknown");
}
