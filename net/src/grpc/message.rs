//! Length-prefixed messages: cutting them out of DATA frames, and their five-byte prefix.

use bytes::Bytes;

use super::limits::MAX_RESERVE_BYTES;
use super::status::{Code, Status};

/// Compressed flag 1, length 4.
pub const PREFIX_BYTES: usize = 5;

/// The prefix of an uncompressed message.
#[inline]
pub fn prefix(len: usize) -> [u8; PREFIX_BYTES] {
    let len = u32::try_from(len).expect("a message is shorter than 4 GiB");
    let l = len.to_be_bytes();
    [0, l[0], l[1], l[2], l[3]]
}

/// The prefix of a compressed one.
pub fn packed_prefix(len: usize) -> [u8; PREFIX_BYTES] {
    let mut lead = prefix(len);
    lead[0] = 1;
    lead
}

/// Why a message was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    TooLarge {
        len: usize,
        max: usize,
    },
    /// The compressed flag, where no encoding was announced that can be undone here.
    Compressed,
    BadFlag(u8),
}

impl Refusal {
    /// The status of the call, in the words Go's grpc uses: callers match on them.
    pub fn status(self, encoding: Option<&str>) -> Status {
        match (self, encoding) {
            (Refusal::TooLarge { len, max }, _) => Status::new(
                Code::ResourceExhausted,
                format!("grpc: received message larger than max ({len} vs. {max})"),
            ),
            (Refusal::Compressed, Some(name)) if name != "identity" => not_installed(name),
            (Refusal::Compressed, _) => {
                Status::new(Code::Internal, "grpc: compressed flag set with identity or empty encoding")
            }
            (Refusal::BadFlag(flag), _) => {
                Status::new(Code::Internal, format!("grpc: received unexpected payload format {flag}"))
            }
        }
    }
}

/// Refusal of an encoding nobody here can undo.
pub fn not_installed(encoding: &str) -> Status {
    Status::new(Code::Unimplemented, format!("grpc: Decompressor is not installed for grpc-encoding \"{encoding}\""))
}

/// Joins the messages of one stream. Holds at most one unfinished message.
#[derive(Debug, Default)]
pub struct Assembler {
    lead: [u8; PREFIX_BYTES],
    lead_len: u8,
    body: Vec<u8>,
}

/// A message as it was on the wire.
#[derive(Debug)]
pub struct Framed {
    pub packed: bool,
    pub body: Bytes,
}

impl Assembler {
    /// Bytes held of an unfinished message.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.lead_len as usize + self.body.len()
    }

    /// Takes the next message out of `data`; None when `data` is used up and the message is not complete.
    #[inline]
    pub fn next(&mut self, data: &mut &[u8], max_bytes: usize) -> Result<Option<Framed>, Refusal> {
        if self.lead_len == 0
            && let Some((lead, rest)) = data.split_first_chunk::<PREFIX_BYTES>()
        {
            let len = checked_len(lead, max_bytes)?;
            if let Some((body, after)) = rest.split_at_checked(len) {
                *data = after;
                return Ok(Some(Framed { packed: lead[0] == 1, body: Bytes::copy_from_slice(body) }));
            }
        }
        self.slow_next(data, max_bytes)
    }

    fn slow_next(&mut self, data: &mut &[u8], max_bytes: usize) -> Result<Option<Framed>, Refusal> {
        let have = self.lead_len as usize;
        if have < PREFIX_BYTES {
            let take = (PREFIX_BYTES - have).min(data.len());
            self.lead[have..have + take].copy_from_slice(&data[..take]);
            self.lead_len += take as u8;
            *data = &data[take..];
            if have + take < PREFIX_BYTES {
                return Ok(None);
            }
        }
        let len = checked_len(&self.lead, max_bytes)?;
        if self.body.is_empty() {
            self.body.reserve_exact(len.min(MAX_RESERVE_BYTES));
        }
        let take = (len - self.body.len()).min(data.len());
        self.body.extend_from_slice(&data[..take]);
        *data = &data[take..];
        if self.body.len() < len {
            return Ok(None);
        }
        self.lead_len = 0;
        Ok(Some(Framed { packed: self.lead[0] == 1, body: Bytes::from(std::mem::take(&mut self.body)) }))
    }
}

#[inline]
fn checked_len(lead: &[u8; PREFIX_BYTES], max_bytes: usize) -> Result<usize, Refusal> {
    let [flag, len @ ..] = *lead;
    let len = u32::from_be_bytes(len) as usize;
    if flag > 1 {
        return Err(Refusal::BadFlag(flag));
    }
    if len > max_bytes {
        return Err(Refusal::TooLarge { len, max: max_bytes });
    }
    Ok(len)
}
