//! Calls of the Maintenance service. They are about the member that answers, so use a client of one endpoint.

use std::time::Instant;

use engine::pb::etcdserverpb::{
    AlarmAction, AlarmRequest, AlarmResponse, AlarmType, HashKVRequest, HashKVResponse, StatusRequest, StatusResponse,
};

use super::{Client, Repeat, Status};

impl Client {
    pub fn status(&mut self, deadline: Instant) -> Result<StatusResponse, Status> {
        self.unary("/etcdserverpb.Maintenance/Status", &StatusRequest {}, Repeat::Safe, deadline)
    }

    pub fn alarm_list(&mut self, deadline: Instant) -> Result<AlarmResponse, Status> {
        let request = AlarmRequest { action: AlarmAction::Get as i32, member_id: 0, alarm: AlarmType::None as i32 };
        self.unary("/etcdserverpb.Maintenance/Alarm", &request, Repeat::Safe, deadline)
    }

    /// The hash of the history up to a revision; 0 means the newest.
    pub fn hash_kv(&mut self, revision: i64, deadline: Instant) -> Result<HashKVResponse, Status> {
        self.unary("/etcdserverpb.Maintenance/HashKV", &HashKVRequest { revision }, Repeat::Safe, deadline)
    }
}
