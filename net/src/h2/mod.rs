//! HTTP/2: frames, HPACK, streams and flow control.
//!
//! `reader` cuts bytes into frames, `connection` gives them meaning (settings, windows, streams, floods), `send` is its
//! outgoing half, `hpack` the header compression. What a header block *says* is the business of the layer above.

pub mod connection;
pub mod error;
pub mod flood;
pub mod flow;
pub mod frame;
pub mod hpack;
pub mod keepalive;
pub mod limits;
pub mod reader;
mod send;
pub mod streams;

pub use connection::{Accepted, Connection, Received, Role};
pub use error::{ConnectionError, Reason};
pub use reader::{Frame, Reader};
pub use send::{Chunk, Source, Tail};
pub use streams::Slot;
