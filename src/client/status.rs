//! How a call can fail, in the words etcd's own tools use.

use net::grpc::Code;
use std::fmt;

/// The end of a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u32,
    pub message: String,
}

impl Status {
    pub const INTERNAL: u32 = 13;
    pub const DEADLINE_EXCEEDED: u32 = 4;
    pub const PERMISSION_DENIED: u32 = 7;
    pub const RESOURCE_EXHAUSTED: u32 = 8;
    pub const UNAVAILABLE: u32 = 14;

    pub fn new(code: u32, message: impl Into<String>) -> Status {
        Status { code, message: message.into() }
    }

    /// The caller's own deadline has passed.
    pub fn deadline() -> Status {
        Status::new(Status::DEADLINE_EXCEEDED, "context deadline exceeded")
    }

    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::new(Status::UNAVAILABLE, message)
    }
}

/// Errors of the cluster itself are printed bare, everything else with its gRPC code. A deadline reads the same
/// whether it ran out here or at the server, because Go's client looks at its own context first.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.starts_with("etcdserver: ") {
            return f.write_str(&self.message);
        }
        if self.code == Status::DEADLINE_EXCEEDED {
            return f.write_str("context deadline exceeded");
        }
        match Code::ALL.get(self.code as usize).map(|code| code.label()) {
            Some(name) => write!(f, "rpc error: code = {name} desc = {}", self.message),
            None => write!(f, "rpc error: code = Code({}) desc = {}", self.code, self.message),
        }
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(Status::new(3, "etcdserver: key is not provided").to_string(), "etcdserver: key is not provided");
        assert_eq!(Status::new(14, "gone").to_string(), "rpc error: code = Unavailable desc = gone");
        assert_eq!(Status::deadline().to_string(), "context deadline exceeded");
        assert_eq!(Status::new(99, "x").to_string(), "rpc error: code = Code(99) desc = x");
    }
}
