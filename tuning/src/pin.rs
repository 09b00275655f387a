//! Names threads and pins them to CPUs. Called by each thread about itself, before its loop starts. A failed pin is for
//! the caller to log: the thread runs all the same, only less evenly.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::ffi::CString;
use std::io;

/// Bytes of a thread's name that the kernel keeps.
const NAME_BYTES_MAX: usize = 15;

/// Lets the calling thread run on this CPU only.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    let mut mask = CpuSet::new();
    mask.set(cpu)?;
    // 0 is the calling thread, not the process.
    Ok(sched_setaffinity(Pid::from_raw(0), &mask)?)
}

/// Gives the calling thread the name that `top -H` and `perf` show; what is too long is cut off.
pub fn name_current_thread(name: &str) -> io::Result<()> {
    let mut len = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    let name = CString::new(&name[..len]).map_err(|_| Errno::EINVAL)?;
    Ok(nix::sys::prctl::set_name(&name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::affinity;

    #[test]
    fn a_pinned_thread_has_one_cpu_and_leaves_the_others_alone() {
        let before = affinity().expect("a mask");
        let cpu = *before.last().expect("at least one CPU");
        let inside = std::thread::spawn(move || {
            pin_current_thread(cpu).expect("a CPU we may run on");
            affinity().expect("a mask").into_iter().collect::<Vec<_>>()
        });
        assert_eq!(inside.join().expect("no panic"), [cpu]);
        assert_eq!(affinity().expect("a mask"), before);
        assert!(pin_current_thread(1_000_000).is_err());
        assert!(pin_current_thread(CpuSet::count() - 1).is_err(), "a CPU this machine does not have");
    }

    #[test]
    fn names_are_cut_to_what_the_kernel_keeps() {
        let read = |name: &'static str| {
            let thread = std::thread::spawn(move || {
                name_current_thread(name).expect("named");
                std::fs::read_to_string("/proc/thread-self/comm").expect("proc")
            });
            thread.join().expect("no panic").trim_end().to_string()
        };
        assert_eq!(read("raft+shard-0"), "raft+shard-0");
        assert_eq!(read("a-name-much-too-long"), "a-name-much-too");
        assert_eq!(read("12345678901234\u{e9}"), "12345678901234");
        assert!(name_current_thread("a\0b").is_err());
    }
}
