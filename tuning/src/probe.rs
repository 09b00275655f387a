//! What this kernel and file system can do.
