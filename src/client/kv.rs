//! Calls of the KV service.

use std::time::Instant;

use engine::pb::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, RangeStreamResponse, TxnRequest, TxnResponse,
};

use super::{Client, Repeat, Status, decode};

impl Client {
    pub fn put(&mut self, request: &PutRequest, deadline: Instant) -> Result<PutResponse, Status> {
        self.unary("/etcdserverpb.KV/Put", request, Repeat::Never, deadline)
    }

    pub fn range(&mut self, request: &RangeRequest, deadline: Instant) -> Result<RangeResponse, Status> {
        self.unary("/etcdserverpb.KV/Range", request, Repeat::Safe, deadline)
    }

    /// A range in parts, joined as protobuf joins messages: lists add up, later values replace earlier ones.
    pub fn range_stream(&mut self, request: &RangeRequest, deadline: Instant) -> Result<RangeResponse, Status> {
        let mut joined = RangeResponse::default();
        for answer in self.call("/etcdserverpb.KV/RangeStream", request, Repeat::Safe, deadline)? {
            let part = decode::<RangeStreamResponse>(answer)?.range_response.unwrap_or_default();
            if part.header.is_some() {
                joined.header = part.header;
            }
            joined.kvs.extend(part.kvs);
            joined.more |= part.more;
            if part.count != 0 {
                joined.count = part.count;
            }
        }
        Ok(joined)
    }

    pub fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
        deadline: Instant,
    ) -> Result<DeleteRangeResponse, Status> {
        self.unary("/etcdserverpb.KV/DeleteRange", request, Repeat::Never, deadline)
    }

    pub fn txn(&mut self, request: &TxnRequest, deadline: Instant) -> Result<TxnResponse, Status> {
        self.unary("/etcdserverpb.KV/Txn", request, Repeat::Never, deadline)
    }

    pub fn compact(&mut self, revision: i64, deadline: Instant) -> Result<CompactionResponse, Status> {
        self.compaction(&CompactionRequest { revision, physical: false }, deadline)
    }

    /// As `compact`, and the answer comes when the old revisions are gone from the storage, too.
    pub fn compact_physical(&mut self, revision: i64, deadline: Instant) -> Result<CompactionResponse, Status> {
        self.compaction(&CompactionRequest { revision, physical: true }, deadline)
    }

    fn compaction(&mut self, request: &CompactionRequest, deadline: Instant) -> Result<CompactionResponse, Status> {
        self.unary("/etcdserverpb.KV/Compact", request, Repeat::Never, deadline)
    }
}
