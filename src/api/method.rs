//! The table of gRPC methods: every method of etcd 3.7, and which are served by this version.

/// Metrics' name for how messages flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Unary,
    ServerStream,
    ClientStream,
    BidiStream,
}

/// One row of the table. Its position is the method's number in the metrics.
#[derive(Debug)]
pub struct Row {
    pub service: &'static str,
    pub name: &'static str,
    pub flow: Flow,
    pub method: Option<Method>,
}

/// Methods that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Range,
    Put,
    DeleteRange,
    Txn,
    Compact,
    MemberList,
    Status,
    HealthCheck,
}

const fn unary(service: &'static str, name: &'static str, method: Method) -> Row {
    Row { service, name, flow: Flow::Unary, method: Some(method) }
}

const fn later(service: &'static str, name: &'static str, flow: Flow) -> Row {
    Row { service, name, flow, method: None }
}

const KV: &str = "etcdserverpb.KV";
const WATCH: &str = "etcdserverpb.Watch";
const LEASE: &str = "etcdserverpb.Lease";
const CLUSTER: &str = "etcdserverpb.Cluster";
const MAINTENANCE: &str = "etcdserverpb.Maintenance";
const AUTH: &str = "etcdserverpb.Auth";
const ELECTION: &str = "v3electionpb.Election";
const LOCK: &str = "v3lockpb.Lock";
const HEALTH: &str = "grpc.health.v1.Health";

pub const TABLE: &[Row] = &[
    unary(KV, "Range", Method::Range),
    unary(KV, "Put", Method::Put),
    unary(KV, "DeleteRange", Method::DeleteRange),
    unary(KV, "Txn", Method::Txn),
    unary(KV, "Compact", Method::Compact),
    unary(CLUSTER, "MemberList", Method::MemberList),
    unary(MAINTENANCE, "Status", Method::Status),
    unary(HEALTH, "Check", Method::HealthCheck),
    later(KV, "RangeStream", Flow::ServerStream),
    later(WATCH, "Watch", Flow::BidiStream),
    later(LEASE, "LeaseGrant", Flow::Unary),
    later(LEASE, "LeaseRevoke", Flow::Unary),
    later(LEASE, "LeaseKeepAlive", Flow::BidiStream),
    later(LEASE, "LeaseTimeToLive", Flow::Unary),
    later(LEASE, "LeaseLeases", Flow::Unary),
    later(CLUSTER, "MemberAdd", Flow::Unary),
    later(CLUSTER, "MemberRemove", Flow::Unary),
    later(CLUSTER, "MemberUpdate", Flow::Unary),
    later(CLUSTER, "MemberPromote", Flow::Unary),
    later(MAINTENANCE, "Alarm", Flow::Unary),
    later(MAINTENANCE, "Defragment", Flow::Unary),
    later(MAINTENANCE, "Hash", Flow::Unary),
    later(MAINTENANCE, "HashKV", Flow::Unary),
    later(MAINTENANCE, "Snapshot", Flow::ServerStream),
    later(MAINTENANCE, "MoveLeader", Flow::Unary),
    later(MAINTENANCE, "Downgrade", Flow::Unary),
    later(AUTH, "AuthEnable", Flow::Unary),
    later(AUTH, "AuthDisable", Flow::Unary),
    later(AUTH, "AuthStatus", Flow::Unary),
    later(AUTH, "Authenticate", Flow::Unary),
    later(AUTH, "UserAdd", Flow::Unary),
    later(AUTH, "UserGet", Flow::Unary),
    later(AUTH, "UserList", Flow::Unary),
    later(AUTH, "UserDelete", Flow::Unary),
    later(AUTH, "UserChangePassword", Flow::Unary),
    later(AUTH, "UserGrantRole", Flow::Unary),
    later(AUTH, "UserRevokeRole", Flow::Unary),
    later(AUTH, "RoleAdd", Flow::Unary),
    later(AUTH, "RoleGet", Flow::Unary),
    later(AUTH, "RoleList", Flow::Unary),
    later(AUTH, "RoleDelete", Flow::Unary),
    later(AUTH, "RoleGrantPermission", Flow::Unary),
    later(AUTH, "RoleRevokePermission", Flow::Unary),
    later(ELECTION, "Campaign", Flow::Unary),
    later(ELECTION, "Proclaim", Flow::Unary),
    later(ELECTION, "Leader", Flow::Unary),
    later(ELECTION, "Observe", Flow::ServerStream),
    later(ELECTION, "Resign", Flow::Unary),
    later(LOCK, "Lock", Flow::Unary),
    later(LOCK, "Unlock", Flow::Unary),
    later(HEALTH, "List", Flow::Unary),
    later(HEALTH, "Watch", Flow::ServerStream),
];

/// What a request path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Position in `TABLE`.
    Row(usize),
    UnknownMethod,
    UnknownService,
    Malformed,
}

/// Looks a path such as `/etcdserverpb.KV/Put` up. The busiest methods stand first in the table, so this is a handful of
/// length and byte comparisons for them.
pub fn find(path: &str) -> Found {
    let Some((service, name)) = path.strip_prefix('/').and_then(|p| p.rsplit_once('/')) else { return Found::Malformed };
    match TABLE.iter().position(|row| row.name == name && row.service == service) {
        Some(row) => Found::Row(row),
        None if TABLE.iter().any(|row| row.service == service) => Found::UnknownMethod,
        None => Found::UnknownService,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_rpc() {
        let spec = include_str!("../../tests/spec/rpcs.tsv");
        let mut rpcs = 0;
        for line in spec.lines().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            if columns[1] != "rpc" {
                continue;
            }
            rpcs += 1;
            let Found::Row(row) = find(columns[0]) else { panic!("{} is not in the table", columns[0]) };
            let flow = match columns[2] {
                "unary" => Flow::Unary,
                "server stream" => Flow::ServerStream,
                "client stream" => Flow::ClientStream,
                "bidi stream" => Flow::BidiStream,
                other => panic!("unknown flow {other}"),
            };
            assert_eq!(TABLE[row].flow, flow, "{}", columns[0]);
        }
        assert_eq!(rpcs, TABLE.len());
    }

    #[test]
    fn unknown_paths() {
        for (path, expect) in [
            ("/etcdserverpb.KV/Nope", Found::UnknownMethod),
            ("/no.Service/Put", Found::UnknownService),
            ("nonsense", Found::Malformed),
            ("", Found::Malformed),
        ] {
            assert_eq!(find(path), expect, "{path}");
        }
    }
}
