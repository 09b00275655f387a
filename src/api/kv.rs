//! The KV service: what is refused before anything else is asked, and the bytes of its answers. Pure functions, any core.
//! Stored `KeyValue` bytes are copied into an answer as they are; they are never decoded and encoded again.

use super::error::Error;
use bytes::Bytes;
use engine::apply::kv::{Answer, Outcome, TxnOutcome};
use engine::apply::mvcc::{Kv, Projection, RangeResult, has_revision_filters, is_default_order};
use engine::pb::etcdserverpb::request_op::Request;
use engine::pb::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader, SortOrder, SortTarget, TxnRequest,
};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use std::collections::{BTreeMap, HashSet};

pub use engine::apply::kv::{is_read_only, is_serializable};

pub fn check_range(request: &RangeRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if SortOrder::try_from(request.sort_order).is_err() || SortTarget::try_from(request.sort_target).is_err() {
        return Err(Error::InvalidSortOption);
    }
    Ok(())
}

pub fn check_range_stream(request: &RangeRequest) -> Result<(), Error> {
    check_range(request)?;
    if !is_default_order(request) {
        return Err(Error::RangeStreamSort);
    }
    if has_revision_filters(request) {
        return Err(Error::RangeStreamFilter);
    }
    Ok(())
}

pub fn check_put(request: &PutRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

pub fn check_delete_range(request: &DeleteRangeRequest) -> Result<(), Error> {
    if request.key.is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

/// `ops_max` is `--max-txn-ops`.
pub fn check_txn(request: &TxnRequest, ops_max: usize) -> Result<(), Error> {
    check_ops(request, ops_max)?;
    // After the limits, so that the work here is bounded by them.
    check_overlaps(&request.success)?;
    check_overlaps(&request.failure)?;
    Ok(())
}

/// A nested transaction gets the budget its parent leaves.
fn check_ops(request: &TxnRequest, ops_max: usize) -> Result<(), Error> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(left) = ops_max.checked_sub(ops) else { return Err(Error::TooManyOps) };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Error::EmptyKey);
    }
    request.success.iter().chain(&request.failure).try_for_each(|op| match &op.request {
        Some(Request::Range(request)) => check_range(request),
        Some(Request::Put(request)) => check_put(request),
        Some(Request::DeleteRange(request)) => check_delete_range(request),
        Some(Request::Txn(request)) => check_ops(request, left),
        None => Err(Error::KeyNotFound),
    })
}

/// What one branch writes, nested transactions included.
#[derive(Default)]
struct Writes {
    puts: HashSet<Bytes>,
    /// Disjoint ranges, start to end.
    deletes: BTreeMap<Bytes, Bytes>,
}

impl Writes {
    fn add_delete(&mut self, mut start: Bytes, mut end: Bytes) {
        // A delete without upper bound has end `\0`, so it looks empty here: etcd's checker has that hole, and clients may
        // have come to rely on it.
        if end <= start {
            return;
        }
        while let Some((other_start, other_end)) = self.deletes.range::<Bytes, _>(..=&end).next_back() {
            if *other_end < start {
                break;
            }
            let other_start = other_start.clone();
            let other_end = self.deletes.remove(&other_start).expect("just found");
            start = start.min(other_start);
            end = end.max(other_end);
        }
        self.deletes.insert(start, end);
    }

    fn deletes_key(&self, key: &Bytes) -> bool {
        self.deletes.range::<Bytes, _>(..=key).next_back().is_some_and(|(_, end)| key < end)
    }
}

