//! Tests that drive the real binaries. Each starts servers of its own on free loopback ports with directories of their own.

mod boot;
mod crash;
mod fallback;
mod flood;
mod http;
mod kv;
mod ledger;
mod peer;
mod seccomp;
mod server;
mod tools;
mod wire;
