//! TCP sockets as the reactors want them. No state. Nothing here blocks or resolves names.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// Connections the kernel completes ahead of `accept`, count. Clients reconnect all at once after a restart; the kernel
/// lowers it to net.core.somaxconn (4096 by default), which is also what Go asks for.
const LISTEN_BACKLOG: i32 = 4096;

/// Silence after which the kernel asks whether a client is still there, and the time between questions, in seconds: etcd's.
/// Machines that vanish without a word would otherwise keep their descriptors here for ever.
const KEEPALIVE_SECONDS: u32 = 30;

/// A bound, listening TCP socket. `reuse_port` when several shards listen on one address: the kernel then spreads
/// connections over them.
pub fn listen_tcp(addr: SocketAddr, reuse_port: bool) -> io::Result<OwnedFd> {
    let fd = stream(&addr, SockFlag::SOCK_CLOEXEC)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if reuse_port {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        // As Go: [::] takes IPv4 too, whatever net.ipv6.bindv6only says.
        setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(addr))?;
    listen(&fd, Backlog::new(LISTEN_BACKLOG)?)?;
    Ok(fd)
}

/// The address a socket is bound to: tells the port when the kernel chose it.
pub fn local_addr(fd: &OwnedFd) -> io::Result<SocketAddr> {
    std::net::TcpListener::from(fd.try_clone()?).local_addr()
}

/// An unconnected socket for `connect`, TCP_NODELAY set.
pub(super) fn stream_for_connect(addr: &SocketAddr, nonblocking: bool) -> Result<OwnedFd, Errno> {
    let flags = if nonblocking { SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK } else { SockFlag::SOCK_CLOEXEC };
    let fd = stream(addr, flags)?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    Ok(fd)
}

/// Makes a listening socket what the reactor needs: io_uring wants blocking sockets (it answers EAGAIN at once
/// otherwise), epoll nonblocking ones. Accepted sockets inherit TCP_NODELAY and keepalive on Linux: calls here save as many
/// per connection. Sockets that are not TCP refuse it, which does not matter.
pub(super) fn prepare_listener(fd: &OwnedFd, nonblocking: bool) {
    let _ = setsockopt(fd, sockopt::TcpNoDelay, &true);
    let _ = setsockopt(fd, sockopt::KeepAlive, &true);
    let _ = setsockopt(fd, sockopt::TcpKeepIdle, &KEEPALIVE_SECONDS);
    let _ = setsockopt(fd, sockopt::TcpKeepInterval, &KEEPALIVE_SECONDS);
    let flags = fcntl(fd.as_fd(), FcntlArg::F_GETFL).expect("an open socket has flags");
    let mut flags = OFlag::from_bits_retain(flags);
    flags.set(OFlag::O_NONBLOCK, nonblocking);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags)).expect("an open socket takes flags");
}

fn stream(addr: &SocketAddr, flags: SockFlag) -> Result<OwnedFd, Errno> {
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    socket(family, SockType::Stream, flags, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::getsockopt;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn accepted_sockets_inherit() {
        let fd = listen_tcp(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
        prepare_listener(&fd, false);
        let _client = TcpStream::connect(local_addr(&fd).unwrap()).unwrap();
        let (accepted, _) = TcpListener::from(fd).accept().unwrap();
        assert!(getsockopt(&accepted, sockopt::TcpNoDelay).unwrap());
        assert!(getsockopt(&accepted, sockopt::KeepAlive).unwrap());
        assert_eq!(getsockopt(&accepted, sockopt::TcpKeepIdle).unwrap(), KEEPALIVE_SECONDS);
        assert_eq!(getsockopt(&accepted, sockopt::TcpKeepInterval).unwrap(), KEEPALIVE_SECONDS);
    }
}
