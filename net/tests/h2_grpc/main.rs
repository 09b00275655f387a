//! HTTP/2 and gRPC, both sides joined in memory in one thread. No sockets, no clock; one seed reproduces any failure.

mod cache;
mod calls;
mod errors;
mod flow;
mod fuzz;
mod gzip;
mod hpack;
mod keepalive;
mod pair;
mod rfc;
mod streams;
mod wire;
