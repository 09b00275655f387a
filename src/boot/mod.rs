//! Which start this is, and what is on disk.
