//! Chooses a reactor and hides the choice behind static dispatch. Belongs to the thread that opened it.

use super::epoll::Epoll;
use super::ring::Ring;
use super::{ConnId, FileOp, Handler, ListenerId, Reactor, Settings, Waker};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Which reactor to open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The ring, or epoll where the ring is not to be had.
    #[default]
    Auto,
    Ring,
    Epoll,
}

/// One of the reactors.
pub enum AnyReactor {
    Ring(Box<Ring>),
    Epoll(Box<Epoll>),
}

/// Opens a reactor for the calling thread. With `Kind::Auto`, `AnyReactor::fallback_reason` says why it is not the ring.
pub fn open(kind: Kind, settings: &Settings) -> io::Result<AnyReactor> {
    let reason = match kind {
        Kind::Epoll => None,
        Kind::Ring => return Ok(AnyReactor::Ring(Box::new(Ring::open(settings)?))),
        Kind::Auto => match Ring::open(settings) {
            Ok(ring) => return Ok(AnyReactor::Ring(Box::new(ring))),
            Err(error) => Some(format!("io_uring cannot be used: {error}")),
        },
    };
    Ok(AnyReactor::Epoll(Box::new(Epoll::open(settings, reason)?)))
}

impl AnyReactor {
    /// Why `Kind::Auto` chose epoll: worth one warning in the log.
    pub fn fallback_reason(&self) -> Option<&str> {
        match self {
            Self::Ring(_) => None,
            Self::Epoll(epoll) => epoll.fallback_reason(),
        }
    }
}

macro_rules! dispatch {
    ($self:ident, $reactor:ident => $call:expr) => {
        match $self {
            Self::Ring($reactor) => $call,
            Self::Epoll($reactor) => $call,
        }
    };
}

impl Reactor for AnyReactor {
    fn listen(&mut self, socket: OwnedFd) -> ListenerId {
        dispatch!(self, r => r.listen(socket))
    }

    fn stop_listening(&mut self, listener: ListenerId) {
        dispatch!(self, r => r.stop_listening(listener))
    }

    fn connect(&mut self, addr: SocketAddr) -> ConnId {
        dispatch!(self, r => r.connect(addr))
    }

    fn send(&mut self, conn: ConnId, buf: Vec<u8>) {
        dispatch!(self, r => r.send(conn, buf))
    }

    fn receive(&mut self, conn: ConnId, on: bool) {
        dispatch!(self, r => r.receive(conn, on))
    }

    fn close(&mut self, conn: ConnId) {
        dispatch!(self, r => r.close(conn))
    }

    fn file(&mut self, id: u64, op: FileOp) {
        dispatch!(self, r => r.file(id, op))
    }

    fn waker(&self) -> Waker {
        dispatch!(self, r => r.waker())
    }

    fn wake(&mut self, target: &Waker) {
        dispatch!(self, r => r.wake(target))
    }

    fn turn<H: Handler>(&mut self, deadline_ns: Option<u64>, handler: &mut H) -> io::Result<()> {
        dispatch!(self, r => r.turn(deadline_ns, handler))
    }

    fn mono_ns(&self) -> u64 {
        super::mono_ns()
    }

    fn name(&self) -> &'static str {
        dispatch!(self, r => r.name())
    }
}
