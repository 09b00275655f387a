//! What a header list says: request and response heads, and the rules of RFC 9113 that make a list malformed.

use std::time::Duration;

use super::metadata::{BINARY_SUFFIX, Metadata, base64_fault};
use super::status::{Code, Status, decode_message};
use super::timeout;
use crate::h2::hpack::table::ENTRY_OVERHEAD_BYTES;
use crate::h2::limits::{MAX_BOMB_BYTES, MAX_HEADER_LIST_BYTES};

/// A request's headers, shared by all calls that sent the same block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RequestHead {
    pub method: String,
    pub path: String,
    pub authority: String,
    pub content_type: String,
    /// From grpc-timeout.
    pub timeout: Option<Duration>,
    /// From grpc-encoding.
    pub encoding: Option<String>,
    pub content_length: Option<u64>,
    /// All regular fields, those above included.
    pub metadata: Metadata,
}

impl RequestHead {
    /// First value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.metadata.get_str(name)
    }
}

/// A response's headers or trailers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResponseHead {
    /// 0 in trailers.
    pub http_status: u16,
    pub content_type: String,
    /// Status of the call, where this block carries one.
    pub status: Option<Status>,
    pub metadata: Metadata,
}

/// Why a header list is not a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeadFault {
    Malformed,
    TooLarge,
    /// Legal HTTP/2 that no call can be made of, in the words of Go's grpc.
    Refused(String),
}

/// Collects a header list of either direction, field by field.
#[derive(Debug, Default)]
pub struct HeadBuilder {
    method: Option<String>,
    scheme: bool,
    path: Option<String>,
    authority: Option<String>,
    http_status: Option<u16>,
    /// Regular fields with a meaning here, noted as they pass; the first of a name counts.
    content_type: Option<String>,
    host: Option<String>,
    hosts: u32,
    /// The first header no call can be made of; it matters to gRPC requests only.
    refusal: Option<String>,
    encoding: Option<String>,
    timeout: Option<Duration>,
    content_length: Option<u64>,
    metadata: Metadata,
    list_bytes: usize,
    fault: Option<HeadFault>,
}

