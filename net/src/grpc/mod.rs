//! gRPC over HTTP/2: calls, messages, status and deadlines, both sides, without I/O.
//!
//! `server` and `client` are the two connections; the other files are the vocabulary they share.

mod block_cache;
pub mod client;
mod gzip;
mod head;
pub mod limits;
pub mod message;
pub mod metadata;
pub mod server;
pub mod status;
pub mod timeout;

pub use head::{RequestHead, ResponseHead};
pub use metadata::Metadata;
pub use status::{Code, Status};

/// A call's stream on its connection. Ids are never reused, so a stale one names nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StreamId(pub u32);
