//! Messages: etcd's protobuf types, one file per package, written by hand from the field tables in `tests/spec/rpcs.tsv`.
//! `bytes` fields are reference-counted slices of the buffer they were decoded from, so that keys and values are never
//! copied on their way from a request into the log and the store.

pub mod authpb;
pub mod etcdserverpb;
pub mod leasepb;
pub mod membershippb;
pub mod mvccpb;
pub mod raftpb;
pub mod v3electionpb;
pub mod v3lockpb;
pub mod walpb;
