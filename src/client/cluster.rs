//! Calls of the Cluster service.

use std::time::Instant;

use engine::pb::etcdserverpb::{MemberListRequest, MemberListResponse};

use super::{Client, Repeat, Status};

impl Client {
    pub fn member_list(&mut self, deadline: Instant) -> Result<MemberListResponse, Status> {
        self.list(&MemberListRequest { linearizable: true }, deadline)
    }

    /// The members as the server that answers knows them, without asking the others.
    pub fn member_list_serializable(&mut self, deadline: Instant) -> Result<MemberListResponse, Status> {
        self.list(&MemberListRequest { linearizable: false }, deadline)
    }

    fn list(&mut self, request: &MemberListRequest, deadline: Instant) -> Result<MemberListResponse, Status> {
        self.unary("/etcdserverpb.Cluster/MemberList", request, Repeat::Safe, deadline)
    }
}
