//! The write-ahead log in etcd's format: frames, segments, group commit, recovery.
//!
//! Life of a log: `create` or `recover` (blocking, before the server runs) gives a `Tail`; `Writer` goes on from it without
//! touching a file itself: records go in with `append`, file operations come out of `poll_effect`, their completions go
//! back in with `handle`, and `durable` says what may be acknowledged.

mod background;
mod batch;
mod create;
mod error;
pub mod frame;
mod reader;
mod recover;
mod replay;
pub mod segment;
mod writer;

pub use create::{create, create_with};
pub use error::{Fatal, RecoverError};
pub use recover::{Options, Recovered, recover};
pub use segment::SegmentName;
pub use writer::{Config, Room, Seq, Tail, Writer};
