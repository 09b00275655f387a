//! The one table of errors that clients see: gRPC code and exact text. Clients compare texts, so a letter changed here breaks
//! somebody. Where etcd declares one code and sends another, what it sends is what counts.

use engine::apply::kv;
use net::grpc::Code;

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident $code:ident $text:literal)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Error {
            $($(#[$doc])* $name,)*
        }

        impl Error {
            pub const ALL: &[Error] = &[$(Error::$name,)*];

            pub fn code(self) -> Code {
                match self {
                    $(Error::$name => Code::$code,)*
                }
            }

            pub fn text(self) -> &'static str {
                match self {
                    $(Error::$name => $text,)*
                }
            }

            pub fn name(self) -> &'static str {
                match self {
                    $(Error::$name => stringify!($name),)*
                }
            }
        }
    };
}

errors! {
    AuthFailed InvalidArgument "etcdserver: authentication failed, invalid user ID or password"
    AuthNotEnabled FailedPrecondition "etcdserver: authentication is not enabled"
    AuthOldRevision InvalidArgument "etcdserver: revision of auth store is old"
    BadLeaderTransferee FailedPrecondition "etcdserver: bad leader transferee"
    Canceled Canceled "etcdserver: request canceled"
    ClusterIDMismatch FailedPrecondition "etcdserver: cluster ID mismatch"
    ClusterVersionUnavailable FailedPrecondition "etcdserver: cluster version not found during downgrade"
    Compacted OutOfRange "etcdserver: mvcc: required revision has been compacted"
    Corrupt DataLoss "etcdserver: corrupt cluster"
    DeadlineExceeded DeadlineExceeded "etcdserver: context deadline exceeded"
    DowngradeInProcess FailedPrecondition "etcdserver: cluster has a downgrade job in progress"
    DuplicateKey InvalidArgument "etcdserver: duplicate key given in txn request"
    EmptyKey InvalidArgument "etcdserver: key is not provided"
    FutureRev OutOfRange "etcdserver: mvcc: required revision is a future revision"
    InvalidAuthMgmt InvalidArgument "etcdserver: invalid auth management"
    InvalidAuthToken Unauthenticated "etcdserver: invalid auth token"
    InvalidClientAPIVersion InvalidArgument "etcdserver: invalid client api version"
    InvalidDowngradeTargetVersion InvalidArgument "etcdserver: invalid downgrade target version"
    InvalidSortOption InvalidArgument "etcdserver: invalid sort option"
    KeyNotFound InvalidArgument "etcdserver: key not found"
    LeaderChanged Unavailable "etcdserver: leader changed"
    LearnerNotReady FailedPrecondition "etcdserver: can only promote a learner member which is in sync with leader"
    LeaseExist FailedPrecondition "etcdserver: lease already exists"
    LeaseNotFound NotFound "etcdserver: requested lease not found"
    LeaseProvided InvalidArgument "etcdserver: lease is provided"
    LeaseTTLTooLarge OutOfRange "etcdserver: too large lease TTL"
    MemberBadURLs InvalidArgument "etcdserver: given member URLs are invalid"
    MemberExist FailedPrecondition "etcdserver: member ID already exist"
    /// Declared FailedPrecondition in etcd, sent as Unknown.
    NotEnoughStartedMembers Unknown "etcdserver: re-configuration failed due to not enough started members"
    MemberNotFound NotFound "etcdserver: member not found"
    MemberNotLearner FailedPrecondition "etcdserver: can only promote a learner member"
    NoInflightDowngrade FailedPrecondition "etcdserver: no inflight downgrade job"
    NoLeader Unavailable "etcdserver: no leader"
    NoSpace ResourceExhausted "etcdserver: mvcc: database space exceeded"
    NotCapable FailedPrecondition "etcdserver: not capable"
    NotLeader FailedPrecondition "etcdserver: not leader"
    NotSupportedForLearner FailedPrecondition "etcdserver: rpc not supported for learner"
    PeerURLExist FailedPrecondition "etcdserver: Peer URLs already exists"
    PermissionDenied PermissionDenied "etcdserver: permission denied"
    PermissionNotGiven InvalidArgument "etcdserver: permission not given"
    PermissionNotGranted FailedPrecondition "etcdserver: permission is not granted to the role"
    RequestTooLarge InvalidArgument "etcdserver: request is too large"
    /// Declared ResourceExhausted in etcd, sent as Unknown.
    TooManyRequests Unknown "etcdserver: too many requests"
    RoleAlreadyExist FailedPrecondition "etcdserver: role name already exists"
    RoleEmpty InvalidArgument "etcdserver: role name is empty"
    RoleNotFound FailedPrecondition "etcdserver: role name not found"
    RoleNotGranted FailedPrecondition "etcdserver: role is not granted to the user"
    RootRoleNotExist FailedPrecondition "etcdserver: root user does not have root role"
    RootUserNotExist FailedPrecondition "etcdserver: root user does not exist"
    Stopped Unavailable "etcdserver: server stopped"
    Timeout Unavailable "etcdserver: request timed out"
    TimeoutDueToConnectionLost Unavailable "etcdserver: request timed out, possibly due to connection lost"
    TimeoutDueToLeaderFail Unavailable "etcdserver: request timed out, possibly due to previous leader failure"
    TimeoutWaitAppliedIndex Unavailable "etcdserver: request timed out, waiting for the applied index took too long"
    TooManyLearners FailedPrecondition "etcdserver: too many learner members in cluster"
    TooManyOps InvalidArgument "etcdserver: too many operations in txn request"
    Unhealthy Unavailable "etcdserver: unhealthy cluster"
    UserAlreadyExist FailedPrecondition "etcdserver: user name already exists"
    UserEmpty InvalidArgument "etcdserver: user name is empty"
    UserNotFound FailedPrecondition "etcdserver: user name not found"
    ValueProvided InvalidArgument "etcdserver: value is provided"
    WatchCanceled Canceled "etcdserver: watch canceled"
    WrongDowngradeVersionFormat InvalidArgument "etcdserver: wrong downgrade target version format"
    HealthUnknownService NotFound "unknown service"
    BcryptTooLong Unknown "bcrypt: password length exceeds 72 bytes"
    ContextCanceled Canceled "context canceled"
    ContextDeadlineExceeded DeadlineExceeded "context deadline exceeded"
    ElectionNoLeader Unknown "election: no leader"
    ElectionNotLeader Unknown "election: not leader"
    InvalidAuthMethod Unknown "auth: invalid auth signature method"
    InvalidAuthOpts Unknown "auth: invalid auth options"
    InvalidDowngradeTarget Unknown "invalid downgrade target"
    MissingLeaderKey Unknown "\"leader\" field must be provided"
    MutexSessionExpired Unknown "mutex: session is expired"
    NoPasswordUser Unknown "auth: authentication failed, password was given for no password user"
    NotPrimary Unknown "not a primary lessor"
    ProposalDropped Unknown "raft proposal dropped"
    RangeStreamFilter Unimplemented "RangeStream does not support revision filters"
    RangeStreamSort Unimplemented "RangeStream does not support custom sort orders"
    TimeoutLeaderTransfer Unknown "etcdserver: request timed out, leader transfer took too long"
    UnknownMethod Unknown "etcdserver: unknown method"
    VerifyOnly Unknown "auth: token signing attempted with verify-only key"
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Error {}

impl From<kv::Error> for Error {
    fn from(error: kv::Error) -> Error {
        match error {
            kv::Error::Compacted => Error::Compacted,
            kv::Error::FutureRev => Error::FutureRev,
            kv::Error::KeyNotFound => Error::KeyNotFound,
            kv::Error::LeaseNotFound => Error::LeaseNotFound,
        }
    }
}

impl From<engine::apply::mvcc::Error> for Error {
    fn from(error: engine::apply::mvcc::Error) -> Error {
        kv::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn one_row_per_text() {
        let texts: HashSet<_> = Error::ALL.iter().map(|error| error.text()).collect();
        assert_eq!(texts.len(), Error::ALL.len());
        assert!(Error::ALL.iter().all(|error| error.code() != Code::Ok));
    }

    #[test]
    fn what_is_sent_wins_over_what_is_declared() {
        assert_eq!(Error::TooManyRequests.code(), Code::Unknown);
        assert_eq!(Error::NotEnoughStartedMembers.code(), Code::Unknown);
        assert_eq!(Error::from(kv::Error::LeaseNotFound).code() as u8, 5);
        assert_eq!(Error::from(engine::apply::mvcc::Error::Compacted).code() as u8, 11);
    }
}
