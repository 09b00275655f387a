//! `etcdctl`: the command line client.
fn main() {}
