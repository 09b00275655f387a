//! One connection of the generator: a non-blocking socket, the sans-io gRPC client of `net`, and what is in flight
//! on it. Owned by one generator thread; it never waits.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::Bytes;
use etcd_uring::client::{Address, Endpoint};
use net::grpc::client::{Config, Connection, Event};
use net::grpc::{Metadata, Status};

/// Bytes taken from the connection for one write. Larger than anything a turn leaves behind at 1000 clients.
const TRANSMIT_BYTES: usize = 1 << 20;

const USER_AGENT: &str = concat!("grpc-rust-etcd-benchmark/", env!("CARGO_PKG_VERSION"));

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(s) => s.read(buf),
            Socket::Unix(s) => s.read(buf),
        }
    }

    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(s) => s.write(buf),
            Socket::Unix(s) => s.write(buf),
        }
    }
}

/// What goes with a request from its start to its end.
#[derive(Clone, Copy)]
pub struct Tag {
    pub start_ns: u64,
    /// The revision that later pages of a paginated read stay at; 0 before the first page.
    pub revision: i64,
    /// Which of the load's reports the request goes to.
    pub class: u8,
}

/// One request on its way.
struct InFlight {
    tag: Tag,
    /// The last message of the answer so far.
    message: Bytes,
}

/// A request that is over.
pub struct Done {
    pub tag: Tag,
    pub message: Bytes,
    pub status: Status,
}

pub struct Link {
    socket: Socket,
    connection: Connection,
    out: Vec<u8>,
    /// Bytes of `out` that are written already.
    out_at: usize,
    /// Requests by stream: ids of a client rise by two, so the place in the queue is known from the id.
    in_flight: VecDeque<Option<InFlight>>,
    /// Id of the stream at the front of `in_flight`.
    front_id: u32,
    no_metadata: Metadata,
}

impl Link {
    pub fn dial(endpoint: &Endpoint, timeout: Duration) -> io::Result<Link> {
        let socket = match &endpoint.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Socket::Unix(stream)
            }
            Address::Tcp(_) => {
                let mut result = Err(io::Error::new(ErrorKind::NotFound, "the name has no address"));
                for address in endpoint.resolve()? {
                    result = TcpStream::connect_timeout(&address, timeout);
                    if result.is_ok() {
                        break;
                    }
                }
                let stream = result?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Socket::Tcp(stream)
            }
        };
        let config =
            Config { user_agent: USER_AGENT.to_string(), max_message_bytes: i32::MAX as usize, ..Config::default() };
        Ok(Link {
            socket,
            connection: Connection::new(endpoint.authority(), config),
            out: Vec::new(),
            out_at: 0,
            in_flight: VecDeque::new(),
            front_id: 0,
            no_metadata: Metadata::new(),
        })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(s) => s.as_fd(),
            Socket::Unix(s) => s.as_fd(),
        }
    }

    /// Whether a request may be started here.
    pub fn is_usable(&self) -> bool {
        self.connection.goaway().is_none()
    }

    /// Starts a request; it leaves with the next `flush`.
    pub fn start(&mut self, path: &str, message: Bytes, tag: Tag) {
        assert!(self.is_usable(), "requests start on open connections");
        let stream = self.connection.start_unary(path, &self.no_metadata, message);
        if self.in_flight.is_empty() {
            self.front_id = stream.0;
        }
        let place = ((stream.0 - self.front_id) / 2) as usize;
        assert_eq!(place, self.in_flight.len(), "stream ids rise by two");
        self.in_flight.push_back(Some(InFlight { tag, message: Bytes::new() }));
    }

    /// Reads what is there and hands every finished request to `done`. Err: the connection is gone.
    pub fn receive(&mut self, buffer: &mut [u8], mut done: impl FnMut(Done)) -> io::Result<()> {
        let result = self.read_some(buffer);
        if let Err(error) = &result {
            self.connection.handle_disconnect(&error.to_string());
        }
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Message { stream, message } => {
                    if let Some(Some(request)) = self.in_flight.get_mut(((stream.0 - self.front_id) / 2) as usize) {
                        request.message = message;
                    }
                }
                Event::Trailers { stream, status, .. } => {
                    if let Some(request) = self.take(stream.0) {
                        done(Done { tag: request.tag, message: request.message, status });
                    }
                }
                Event::Headers { .. } => {}
            }
        }
        match self.connection.is_closed() {
            Some(closed) if result.is_ok() => Err(io::Error::other(format!("{} {}", closed.reason, closed.detail))),
            _ => result,
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "EOF")),
                Ok(read) => {
                    self.connection.handle_bytes(&buffer[..read]);
                    if read < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, id: u32) -> Option<InFlight> {
        let place = (id.checked_sub(self.front_id)? / 2) as usize;
        let request = self.in_flight.get_mut(place)?.take();
        while let Some(None) = self.in_flight.front() {
            self.in_flight.pop_front();
            self.front_id += 2;
        }
        request
    }

    /// Writes what can be written; whether everything is out.
    pub fn flush(&mut self) -> io::Result<bool> {
        loop {
            if self.out_at == self.out.len() {
                self.out.clear();
                self.out_at = 0;
                if !self.connection.has_output() {
                    return Ok(true);
                }
                self.connection.poll_transmit(&mut self.out, TRANSMIT_BYTES);
                if self.out.is_empty() {
                    return Ok(true);
                }
            }
            match self.socket.write(&self.out[self.out_at..]) {
                Ok(written) => self.out_at += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
