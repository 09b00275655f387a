//! Every gRPC method served, as metrics name them. The index of a row is what a connection counts with.

/// How a method streams, in the words of the label `grpc_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Unary,
    ServerStream,
    BidiStream,
}

impl Stream {
    pub fn label(self) -> &'static str {
        match self {
            Stream::Unary => "unary",
            Stream::ServerStream => "server_stream",
            Stream::BidiStream => "bidi_stream",
        }
    }
}

#[derive(Debug)]
pub struct Method {
    pub service: &'static str,
    pub name: &'static str,
    pub stream: Stream,
}

/// Index of a row of `METHODS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MethodId(pub u16);

/// The row of a request path (`/etcdserverpb.KV/Put`). Look it up once per method, not per call.
pub fn method_id(path: &str) -> Option<MethodId> {
    let (service, name) = path.strip_prefix('/')?.split_once('/')?;
    let index = METHODS.iter().position(|method| method.service == service && method.name == name)?;
    Some(MethodId(u16::try_from(index).expect("fewer methods than that")))
}

macro_rules! methods {
    ($($service:literal { $($name:ident $stream:ident,)* })*) => {
        pub static METHODS: &[Method] = &[$($(
            Method { service: $service, name: stringify!($name), stream: Stream::$stream },
        )*)*];
    };
}

methods! {
    "etcdserverpb.Auth" {
        AuthDisable Unary,
        AuthEnable Unary,
        AuthStatus Unary,
        Authenticate Unary,
        RoleAdd Unary,
        RoleDelete Unary,
        RoleGet Unary,
        RoleGrantPermission Unary,
        RoleList Unary,
        RoleRevokePermission Unary,
        UserAdd Unary,
        UserChangePassword Unary,
        UserDelete Unary,
        UserGet Unary,
        UserGrantRole Unary,
        UserList Unary,
        UserRevokeRole Unary,
    }
    "etcdserverpb.Cluster" {
        MemberAdd Unary,
        MemberList Unary,
        MemberPromote Unary,
        MemberRemove Unary,
        MemberUpdate Unary,
    }
    "etcdserverpb.KV" {
        Compact Unary,
        DeleteRange Unary,
        Put Unary,
        Range Unary,
        RangeStream ServerStream,
        Txn Unary,
    }
    "etcdserverpb.Lease" {
        LeaseGrant Unary,
        LeaseKeepAlive BidiStream,
        LeaseLeases Unary,
        LeaseRevoke Unary,
        LeaseTimeToLive Unary,
    }
    "etcdserverpb.Maintenance" {
        Alarm Unary,
        Defragment Unary,
        Downgrade Unary,
        Hash Unary,
        HashKV Unary,
        MoveLeader Unary,
        Snapshot ServerStream,
        Status Unary,
    }
    "etcdserverpb.Watch" {
        Watch BidiStream,
    }
    "grpc.health.v1.Health" {
        Check Unary,
        List Unary,
        Watch ServerStream,
    }
    "v3electionpb.Election" {
        Campaign Unary,
        Leader Unary,
        Observe ServerStream,
        Proclaim Unary,
        Resign Unary,
    }
    "v3lockpb.Lock" {
        Lock Unary,
        Unlock Unary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_rows() {
        for (i, method) in METHODS.iter().enumerate() {
            let id = method_id(&format!("/{}/{}", method.service, method.name)).unwrap();
            assert_eq!(usize::from(id.0), i, "{} is there twice", method.name);
        }
        for path in ["", "/", "/etcdserverpb.KV", "/etcdserverpb.KV/", "/etcdserverpb.KV/Nope", "etcdserverpb.KV/Put"] {
            assert_eq!(method_id(path), None, "{path}");
        }
    }
}
