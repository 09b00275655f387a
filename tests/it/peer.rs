//! A raw HTTP/2 peer on a real socket: it says what a test tells it to, right or wrong, and reads whole frames.

use crate::server::PATIENCE;
use net::h2::frame::{self, HEADER_BYTES, Header, PREFACE, flag, kind};
use net::h2::hpack::{put_indexed, put_literal, put_literal_indexed_name};
use prost::Message;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

pub struct Peer {
    pub stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    /// Connects and says nothing.
    pub fn silent(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Connects, and says the preface and these SETTINGS.
    pub fn connect(port: u16, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self::silent(port);
        let mut hello = PREFACE.to_vec();
        frame::put_settings(&mut hello, settings);
        assert!(peer.say(&hello));
        peer
    }

    /// False when the server has closed, or reads no more.
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame; None when the server closed.
    pub fn frame(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut buf = [0; 64 << 10];
        loop {
            if let Some(head) = self.received.first_chunk::<HEADER_BYTES>() {
                let header = Header::parse(head);
                let end = HEADER_BYTES + header.len;
                if self.received.len() >= end {
                    let payload = self.received[HEADER_BYTES..end].to_vec();
                    self.received.drain(..end);
                    return Some((header, payload));
                }
            }
            match self.stream.read(&mut buf) {
                Ok(0) => return None,
                Ok(len) => self.received.extend_from_slice(&buf[..len]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the server says nothing and does not close")
                }
                Err(_) => return None,
            }
        }
    }

    /// Skips to the next frame of a kind.
    pub fn frame_of(&mut self, wanted: u8) -> Option<(Header, Vec<u8>)> {
        loop {
            let (header, payload) = self.frame()?;
            if header.kind == wanted {
                return Some((header, payload));
            }
        }
    }

    /// Code and text of the GOAWAY that ends this connection.
    pub fn goaway(&mut self) -> (u32, String) {
        let (_, payload) = self.frame_of(kind::GOAWAY).expect("a GOAWAY before the end");
        let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
        (code, String::from_utf8(payload[8..].to_vec()).unwrap())
    }
}

pub fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = frame::header(payload.len(), kind, flags, stream).to_vec();
    out.extend_from_slice(payload);
    out
}

/// HEADERS of a gRPC call, with more fields.
pub fn open(stream: u32, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    put_indexed(&mut block, 3);
    put_indexed(&mut block, 6);
    put_literal_indexed_name(&mut block, 4, path.as_bytes());
    put_literal(&mut block, b"content-type", b"application/grpc");
    for (name, value) in fields {
        put_literal(&mut block, name.as_bytes(), value.as_bytes());
    }
    raw(kind::HEADERS, flag::END_HEADERS, stream, &block)
}

/// A message in one DATA frame, END_STREAM on it.
pub fn message(stream: u32, message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut payload = vec![0];
    payload.extend_from_slice(&(body.len() as u32).to_be_bytes());
    payload.extend_from_slice(&body);
    raw(kind::DATA, flag::END_STREAM, stream, &payload)
}