/// Refuses a key that is put twice, or put and deleted, in one branch. The two branches of a nested transaction exclude each
/// other, so they may put the same key.
fn check_overlaps(ops: &[RequestOp]) -> Result<Writes, Error> {
    let mut writes = Writes::default();
    for op in ops {
        if let Some(Request::DeleteRange(request)) = &op.request {
            let end = if request.range_end.is_empty() { after(&request.key) } else { request.range_end.clone() };
            writes.add_delete(request.key.clone(), end);
        }
    }
    for op in ops {
        let Some(Request::Txn(nested)) = &op.request else { continue };
        let success = check_overlaps(&nested.success)?;
        let failure = check_overlaps(&nested.failure)?;
        for key in &success.puts {
            if writes.puts.contains(key) || writes.deletes_key(key) {
                return Err(Error::DuplicateKey);
            }
        }
        for key in &failure.puts {
            if writes.puts.contains(key) || writes.deletes_key(key) {
                return Err(Error::DuplicateKey);
            }
        }
        writes.puts.extend(success.puts);
        writes.puts.extend(failure.puts);
        for (start, end) in success.deletes.into_iter().chain(failure.deletes) {
            writes.add_delete(start, end);
        }
    }
    for op in ops {
        if let Some(Request::Put(request)) = &op.request
            && (writes.deletes_key(&request.key) || !writes.puts.insert(request.key.clone()))
        {
            return Err(Error::DuplicateKey);
        }
    }
    Ok(writes)
}

/// The smallest key above `key`.
fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// A message whose bytes go straight into the send buffer. `header` is complete, revision included.
pub trait Response {
    fn encoded_len(&self, header: &ResponseHeader) -> usize;
    fn encode(&self, header: &ResponseHeader, out: &mut Vec<u8>);
}

/// The header of an answer: who answers, at which revision.
pub fn header_for(answer: &Answer, from: &ResponseHeader) -> ResponseHeader {
    ResponseHeader { revision: answer.revision, ..*from }
}

const HEADER: u32 = 1;

impl Response for Outcome {
    fn encoded_len(&self, header: &ResponseHeader) -> usize {
        let head = message_len(HEADER, header.encoded_len());
        head + match self {
            Outcome::Range(result) => range_body_len(result),
            Outcome::Put { prev } => prev.as_ref().map_or(0, |kv| message_len(2, kv.encoded().len())),
            Outcome::DeleteRange { deleted, prev_kvs } => int_len(2, *deleted) + kvs_len(3, prev_kvs, Projection::Full),
            Outcome::Txn(txn) => txn_body_len(txn),
            Outcome::Compact => 0,
        }
    }

    fn encode(&self, header: &ResponseHeader, out: &mut Vec<u8>) {
        put_header(header, out);
        match self {
            Outcome::Range(result) => put_range_body(result, out),
            Outcome::Put { prev } => put_kvs(2, prev.as_slice(), Projection::Full, out),
            Outcome::DeleteRange { deleted, prev_kvs } => {
                put_int(2, *deleted, out);
                put_kvs(3, prev_kvs, Projection::Full, out);
            }
            Outcome::Txn(txn) => put_txn_body(txn, out),
            Outcome::Compact => {}
        }
    }
}

impl Response for RangeResult {
    fn encoded_len(&self, header: &ResponseHeader) -> usize {
        message_len(HEADER, header.encoded_len()) + range_body_len(self)
    }

    fn encode(&self, header: &ResponseHeader, out: &mut Vec<u8>) {
        put_header(header, out);
        put_range_body(self, out);
    }
}

/// One message of a RangeStream. Only the last has a header, and with it `more` and `count`.
pub struct StreamChunk<'a> {
    pub kvs: &'a [Kv],
    pub projection: Projection,
    pub last: Option<StreamEnd>,
}

pub struct StreamEnd {
    pub more: bool,
    pub count: i64,
}

impl Response for StreamChunk<'_> {
    fn encoded_len(&self, header: &ResponseHeader) -> usize {
        message_len(1, self.inner_len(header))
    }

    fn encode(&self, header: &ResponseHeader, out: &mut Vec<u8>) {
        put_message_head(1, self.inner_len(header), out);
        if self.last.is_some() {
            put_header(header, out);
        }
        put_kvs(2, self.kvs, self.projection, out);
        if let Some(last) = &self.last {
            put_int(3, i64::from(last.more), out);
            put_int(4, last.count, out);
        }
    }
}

impl StreamChunk<'_> {
    fn inner_len(&self, header: &ResponseHeader) -> usize {
        let last = self.last.as_ref().map_or(0, |last| {
            message_len(HEADER, header.encoded_len()) + int_len(3, i64::from(last.more)) + int_len(4, last.count)
        });
        kvs_len(2, self.kvs, self.projection) + last
    }
}

