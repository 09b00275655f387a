//! The write-ahead log against a disk that forgets: writer, recovery and format together, with tiny segments.
//! Every random test prints its seed; `seeds` in a test's table are replayed first.

mod crash;
mod format;
mod real;
mod rig;
mod tail;
mod writer;
