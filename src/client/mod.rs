//! A small blocking gRPC client for the tools, and what their command lines have in common.
//!
//! Owned by the thread that calls it: one `Client` is one connection at a time, to the first of its endpoints that
//! answers. Nothing of the server may use this, and it never retries a write that may have reached a server.

pub mod cli;
mod cluster;
mod endpoint;
pub mod gotext;
mod kv;
mod maintenance;
mod status;
mod transport;

use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;

pub use endpoint::{Address, Endpoint, EndpointError};
pub use status::Status;
use transport::Transport;

/// First pause before a round of connection attempts is repeated; it doubles up to `REDIAL_PAUSE_MAX`.
const REDIAL_PAUSE_MIN: Duration = Duration::from_millis(50);

/// A server that is just starting is found at most this much later.
const REDIAL_PAUSE_MAX: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub struct Config {
    /// Tried in order; the client stays with the one that works.
    pub endpoints: Vec<Endpoint>,
    /// For one attempt to connect to one address.
    pub dial_timeout: Duration,
    pub request_bytes_max: usize,
    pub receive_bytes_max: usize,
}

/// Whether a call may be made again when its connection breaks before an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    Safe,
    Never,
}

pub struct Client {
    config: Config,
    /// The endpoint to try first.
    preferred: usize,
    transport: Option<Transport>,
}

impl Client {
    pub fn new(config: Config) -> Client {
        assert!(!config.endpoints.is_empty(), "a client needs an endpoint");
        Client { config, preferred: 0, transport: None }
    }

    /// One request, one answer.
    fn unary<R: Message + Default>(
        &mut self,
        path: &'static str,
        request: &impl Message,
        repeat: Repeat,
        deadline: Instant,
    ) -> Result<R, Status> {
        let mut answers = self.call(path, request, repeat, deadline)?;
        match (answers.pop(), answers.pop()) {
            (Some(answer), None) => decode(answer),
            _ => Err(Status::new(Status::INTERNAL, "the server did not send exactly one answer")),
        }
    }

    /// One request, and all messages of the answer.
    fn call(
        &mut self,
        path: &'static str,
        request: &impl Message,
        repeat: Repeat,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, Status> {
        let message = Bytes::from(request.encode_to_vec());
        if message.len() > self.config.request_bytes_max {
            let (len, max) = (message.len(), self.config.request_bytes_max);
            let text = format!("trying to send message larger than max ({len} vs. {max})");
            return Err(Status::new(Status::RESOURCE_EXHAUSTED, text));
        }
        loop {
            let receive_bytes_max = self.config.receive_bytes_max;
            let transport = self.connected(deadline)?;
            match transport.call(path, message.clone(), receive_bytes_max, deadline) {
                Ok(answers) => return Ok(answers),
                Err(transport::CallError::Status(status)) => return Err(status),
                Err(transport::CallError::Broken { sent, cause }) => {
                    self.transport = None;
                    self.preferred = (self.preferred + 1) % self.config.endpoints.len();
                    if Instant::now() >= deadline {
                        return Err(Status::deadline());
                    }
                    if sent && repeat == Repeat::Never {
                        return Err(Status::unavailable(format!("error reading from server: {cause}")));
                    }
                }
            }
        }
    }

    /// The connection, made if there is none: the endpoints in turn, again and again until the deadline.
    fn connected(&mut self, deadline: Instant) -> Result<&mut Transport, Status> {
        let mut pause = REDIAL_PAUSE_MIN;
        while self.transport.is_none() {
            for step in 0..self.config.endpoints.len() {
                let at = (self.preferred + step) % self.config.endpoints.len();
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let timeout = left.min(self.config.dial_timeout);
                if let Ok(transport) = Transport::dial(&self.config.endpoints[at], timeout) {
                    self.preferred = at;
                    self.transport = Some(transport);
                    break;
                }
            }
            if self.transport.is_none() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Status::deadline());
                }
                std::thread::sleep(pause.min(left));
                pause = (pause * 2).min(REDIAL_PAUSE_MAX);
            }
        }
        Ok(self.transport.as_mut().expect("just connected"))
    }
}

fn decode<R: Message + Default>(answer: Bytes) -> Result<R, Status> {
    R::decode(answer).map_err(|mistake| Status::new(Status::INTERNAL, format!("the answer cannot be read: {mistake}")))
}
