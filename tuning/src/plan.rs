//! Gives roles to threads, from a topology: pure.
