//! Tests that drive the real binaries. Each starts servers of its own on free loopback ports with directories of their own.

mod bench;
mod boot;
mod crash;
mod ctl;
mod ending;
mod fallback;
mod flood;
mod full_disk;
mod hostile;
mod http;
mod kv;
mod ledger;
mod overload;
mod peer;
mod seccomp;
mod semantics;
mod server;
mod steps;
mod tools;
mod wire;
