//! The services: what each call checks, asks and answers. One file per service; `method` is the table of calls.

pub mod cluster;
pub mod error;
pub mod health;
pub mod kv;
pub mod maintenance;
pub mod method;
pub mod range_body;
pub mod wire;

pub use method::Method;
