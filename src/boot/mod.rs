//! Which start this is, and what is on disk. Runs once, before any thread of the server.

pub mod data_dir;
pub mod identity;

pub mod start;
