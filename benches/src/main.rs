//! `benchmark`: load generator with the flags and the report of etcd's tool of the same name.
fn main() {}
