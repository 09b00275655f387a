//! The write-ahead log against a disk that forgets: writer, recovery and format together, with tiny segments.
//! Every random test names the seed it failed with; `WAL_LIVES` raises the number of seeds for a long search.

mod crash;
mod format;
mod real;
mod rig;
mod tail;
mod writer;