impl HeadBuilder {
    /// Takes one decoded field. After the first fault nothing more is kept, decoding goes on for the table's sake.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        self.list_bytes += name.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        if self.fault.is_some() {
            return;
        }
        if self.list_bytes > MAX_HEADER_LIST_BYTES {
            self.fault = Some(HeadFault::TooLarge);
            return;
        }
        let legal = match name.first() {
            Some(b':') => self.pseudo(name, value),
            _ => self.regular(name, value),
        };
        if legal.is_none() {
            self.fault = Some(HeadFault::Malformed);
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        if !self.metadata.is_empty() || !legal_value(value) {
            return None;
        }
        let text = || std::str::from_utf8(value).ok().map(str::to_owned);
        let fresh = match name {
            b":method" => self.method.replace(text()?).is_none(),
            b":path" => self.path.replace(text()?).is_none(),
            b":authority" => self.authority.replace(text()?).is_none(),
            b":scheme" => !std::mem::replace(&mut self.scheme, true),
            b":status" => {
                let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = value else { return None };
                let status = [a, b, c].iter().fold(0, |n, d| n * 10 + u16::from(**d - b'0'));
                self.http_status.replace(status).is_none()
            }
            _ => return None,
        };
        fresh.then_some(())
    }

    fn regular(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        if name.is_empty() || !name.iter().fold(true, |legal, b| legal & NAME_BYTES[*b as usize]) || !legal_value(value)
        {
            return None;
        }
        let text = || std::str::from_utf8(value).map(str::to_owned).ok();
        match name {
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => return None,
            // Absence is tolerated though gRPC asks for it: proxies strip it.
            b"te" if value != b"trailers" => return None,
            b"content-type" if self.content_type.is_none() => self.content_type = text(),
            b"host" => {
                self.hosts += 1;
                self.host = self.host.take().or_else(text);
            }
            b"grpc-encoding" if self.encoding.is_none() => self.encoding = text(),
            b"grpc-timeout" if self.timeout.is_none() => {
                self.timeout = timeout::parse(value);
                if self.timeout.is_none() {
                    self.refuse(format!("malformed grpc-timeout: {}", timeout::fault(value)));
                }
            }
            b"content-length" => {
                let digits = std::str::from_utf8(value).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
                let len = digits.parse().ok()?;
                if self.content_length.replace(len).is_some_and(|earlier| earlier != len) {
                    return None;
                }
            }
            _ if name.ends_with(BINARY_SUFFIX.as_bytes()) => {
                if let Some(at) = base64_fault(value) {
                    let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
                    self.refuse(format!(
                        "malformed binary metadata {value:?} in header {name:?}: illegal base64 data at input byte {at}"
                    ));
                }
            }
            _ => {}
        }
        self.metadata.push(name, value);
        Some(())
    }

    fn refuse(&mut self, text: String) {
        self.refusal.get_or_insert(text);
    }

    /// So much more than a list may hold that it was written to make us work.
    pub fn is_bomb(&self) -> bool {
        self.list_bytes > MAX_BOMB_BYTES
    }

    pub fn into_request(self) -> Result<RequestHead, HeadFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.http_status.is_some() || !self.scheme {
            return Err(HeadFault::Malformed);
        }
        let method = self.method.ok_or(HeadFault::Malformed)?;
        let path = self.path.filter(|p| !p.is_empty()).ok_or(HeadFault::Malformed)?;
        if self.hosts > 1 {
            return Err(HeadFault::Refused(format!(
                "num values of :authority: {}, num values of host: {}, both must only have 1 value as per HTTP/2 spec",
                u32::from(self.authority.is_some()),
                self.hosts
            )));
        }
        if let Some(text) = self.refusal
            && self.content_type.as_deref().is_some_and(is_grpc)
        {
            return Err(HeadFault::Refused(text));
        }
        Ok(RequestHead {
            method,
            path,
            // A host beside :authority is dropped, as Go's grpc does.
            authority: self.authority.or(self.host).unwrap_or_default(),
            content_type: self.content_type.unwrap_or_default(),
            timeout: self.timeout,
            encoding: self.encoding,
            content_length: self.content_length,
            metadata: self.metadata,
        })
    }

    /// Trailers of a request: regular fields only, and nobody reads them.
    pub fn into_trailers(self) -> Result<(), HeadFault> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.has_pseudo() || self.http_status.is_some() => Err(HeadFault::Malformed),
            None => Ok(()),
        }
    }

    fn has_pseudo(&self) -> bool {
        self.method.is_some() || self.path.is_some() || self.authority.is_some() || self.scheme
    }

    /// Headers or trailers of a response.
    pub fn into_response(self) -> Result<ResponseHead, HeadFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.has_pseudo() {
            return Err(HeadFault::Malformed);
        }
        let status = self.metadata.get("grpc-status").map(|raw| {
            let number = std::str::from_utf8(raw).ok().and_then(|text| text.parse().ok());
            let message = self.metadata.get("grpc-message").map(decode_message).unwrap_or_default();
            Status::new(number.map_or(Code::Unknown, Code::from_number), message)
        });
        Ok(ResponseHead {
            http_status: self.http_status.unwrap_or(0),
            content_type: self.content_type.unwrap_or_default(),
            status,
            metadata: self.metadata,
        })
    }
}

/// Bytes legal in a field name: visible ASCII without upper case and colon.
const NAME_BYTES: [bool; 256] = {
    let mut legal = [false; 256];
    let mut byte = 0x21;
    while byte <= 0x7e {
        legal[byte] = byte != b':' as usize && !(byte as u8).is_ascii_uppercase();
        byte += 1;
    }
    legal
};

/// No early exit: a loop over all bytes is one the compiler makes wide. Blanks at the ends are what two readers would
/// disagree about (RFC 9113, 8.2.1).
fn legal_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !blank(value.first())
        && !blank(value.last())
        && value.iter().fold(true, |legal, b| legal & (*b != 0) & (*b != b'\r') & (*b != b'\n'))
}

/// Whether a content type is gRPC's: `application/grpc`, alone or followed by `+` or `;`.
pub fn is_grpc(content_type: &str) -> bool {
    let Some(prefix) = content_type.get(..GRPC_CONTENT_TYPE.len()) else { return false };
    prefix.eq_ignore_ascii_case(GRPC_CONTENT_TYPE)
        && matches!(content_type.as_bytes().get(GRPC_CONTENT_TYPE.len()), None | Some(b'+' | b';'))
}

pub const GRPC_CONTENT_TYPE: &str = "application/grpc";
