//! The Maintenance service.

use crate::published::Published;
use engine::pb::etcdserverpb::{
    AlarmAction, AlarmRequest, AlarmResponse, DowngradeInfo, ResponseHeader, StatusResponse,
};

/// The version this server claims.
pub const VERSION: &str = "3.7.1";

/// etcd's `--quota-backend-bytes` default, in bytes.
const QUOTA_BYTES_DEFAULT: i64 = 2 << 30;

/// `store_bytes`: what the rows of the store weigh; it is both sizes until there is a db file that could hold free pages.
pub fn status(published: &Published, header: ResponseHeader, store_bytes: u64) -> StatusResponse {
    let leader = published.leader();
    StatusResponse {
        header: Some(header),
        version: VERSION.to_owned(),
        db_size: store_bytes as i64,
        leader,
        raft_index: published.committed(),
        raft_term: published.term(),
        raft_applied_index: published.applied(),
        errors: if leader == 0 { vec!["etcdserver: no leader".to_owned()] } else { Vec::new() },
        db_size_in_use: store_bytes as i64,
        is_learner: published.is_learner(),
        storage_version: published.cluster().version.clone().unwrap_or_default(),
        db_size_quota: QUOTA_BYTES_DEFAULT,
        downgrade_info: Some(DowngradeInfo::default()),
    }
}

/// Alarms can be listed: there is nothing yet that raises one, so the list is empty. None for raising and lowering them.
pub fn alarm(request: &AlarmRequest, header: ResponseHeader) -> Option<AlarmResponse> {
    let lists = request.action == AlarmAction::Get as i32;
    lists.then(|| AlarmResponse { header: Some(header), alarms: Vec::new() })
}
