//! THE SERVER: joins engine, net and tuning on cores. Started by `main.rs`; the tools in `bin/` use `client`.

pub mod api;
pub mod boot;
pub mod client;
pub mod config;
pub mod core;
pub mod driver;
pub mod exchange;
pub mod mailbox;
pub mod ops;
pub mod published;
pub mod reactor;
pub mod room;
pub mod shard;
pub mod signals;
