//! Starts a program under a seccomp filter that denies `io_uring_setup`: what Docker's and Kubernetes' default profiles do.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Adds the filter to what the child does before it becomes the program.
pub fn deny_io_uring(command: &mut Command) {
    // SAFETY: the closure runs in the child between fork and exec and makes two prctl calls on data of its own stack; it
    // allocates nothing and takes no lock.
    unsafe { command.pre_exec(install) };
}

fn install() -> io::Result<()> {
    const LOAD_SYSCALL_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let deny = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut filter = [
        libc::sock_filter { code: LOAD_SYSCALL_NUMBER, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: libc::SYS_io_uring_setup as u32 },
        libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: deny },
        libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes plain numbers; PR_SET_SECCOMP reads `program` and the filter it points to, both of
    // which live until the call returns.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
