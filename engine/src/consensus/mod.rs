//! Consensus: the raft crate behind one door, the log it reads, proposals and read index.
