//! HTTP/2 error codes. A value here always describes the peer's fault or a refusal, never a bug of ours: those are asserts.

use std::fmt;

/// Error code of RST_STREAM and GOAWAY. Unknown codes are legal on the wire, hence not an enum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reason(pub u32);

impl Reason {
    pub const NO_ERROR: Reason = Reason(0);
    pub const PROTOCOL_ERROR: Reason = Reason(1);
    pub const INTERNAL_ERROR: Reason = Reason(2);
    pub const FLOW_CONTROL_ERROR: Reason = Reason(3);
    pub const SETTINGS_TIMEOUT: Reason = Reason(4);
    pub const STREAM_CLOSED: Reason = Reason(5);
    pub const FRAME_SIZE_ERROR: Reason = Reason(6);
    pub const REFUSED_STREAM: Reason = Reason(7);
    pub const CANCEL: Reason = Reason(8);
    pub const COMPRESSION_ERROR: Reason = Reason(9);
    pub const CONNECT_ERROR: Reason = Reason(10);
    pub const ENHANCE_YOUR_CALM: Reason = Reason(11);
    pub const INADEQUATE_SECURITY: Reason = Reason(12);
    pub const HTTP_1_1_REQUIRED: Reason = Reason(13);

    const NAMES: [&'static str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "unknown error code {}", self.0),
        }
    }
}

/// Ends the whole connection: becomes the GOAWAY frame, `detail` its debug text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionError {
    pub reason: Reason,
    pub detail: &'static str,
}

impl ConnectionError {
    pub const fn new(reason: Reason, detail: &'static str) -> Self {
        ConnectionError { reason, detail }
    }

    pub const fn protocol(detail: &'static str) -> Self {
        Self::new(Reason::PROTOCOL_ERROR, detail)
    }

    pub const fn frame_size(detail: &'static str) -> Self {
        Self::new(Reason::FRAME_SIZE_ERROR, detail)
    }

    pub const fn flow(detail: &'static str) -> Self {
        Self::new(Reason::FLOW_CONTROL_ERROR, detail)
    }

    pub const fn compression(detail: &'static str) -> Self {
        Self::new(Reason::COMPRESSION_ERROR, detail)
    }

    pub const fn calm(detail: &'static str) -> Self {
        Self::new(Reason::ENHANCE_YOUR_CALM, detail)
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for ConnectionError {}
