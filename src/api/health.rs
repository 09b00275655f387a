//! The standard gRPC health service. Only the empty service name is registered, as in etcd.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub service: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    pub status: i32,
}

const SERVING: i32 = 1;

/// None: no such service.
pub fn check(request: &HealthCheckRequest) -> Option<HealthCheckResponse> {
    request.service.is_empty().then_some(HealthCheckResponse { status: SERVING })
}
