//! Calls of the Cluster service.

use std::time::Instant;

use engine::pb::etcdserverpb::{MemberListRequest, MemberListResponse};

use super::{Client, Repeat, Status};

impl Client {
    pub fn member_list(&mut self, deadline: Instant) -> Result<MemberListResponse, Status> {
        let request = MemberListRequest { linearizable: true };
        self.unary("/etcdserverpb.Cluster/MemberList", &request, Repeat::Safe, deadline)
    }
}
