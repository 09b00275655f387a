//! Leases as stored, and the leases calls between members. Field numbers and types are those of etcd 3.7.1.

#[derive(Clone, PartialEq, prost::Message)]
pub struct Lease {
    #[prost(int64, tag = "1")]
    pub id: i64,
    #[prost(int64, tag = "2")]
    pub ttl: i64,
    #[prost(int64, tag = "3")]
    pub remaining_ttl: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseInternalRequest {
    #[prost(message, optional, tag = "1")]
    pub lease_time_to_live_request: Option<super::etcdserverpb::LeaseTimeToLiveRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseInternalResponse {
    #[prost(message, optional, tag = "1")]
    pub lease_time_to_live_response: Option<super::etcdserverpb::LeaseTimeToLiveResponse>,
}
