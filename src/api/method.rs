//! Which gRPC methods this version serves. The list of all methods of etcd is `ops::metrics::METHODS`; a row here adds the
//! handler. What is in that list and not here is refused as unimplemented, by name.

use crate::ops::metrics::{METHODS, MethodId, method_id};
use std::sync::LazyLock;

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
    Alarm,
    HashKv,
    HealthCheck,
}

/// The busiest first: a path is compared with these from the top.
const SERVED: &[(&str, Method)] = &[
    ("/etcdserverpb.KV/Range", Method::Range),
    ("/etcdserverpb.KV/Put", Method::Put),
    ("/etcdserverpb.KV/Txn", Method::Txn),
    ("/etcdserverpb.KV/DeleteRange", Method::DeleteRange),
    ("/etcdserverpb.KV/Compact", Method::Compact),
    ("/etcdserverpb.Maintenance/Status", Method::Status),
    ("/etcdserverpb.Maintenance/Alarm", Method::Alarm),
    ("/etcdserverpb.Maintenance/HashKV", Method::HashKv),
    ("/etcdserverpb.Cluster/MemberList", Method::MemberList),
    ("/grpc.health.v1.Health/Check", Method::HealthCheck),
];

/// Rows of the metrics, in the order of `SERVED`.
static METRIC_IDS: LazyLock<Vec<MethodId>> = LazyLock::new(|| {
    let id = |(path, _): &(&str, Method)| method_id(path).expect("every served method is one of etcd's");
    SERVED.iter().map(id).collect()
});

/// What a request path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Served(Method, MethodId),
    /// A method of etcd that this version does not have.
    Absent(MethodId),
    /// Nothing known; the text is what a Go server says.
    Unknown(String),
}

pub fn find(path: &str) -> Found {
    if let Some(at) = SERVED.iter().position(|(known, _)| *known == path) {
        return Found::Served(SERVED[at].1, METRIC_IDS[at]);
    }
    if let Some(id) = method_id(path) {
        return Found::Absent(id);
    }
    Found::Unknown(match path.strip_prefix('/').and_then(|p| p.rsplit_once('/')) {
        None => format!("malformed method name: {path:?}"),
        Some((service, method)) if METHODS.iter().any(|m| m.service == service) => {
            format!("unknown method {method} for service {service}")
        }
        Some((service, _)) => format!("unknown service {service}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_of_etcd_is_known() {
        let spec = include_str!("../../tests/spec/rpcs.tsv");
        let mut rpcs = 0;
        for line in spec.lines().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            if columns[1] == "rpc" {
                rpcs += 1;
                assert!(!matches!(find(columns[0]), Found::Unknown(_)), "{} is not known", columns[0]);
            }
        }
        assert_eq!(rpcs, METHODS.len());
    }

    #[test]
    fn unknown_paths_get_gos_texts() {
        for (path, expect) in [
            ("/etcdserverpb.KV/Nope", "unknown method Nope for service etcdserverpb.KV"),
            ("/no.Service/Put", "unknown service no.Service"),
            ("nonsense", "malformed method name: \"nonsense\""),
        ] {
            assert_eq!(find(path), Found::Unknown(expect.to_owned()), "{path}");
        }
    }
}
