//! The services: what each call checks, asks and answers.

pub mod error;
pub mod kv;
