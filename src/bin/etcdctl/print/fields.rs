//! One `"Name" : value` per line; text values are quoted as Go quotes them.

use engine::pb::etcdserverpb::response_op::Response;
use engine::pb::etcdserverpb::{
    DeleteRangeResponse, HashKVResponse, MemberListResponse, PutResponse, RangeResponse, ResponseHeader,
    StatusResponse, TxnResponse,
};
use engine::pb::mvccpb::KeyValue;
use etcd_uring::client::gotext::quote;

use super::{Answer, Health};

fn field(out: &mut Vec<u8>, name: &str, value: impl std::fmt::Display) {
    out.extend(format!("\"{name}\" : {value}\n").as_bytes());
}

fn header(out: &mut Vec<u8>, hex: bool, header: Option<&ResponseHeader>) {
    let header = header.cloned().unwrap_or_default();
    if hex {
        field(out, "ClusterID", format_args!("{:x}", header.cluster_id));
        field(out, "MemberID", format_args!("{:x}", header.member_id));
    } else {
        field(out, "ClusterID", header.cluster_id);
        field(out, "MemberID", header.member_id);
    }
    // Answers that are not about keys have no revision.
    if header.revision > 0 {
        field(out, "Revision", header.revision);
    }
    field(out, "RaftTerm", header.raft_term);
}

fn pair(out: &mut Vec<u8>, hex: bool, prefix: &str, kv: &KeyValue) {
    let mut named = |name: &str, value: String| field(out, &format!("{prefix}{name}"), value);
    named("Key", quote(&kv.key));
    named("CreateRevision", kv.create_revision.to_string());
    named("ModRevision", kv.mod_revision.to_string());
    named("Version", kv.version.to_string());
    named("Value", quote(&kv.value));
    named("Lease", if hex { hex_id(kv.lease) } else { kv.lease.to_string() });
}

/// Go's `%016x` of a signed number: the sign comes before the digits and counts.
fn hex_id(id: i64) -> String {
    if id < 0 { format!("-{:015x}", id.unsigned_abs()) } else { format!("{id:016x}") }
}

pub(super) fn put(out: &mut Vec<u8>, hex: bool, response: &PutResponse) {
    header(out, hex, response.header.as_ref());
    if let Some(kv) = &response.prev_kv {
        pair(out, hex, "Prev", kv);
    }
}

pub(super) fn get(out: &mut Vec<u8>, hex: bool, response: &RangeResponse) {
    header(out, hex, response.header.as_ref());
    for kv in &response.kvs {
        pair(out, hex, "", kv);
    }
    field(out, "More", response.more);
    field(out, "Count", response.count);
}

pub(super) fn del(out: &mut Vec<u8>, hex: bool, response: &DeleteRangeResponse) {
    header(out, hex, response.header.as_ref());
    field(out, "Deleted", response.deleted);
    for kv in &response.prev_kvs {
        pair(out, hex, "Prev", kv);
    }
}

pub(super) fn txn(out: &mut Vec<u8>, hex: bool, response: &TxnResponse) {
    header(out, hex, response.header.as_ref());
    field(out, "Succeeded", response.succeeded);
    for op in &response.responses {
        match &op.response {
            Some(Response::Range(r)) => get(out, hex, r),
            Some(Response::Put(r)) => put(out, hex, r),
            Some(Response::DeleteRange(r)) => del(out, hex, r),
            Some(Response::Txn(_)) | None => field(out, "Unknown", quote(b"<nil>")),
        }
    }
}

pub(super) fn member_list(out: &mut Vec<u8>, hex: bool, response: &MemberListResponse) {
    header(out, hex, response.header.as_ref());
    for member in &response.members {
        match hex {
            true => field(out, "ID", format_args!("{:x}", member.id)),
            false => field(out, "ID", member.id),
        }
        field(out, "Name", quote(member.name.as_bytes()));
        for url in &member.peer_urls {
            field(out, "PeerURL", quote(url.as_bytes()));
        }
        for url in &member.client_urls {
            field(out, "ClientURL", quote(url.as_bytes()));
        }
        field(out, "IsLearner", member.is_learner);
        out.push(b'\n');
    }
}

pub(super) fn endpoint_health(out: &mut Vec<u8>, list: &[Health]) {
    for health in list {
        field(out, "Endpoint", quote(health.endpoint.as_bytes()));
        field(out, "Health", health.healthy);
        field(out, "Took", &health.took);
        field(out, "Error", &health.error);
        out.push(b'\n');
    }
}

pub(super) fn endpoint_status(out: &mut Vec<u8>, hex: bool, list: &[Answer<StatusResponse>]) {
    for Answer { endpoint, response: r } in list {
        let downgrade = r.downgrade_info.clone().unwrap_or_default();
        header(out, hex, r.header.as_ref());
        field(out, "Version", quote(r.version.as_bytes()));
        field(out, "StorageVersion", quote(r.storage_version.as_bytes()));
        field(out, "DBSize", r.db_size);
        field(out, "DBSizeInUse", r.db_size_in_use);
        field(out, "DBSizeQuota", r.db_size_quota);
        field(out, "Leader", r.leader);
        field(out, "IsLearner", r.is_learner);
        field(out, "RaftIndex", r.raft_index);
        field(out, "RaftTerm", r.raft_term);
        field(out, "RaftAppliedIndex", r.raft_applied_index);
        field(out, "Errors", format_args!("[{}]", r.errors.join(" ")));
        field(out, "Endpoint", quote(endpoint.as_bytes()));
        field(out, "DowngradeTargetVersion", quote(downgrade.target_version.as_bytes()));
        field(out, "DowngradeEnabled", downgrade.enabled);
        out.push(b'\n');
    }
}

pub(super) fn endpoint_hashkv(out: &mut Vec<u8>, hex: bool, list: &[Answer<HashKVResponse>]) {
    for Answer { endpoint, response } in list {
        header(out, hex, response.header.as_ref());
        field(out, "Endpoint", quote(endpoint.as_bytes()));
        field(out, "Hash", response.hash);
        field(out, "HashRevision", response.hash_revision);
        out.push(b'\n');
    }
}
