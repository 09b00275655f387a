//! Tests that drive the real binaries. Each starts servers of its own on free loopback ports with directories of their own.

mod boot;
mod crash;
mod ending;
mod fallback;
mod full_disk;
mod hostile;
mod http;
mod kv;
mod ledger;
mod seccomp;
mod server;
mod tools;
