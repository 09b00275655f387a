//! HOW BYTES TRAVEL: HTTP/2, HPACK, gRPC and HTTP/1.1 as pure state machines. No I/O, no clock, no etcd word.

pub mod grpc;
pub mod h1;
pub mod h2;
pub mod sniff;
pub mod stage;
