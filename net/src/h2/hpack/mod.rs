//! HPACK header compression (RFC 7541): a complete decoder, and an encoder that uses no dynamic table and so has no state.

mod decode;
mod encode;
pub mod huffman;
pub mod table;

pub use decode::{Decoder, Fault};
pub use encode::{put_indexed, put_literal, put_literal_indexed_name};
