//! WHAT HAPPENS: consensus, the write-ahead log, revisions and apply as one deterministic machine.
//! There is no clock, thread, random number or socket in here; time comes in as `effect::Now`, work goes out as effects.
//! System calls live only in the door files (`disk/file.rs`, `disk/buf.rs`).

pub mod apply;
pub mod canary;
pub mod consensus;
pub mod disk;
pub mod effect;
pub mod limits;
pub mod pb;
pub mod replica;
pub mod request_id;
pub mod wal;
