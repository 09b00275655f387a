//! Apply: the state machine behind the log, and the only caller of its siblings `mvcc` and `cluster`.
//! A pure function of (state, entry): everything that can fail is found before the first mutation.

pub mod cluster;
pub mod kv;
pub mod mvcc;
