//! One connection: a blocking socket and the sans-io gRPC client of `net`. The only file of the client that knows
//! either.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use net::grpc::client::{Config, Connection, Event};
use net::grpc::{Metadata, timeout};

use super::Status;
use super::endpoint::{Address, Endpoint};

/// Bytes read at once: a few full HTTP/2 frames.
const READ_BYTES: usize = 64 * 1024;

/// Bytes handed to one write. A large request goes out in several, so that the server's window updates are read
/// between them.
const WRITE_BYTES: usize = 256 * 1024;

const USER_AGENT: &str = concat!("grpc-rust-etcd/", env!("CARGO_PKG_VERSION"));

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        // Zero would mean to wait for ever.
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        match self {
            Socket::Tcp(s) => s.set_read_timeout(timeout).and_then(|()| s.set_write_timeout(timeout)),
            Socket::Unix(s) => s.set_read_timeout(timeout).and_then(|()| s.set_write_timeout(timeout)),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Socket::Tcp(s) => s.write_all(bytes),
            Socket::Unix(s) => s.write_all(bytes),
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(s) => s.read(buf),
            Socket::Unix(s) => s.read(buf),
        }
    }

    fn shutdown(&self) {
        // The peer may be gone already; there is nobody to tell.
        let _ = match self {
            Socket::Tcp(s) => s.shutdown(Shutdown::Both),
            Socket::Unix(s) => s.shutdown(Shutdown::Both),
        };
    }
}

/// Why a call has no answer.
pub(super) enum CallError {
    Status(Status),
    /// The connection broke. `sent`: the server may have seen the request.
    Broken {
        sent: bool,
        cause: String,
    },
}

pub(super) struct Transport {
    socket: Socket,
    connection: Connection,
    read_buffer: Vec<u8>,
    write_buffer: Vec<u8>,
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.socket.shutdown();
    }
}

impl Transport {
    /// Connects to the first address of the endpoint that takes the connection.
    pub(super) fn dial(endpoint: &Endpoint, timeout: Duration) -> io::Result<Transport> {
        let socket = match &endpoint.address {
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path)?),
            Address::Tcp(_) => {
                let mut result = Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
                for address in endpoint.resolve()? {
                    result = TcpStream::connect_timeout(&address, timeout);
                    if result.is_ok() {
                        break;
                    }
                }
                let stream = result?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
        };
        // Messages are checked per call; here only what must never be exceeded.
        let config =
            Config { user_agent: USER_AGENT.to_string(), max_message_bytes: i32::MAX as usize, ..Config::default() };
        let connection = Connection::new(endpoint.authority(), config);
        Ok(Transport { socket, connection, read_buffer: vec![0; READ_BYTES], write_buffer: Vec::new() })
    }

    /// One request; all messages of the answer.
    pub(super) fn call(
        &mut self,
        path: &str,
        message: Bytes,
        receive_bytes_max: usize,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, CallError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(CallError::Status(Status::deadline()));
        }
        if self.connection.goaway().is_some() {
            return Err(CallError::Broken { sent: false, cause: "the server is going away".to_string() });
        }
        let mut metadata = Metadata::new();
        metadata.insert("grpc-timeout", &timeout::format(left));
        let stream = self.connection.start_unary(path, &metadata, message);
        let mut messages = Vec::new();
        loop {
            while let Some(event) = self.connection.poll_event() {
                match event {
                    Event::Message { stream: of, message } if of == stream => {
                        if message.len() > receive_bytes_max {
                            self.connection.cancel(stream);
                            let text = format!(
                                "grpc: received message larger than max ({} vs. {receive_bytes_max})",
                                message.len()
                            );
                            return Err(CallError::Status(Status::new(Status::RESOURCE_EXHAUSTED, text)));
                        }
                        messages.push(message);
                    }
                    Event::Trailers { stream: of, status, .. } if of == stream => {
                        if status.is_ok() {
                            return Ok(messages);
                        }
                        if let Some(closed) = self.connection.is_closed() {
                            let cause = format!("{} {}", closed.reason, closed.detail);
                            return Err(CallError::Broken { sent: true, cause });
                        }
                        return Err(CallError::Status(Status::new(status.code.number(), status.message)));
                    }
                    // The end of a call that was given up before.
                    _ => {}
                }
            }
            if let Err(error) = self.turn(deadline) {
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                    self.connection.cancel(stream);
                    return Err(CallError::Status(Status::deadline()));
                }
                return Err(CallError::Broken { sent: true, cause: error.to_string() });
            }
        }
    }

    /// Sends what waits to be sent, then reads what there is, waiting for it.
    fn turn(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_timeouts(left)?;
        while self.connection.has_output() {
            self.write_buffer.clear();
            self.connection.poll_transmit(&mut self.write_buffer, WRITE_BYTES);
            self.socket.write_all(&self.write_buffer)?;
        }
        let read = loop {
            match self.socket.read(&mut self.read_buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "EOF"));
        }
        self.connection.handle_bytes(&self.read_buffer[..read]);
        Ok(())
    }
}
