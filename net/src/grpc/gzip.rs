//! gzip for messages: the door to flate2. Owned by the connection that read or writes the message. What a peer sends must
//! not grow beyond the message limit here, however small it was on the wire.

use std::io::{ErrorKind, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::limits::{MAX_GZIP_BYTES, MAX_RESERVE_BYTES};
use super::status::{Code, Status};

/// Name of the encoding in grpc-encoding.
pub const NAME: &str = "gzip";

/// Bytes of a gzip header without options.
const HEADER_BYTES: usize = 10;

/// Undoes gzip; refuses in the words of Go's grpc.
pub fn unpack(raw: &[u8], max_bytes: usize) -> Result<Bytes, Status> {
    let refuse = |text: String| Err(Status::new(Code::Internal, text));
    let head_fault = match raw {
        [] => Some("EOF"),
        _ if raw.len() < HEADER_BYTES => Some("unexpected EOF"),
        [0x1f, 0x8b, 8, ..] => None,
        _ => Some("gzip: invalid header"),
    };
    if let Some(fault) = head_fault {
        return refuse(format!("grpc: failed to decompress the message: {fault}"));
    }
    let mut out = Vec::with_capacity(max_bytes.min(MAX_RESERVE_BYTES));
    // One byte over the limit tells that there is more.
    let limit = u64::try_from(max_bytes).map_or(u64::MAX, |max| max.saturating_add(1));
    if let Err(error) = MultiGzDecoder::new(raw).take(limit).read_to_end(&mut out) {
        let fault = if error.kind() == ErrorKind::UnexpectedEof { "unexpected EOF" } else { "flate: corrupt input" };
        return refuse(format!("grpc: failed to read decompressed data: {fault}"));
    }
    if out.len() > max_bytes {
        let text = format!("grpc: received message after decompression larger than max {max_bytes}");
        return Err(Status::new(Code::ResourceExhausted, text));
    }
    Ok(Bytes::from(out))
}

/// Whether a message of this size is packed. An empty one is not, as in Go; nor is one so large that packing it would hold
/// up everybody else on the thread.
pub fn is_worth_packing(len: usize) -> bool {
    (1..=MAX_GZIP_BYTES).contains(&len)
}

pub fn pack(raw: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(raw.len() / 2), Compression::fast());
    encoder.write_all(raw).and_then(|()| encoder.finish()).map(Bytes::from).expect("a vector takes everything")
}