/// Inside a transaction a header carries the revision alone, and a nested transaction's nothing at all.
fn inner_header(answer: &Answer) -> ResponseHeader {
    ResponseHeader { revision: answer.revision, ..ResponseHeader::default() }
}

/// Field number of an operation's response in `ResponseOp`.
fn response_field(outcome: &Outcome) -> u32 {
    match outcome {
        Outcome::Range(_) => 1,
        Outcome::Put { .. } => 2,
        Outcome::DeleteRange { .. } => 3,
        Outcome::Txn(_) => 4,
        Outcome::Compact => unreachable!("a compaction is no operation of a transaction"),
    }
}

fn txn_body_len(txn: &TxnOutcome) -> usize {
    let ops = txn.responses.iter().map(|answer| message_len(3, response_op_len(answer)));
    int_len(2, i64::from(txn.succeeded)) + ops.sum::<usize>()
}

fn response_op_len(answer: &Answer) -> usize {
    message_len(response_field(&answer.outcome), answer.outcome.encoded_len(&inner_header(answer)))
}

fn put_txn_body(txn: &TxnOutcome, out: &mut Vec<u8>) {
    put_int(2, i64::from(txn.succeeded), out);
    for answer in &txn.responses {
        let header = inner_header(answer);
        let inner = answer.outcome.encoded_len(&header);
        let field = response_field(&answer.outcome);
        put_message_head(3, message_len(field, inner), out);
        put_message_head(field, inner, out);
        answer.outcome.encode(&header, out);
    }
}

fn range_body_len(result: &RangeResult) -> usize {
    kvs_len(2, &result.kvs, result.projection) + int_len(3, i64::from(result.more)) + int_len(4, result.count)
}

fn put_range_body(result: &RangeResult, out: &mut Vec<u8>) {
    put_kvs(2, &result.kvs, result.projection, out);
    put_int(3, i64::from(result.more), out);
    put_int(4, result.count, out);
}

pub(super) fn kv_len(kv: &Kv, projection: Projection) -> usize {
    match projection {
        Projection::Full => kv.encoded().len(),
        Projection::KeysOnly => kv.encoded_len_keys_only(false),
        Projection::KeysAndLease => kv.encoded_len_keys_only(true),
    }
}

fn kvs_len(field: u32, kvs: &[Kv], projection: Projection) -> usize {
    kvs.iter().map(|kv| message_len(field, kv_len(kv, projection))).sum()
}

fn put_kvs(field: u32, kvs: &[Kv], projection: Projection, out: &mut Vec<u8>) {
    for kv in kvs {
        put_message_head(field, kv_len(kv, projection), out);
        match projection {
            Projection::Full => out.extend_from_slice(kv.encoded()),
            Projection::KeysOnly => kv.encode_keys_only(false, out),
            Projection::KeysAndLease => kv.encode_keys_only(true, out),
        }
    }
}

pub(super) fn put_header(header: &ResponseHeader, out: &mut Vec<u8>) {
    put_message_head(HEADER, header.encoded_len(), out);
    header.encode_raw(out);
}

/// All field numbers here are below 16: one byte of tag.
fn message_len(field: u32, len: usize) -> usize {
    debug_assert!(field < 16);
    1 + encoded_len_varint(len as u64) + len
}

pub(super) fn put_message_head(field: u32, len: usize, out: &mut Vec<u8>) {
    out.push((field << 3 | 2) as u8);
    encode_varint(len as u64, out);
}

fn int_len(field: u32, value: i64) -> usize {
    debug_assert!(field < 16);
    if value == 0 { 0 } else { 1 + encoded_len_varint(value as u64) }
}

