//! How a command ends when it does not end well: a message on stderr and an exit code scripts rely on.

use etcd_uring::client::Status;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u8,
    /// Printed as `Error: ...`; empty when everything has been said already.
    pub message: String,
}

impl Failure {
    const ERROR: u8 = 1;
    const BAD_CONNECTION: u8 = 2;
    const INVALID_INPUT: u8 = 3;
    const BAD_FEATURE: u8 = 4;
    const BAD_ARGS: u8 = 128;

    pub fn error(message: impl Into<String>) -> Failure {
        Failure { code: Failure::ERROR, message: message.into() }
    }

    pub fn bad_connection(message: impl Into<String>) -> Failure {
        Failure { code: Failure::BAD_CONNECTION, message: message.into() }
    }

    /// Text from stdin that is not what the command reads.
    pub fn invalid_input(message: impl Into<String>) -> Failure {
        Failure { code: Failure::INVALID_INPUT, message: message.into() }
    }

    /// A known flag with a value that is not.
    pub fn bad_feature(message: impl Into<String>) -> Failure {
        Failure { code: Failure::BAD_FEATURE, message: message.into() }
    }

    pub fn bad_args(message: impl Into<String>) -> Failure {
        Failure { code: Failure::BAD_ARGS, message: message.into() }
    }

    /// The command has already explained itself on stderr.
    pub fn silent() -> Failure {
        Failure::error("")
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::error(status.to_string())
    }
}
