//! Consensus: the raft crate behind one door (`raft.rs`) and the log it reads (`log.rs`).
//! Outside this folder there are only our own message and entry types; the crate's never leave it.

mod log;
mod raft;

pub use raft::{Boot, Node, ProposeError, Ready, Role};