pub(super) fn put_int(field: u32, value: i64, out: &mut Vec<u8>) {
    if value != 0 {
        out.push((field << 3) as u8);
        encode_varint(value as u64, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::apply::kv::{self, Context};
    use engine::apply::mvcc::Store;
    use engine::pb::etcdserverpb::{
        CompactionResponse, Compare, DeleteRangeResponse, PutResponse, RangeResponse, RangeStreamResponse, ResponseOp,
        TxnResponse, response_op,
    };
    use engine::pb::mvccpb::KeyValue;

    const IDS: ResponseHeader = ResponseHeader { cluster_id: u64::MAX, member_id: 7, revision: 0, raft_term: 3 };

    fn put(key: &str) -> PutRequest {
        PutRequest { key: key.to_owned().into(), value: vec![1; 200].into(), ..Default::default() }
    }

    fn delete(key: &str, end: &str) -> DeleteRangeRequest {
        DeleteRangeRequest { key: key.to_owned().into(), range_end: end.to_owned().into(), prev_kv: false }
    }

    fn range(key: &str, end: &str) -> RangeRequest {
        RangeRequest { key: key.to_owned().into(), range_end: end.to_owned().into(), ..Default::default() }
    }

    fn ops(ops: impl IntoIterator<Item = Request>) -> Vec<RequestOp> {
        ops.into_iter().map(|request| RequestOp { request: Some(request) }).collect()
    }

    fn txn(success: impl IntoIterator<Item = Request>) -> TxnRequest {
        TxnRequest { success: ops(success), ..Default::default() }
    }

    fn decode(kv: &Kv) -> KeyValue {
        KeyValue::decode(kv.encoded()).expect("stored bytes decode")
    }

    fn range_message(header: ResponseHeader, result: &RangeResult) -> RangeResponse {
        let blank = |kv: &Kv| {
            let mut kv = decode(kv);
            if result.projection != Projection::Full {
                kv.value = Bytes::new();
            }
            if result.projection == Projection::KeysOnly {
                kv.lease = 0;
            }
            kv
        };
        let kvs = result.kvs.iter().map(blank).collect();
        RangeResponse { header: Some(header), kvs, more: result.more, count: result.count }
    }

    fn txn_message(header: ResponseHeader, outcome: &TxnOutcome) -> TxnResponse {
        let response = |answer: &Answer| {
            let header = ResponseHeader { revision: answer.revision, ..Default::default() };
            let response = match &answer.outcome {
                Outcome::Range(result) => response_op::Response::Range(range_message(header, result)),
                Outcome::Put { prev } => {
                    response_op::Response::Put(PutResponse { header: Some(header), prev_kv: prev.as_ref().map(decode) })
                }
                Outcome::DeleteRange { deleted, prev_kvs } => {
                    let prev_kvs = prev_kvs.iter().map(decode).collect();
                    let header = Some(header);
                    response_op::Response::DeleteRange(DeleteRangeResponse { header, deleted: *deleted, prev_kvs })
                }
                Outcome::Txn(inner) => response_op::Response::Txn(txn_message(header, inner)),
                Outcome::Compact => unreachable!(),
            };
            ResponseOp { response: Some(response) }
        };
        let responses = outcome.responses.iter().map(response).collect();
        TxnResponse { header: Some(header), succeeded: outcome.succeeded, responses }
    }

    fn same_bytes(answer: &Answer) {
        let header = header_for(answer, &IDS);
        let wanted_header = header.clone();
        let wanted = match &answer.outcome {
            Outcome::Range(result) => range_message(wanted_header, result).encode_to_vec(),
            Outcome::Put { prev } => {
                PutResponse { header: Some(wanted_header), prev_kv: prev.as_ref().map(decode) }.encode_to_vec()
            }
            Outcome::DeleteRange { deleted, prev_kvs } => {
                let prev_kvs = prev_kvs.iter().map(decode).collect();
                DeleteRangeResponse { header: Some(wanted_header), deleted: *deleted, prev_kvs }.encode_to_vec()
            }
            Outcome::Txn(outcome) => txn_message(wanted_header, outcome).encode_to_vec(),
            Outcome::Compact => CompactionResponse { header: Some(wanted_header) }.encode_to_vec(),
        };
        let mut got = vec![];
        answer.outcome.encode(&header, &mut got);
        assert_eq!(got, wanted);
        assert_eq!(answer.outcome.encoded_len(&header), wanted.len());
    }

    #[test]
    fn answers_are_the_bytes_that_prost_writes() {
        let mut store = Store::new();
        let mut changes = vec![];
        let mut context = Context { lease_exists: &|_| true, answer_wanted: true, lease_changes: &mut changes };
        for index in 0..40 {
            let request = PutRequest { lease: index % 3, prev_kv: true, ..put(&format!("key-{}", index % 30)) };
            same_bytes(&kv::apply_put(&mut store, &request, &mut context).expect("a put"));
        }
        for keys_only in [false, true] {
            for sort_target in [SortTarget::Key, SortTarget::Value] {
                let request = RangeRequest { keys_only, sort_target: sort_target as i32, limit: 7, ..range("k", "l") };
                let answer = kv::apply_range(&store, &request).expect("a range");
                same_bytes(&answer);
                let Outcome::Range(result) = &answer.outcome else { panic!("a range") };
                let (header, mut bytes) = (header_for(&answer, &IDS), vec![]);
                result.encode(&header, &mut bytes);
                assert_eq!(bytes.len(), result.encoded_len(&header));
                assert_eq!(bytes, range_message(header, result).encode_to_vec());
            }
        }
        let nested = txn([Request::Put(PutRequest { prev_kv: true, ..put("key-1") }), Request::Range(range("k", "l"))]);
        let request = txn([
            Request::Range(RangeRequest { keys_only: true, ..range("k", "l") }),
            Request::DeleteRange(DeleteRangeRequest { prev_kv: true, ..delete("key-2", "key-3") }),
            Request::Txn(txn([Request::Txn(nested), Request::Txn(TxnRequest::default())])),
            Request::DeleteRange(delete("x", "")),
            Request::Put(put("z")),
        ]);
        same_bytes(&kv::apply_txn(&mut store, &request, &mut context).expect("a txn"));
        let answer = kv::apply_delete_range(
            &mut store,
            &DeleteRangeRequest { prev_kv: true, ..delete("key-1", "key-2") },
            &mut context,
        );
        same_bytes(&answer);
        same_bytes(&kv::apply_compaction(&mut store, &Default::default()).expect("once"));
    }

    #[test]
    fn stream_chunks_are_the_bytes_that_prost_writes() {
        let mut store = Store::new();
        let mut changes = vec![];
        let mut context = Context { lease_exists: &|_| true, answer_wanted: true, lease_changes: &mut changes };
        kv::apply_put(&mut store, &put("a"), &mut context).expect("a put");
        let result = store.view().range(&range("a", ""), usize::MAX).expect("a range");
        for last in [None, Some(StreamEnd { more: true, count: 300 })] {
            let mut message = range_message(IDS, &result);
            (message.more, message.count) = last.as_ref().map_or((false, 0), |last| (last.more, last.count));
            message.header = last.as_ref().map(|_| IDS);
            let wanted = RangeStreamResponse { range_response: Some(message) }.encode_to_vec();
            let chunk = StreamChunk { kvs: &result.kvs, projection: result.projection, last };
            let mut got = vec![];
            chunk.encode(&IDS, &mut got);
            assert_eq!((chunk.encoded_len(&IDS), got), (wanted.len(), wanted));
        }
    }

    #[test]
    fn requests_that_are_refused() {
        assert_eq!(check_range(&range("", "b")), Err(Error::EmptyKey));
        assert_eq!(check_range(&RangeRequest { sort_order: 3, ..range("a", "") }), Err(Error::InvalidSortOption));
        assert_eq!(check_range(&RangeRequest { sort_target: -1, ..range("a", "") }), Err(Error::InvalidSortOption));
        assert_eq!(check_range(&range("a", "")), Ok(()));
        let sorted = RangeRequest { sort_order: 2, min_mod_revision: 1, ..range("a", "") };
        assert_eq!(check_range_stream(&sorted), Err(Error::RangeStreamSort));
        let filtered = RangeRequest { sort_order: 1, min_mod_revision: 1, ..range("a", "") };
        assert_eq!(check_range_stream(&filtered), Err(Error::RangeStreamFilter));
        assert_eq!(check_put(&PutRequest { ignore_value: true, ..put("") }), Err(Error::EmptyKey));
        let both = PutRequest { ignore_value: true, ignore_lease: true, lease: 1, ..put("a") };
        assert_eq!(check_put(&both), Err(Error::ValueProvided));
        assert_eq!(check_put(&PutRequest { value: Bytes::new(), ..both }), Err(Error::LeaseProvided));
        assert_eq!(check_delete_range(&delete("", "a")), Err(Error::EmptyKey));
    }

    #[test]
    fn txn_limits_share_the_budget_with_nested_txns() {
        let reads = |count: usize| (0..count).map(|_| Request::Range(range("a", "")));
        assert_eq!(check_txn(&txn(reads(4)), 4), Ok(()));
        assert_eq!(check_txn(&txn(reads(5)), 4), Err(Error::TooManyOps));
        let nested = |count| txn([Request::Txn(txn(reads(count)))]);
        assert_eq!(check_txn(&nested(3), 4), Ok(()));
        assert_eq!(check_txn(&nested(4), 4), Err(Error::TooManyOps));
        let compare = Compare::default();
        let request = TxnRequest { compare: vec![compare.clone(); 5], ..Default::default() };
        assert_eq!(check_txn(&request, 4), Err(Error::TooManyOps), "the limit before the empty key");
        assert_eq!(check_txn(&request, 5), Err(Error::EmptyKey));
        assert_eq!(
            check_txn(&TxnRequest { success: vec![RequestOp::default()], ..Default::default() }, 4),
            Err(Error::KeyNotFound)
        );
        assert_eq!(check_txn(&txn([Request::Put(put(""))]), 4), Err(Error::EmptyKey));
    }

    #[test]
    fn overlapping_writes_of_one_branch() {
        let p = |key: &str| Request::Put(put(key));
        let d = |key: &str, end: &str| Request::DeleteRange(delete(key, end));
        let t = |success: Vec<Request>, failure: Vec<Request>| {
            Request::Txn(TxnRequest { success: ops(success), failure: ops(failure), ..Default::default() })
        };
        let cases = [
            (vec![p("a"), p("b")], true),
            (vec![p("a"), p("a")], false),
            (vec![p("b"), d("a", "c")], false),
            (vec![d("a", "c"), p("c")], true),
            (vec![d("a", ""), p("a")], false),
            (vec![d("a", ""), p("a\0")], true),
            (vec![d("a", "c"), d("b", "d")], true),
            (vec![d("a", "c"), d("e", "g"), d("b", "f"), p("d")], false),
            (vec![d("a", "\0"), p("b")], true),
            (vec![d("\0", "\0"), p("b")], true),
            (vec![t(vec![p("a")], vec![p("a")])], true),
            (vec![t(vec![p("a")], vec![]), p("a")], false),
            (vec![t(vec![], vec![p("a")]), t(vec![p("a")], vec![])], false),
            (vec![d("a", "c"), t(vec![p("b")], vec![])], false),
            (vec![p("b"), t(vec![d("a", "c")], vec![])], false),
            (vec![t(vec![d("a", "c")], vec![]), t(vec![p("b")], vec![])], false),
            // A later nested delete does not see an earlier nested put.
            (vec![t(vec![p("b")], vec![]), t(vec![d("a", "c")], vec![])], true),
        ];
        for (index, (requests, fine)) in cases.into_iter().enumerate() {
            let wanted = if fine { Ok(()) } else { Err(Error::DuplicateKey) };
            assert_eq!(check_txn(&txn(requests.clone()), 128), wanted, "case {index}, success");
            let failure = TxnRequest { failure: ops(requests.clone()), ..Default::default() };
            assert_eq!(check_txn(&failure, 128), wanted, "case {index}, failure");
        }
        let either = TxnRequest { success: ops([p("a")]), failure: ops([p("a")]), ..Default::default() };
        assert_eq!(check_txn(&either, 128), Ok(()), "branches are independent");
    }
}
