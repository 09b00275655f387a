//! The Cluster service.

use crate::published::Published;
use engine::pb::etcdserverpb::{MemberListResponse, ResponseHeader};

/// Members by id. Cluster answers carry no revision.
pub fn member_list(published: &Published) -> MemberListResponse {
    let header = ResponseHeader {
        cluster_id: published.identity.cluster_id,
        member_id: published.identity.member_id,
        revision: 0,
        raft_term: published.term(),
    };
    MemberListResponse { header: Some(header), members: published.cluster().members.clone() }
}
