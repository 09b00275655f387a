//! Health, metrics and logs.

pub mod health;
pub mod log;
pub mod metrics;
pub mod notify;
