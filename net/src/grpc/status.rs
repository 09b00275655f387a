//! gRPC status: codes, names, and the percent-encoding of grpc-message.

use std::borrow::Cow;
use std::fmt;

use super::limits::MAX_STATUS_MESSAGE_BYTES;

macro_rules! codes {
    ($($value:literal $name:ident)*) => {
        /// Status code. Unknown numbers on the wire read as `Unknown`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Code { $($name = $value),* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            pub fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name)),* }
            }

            /// The name as grpc-go prints it and metrics label it: only success is spelled otherwise.
            pub fn label(self) -> &'static str {
                if self == Code::Ok { "OK" } else { self.name() }
            }
        }
    };
}

codes! {
    0 Ok
    1 Canceled
    2 Unknown
    3 InvalidArgument
    4 DeadlineExceeded
    5 NotFound
    6 AlreadyExists
    7 PermissionDenied
    8 ResourceExhausted
    9 FailedPrecondition
    10 Aborted
    11 OutOfRange
    12 Unimplemented
    13 Internal
    14 Unavailable
    15 DataLoss
    16 Unauthenticated
}

impl Code {
    pub fn from_number(number: u32) -> Code {
        Code::ALL.get(number as usize).copied().unwrap_or(Code::Unknown)
    }

    pub fn number(self) -> u32 {
        self as u32
    }

    /// What a response without grpc-status means, by its HTTP status.
    pub fn from_http(status: u16) -> Code {
        match status {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    pub code: Code,
    pub message: Cow<'static, str>,
}

impl Status {
    pub const OK: Status = Status { code: Code::Ok, message: Cow::Borrowed("") };

    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Status { code, message: message.into() }
    }

    /// A call whose time is over, in the words of Go's grpc.
    pub const fn deadline_exceeded() -> Self {
        Status { code: Code::DeadlineExceeded, message: Cow::Borrowed("context deadline exceeded") }
    }

    pub fn is_ok(&self) -> bool {
        self.code == Code::Ok
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code = {} desc = {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}

/// The grpc-message of a text: everything but printable ASCII, and '%', as %XX. Cut at the limit between characters.
pub fn encode_message(text: &str) -> Vec<u8> {
    let mut end = text.len().min(MAX_STATUS_MESSAGE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = Vec::with_capacity(end);
    for &byte in &text.as_bytes()[..end] {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            out.push(byte);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.extend_from_slice(&[b'%', HEX[byte as usize >> 4], HEX[byte as usize & 15]]);
        }
    }
    out
}

/// The text of a grpc-message. What is not valid escaping stays as it is: a status must never be lost to its spelling.
pub fn decode_message(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        let escaped = match raw.get(at..at + 3) {
            Some([b'%', hi, lo]) => hex(*hi).zip(hex(*lo)),
            _ => None,
        };
        if let Some((hi, lo)) = escaped {
            out.push(hi << 4 | lo);
            at += 3;
        } else {
            out.push(raw[at]);
            at += 1;
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}
