//! `etcd`: the server.
fn main() {}
