//! THE MACHINE: what CPUs and kernel features there are, which thread gets which role, and how to measure it.

pub mod metric;
mod mounts;
pub mod open_files;
pub mod pin;
pub mod plan;
pub mod probe;
pub mod topology;
