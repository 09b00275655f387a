//! From the store's answers to plain messages, so that they can be compared with the model's.

use engine::apply::kv::{Answer, Error, Outcome};
use engine::apply::mvcc::{Kv, RangeResult};
use engine::pb::etcdserverpb::response_op::Response;
use engine::pb::etcdserverpb::*;
use engine::pb::mvccpb::KeyValue;
use prost::Message;

use crate::model::Failure;

pub fn kv(kv: &Kv) -> KeyValue {
    let decoded = KeyValue::decode(kv.encoded()).expect("stored bytes decode");
    assert_eq!(decoded.encode_to_vec(), kv.encoded(), "stored bytes are canonical");
    let fields = kv.fields();
    assert_eq!(fields.key, &decoded.key[..]);
    assert_eq!(fields.value, &decoded.value[..]);
    assert_eq!((kv.key(), kv.value(), kv.lease()), (fields.key, fields.value, decoded.lease));
    assert_eq!((kv.create_revision(), kv.version()), (decoded.create_revision, decoded.version));
    decoded
}

pub fn range(result: &RangeResult) -> RangeResponse {
    let projected = |row: &Kv| {
        let full = kv(row);
        if !result.keys_only() {
            return full;
        }
        let with_lease = result.projection == engine::apply::mvcc::Projection::KeysAndLease;
        let mut bytes = vec![];
        row.encode_keys_only(with_lease, &mut bytes);
        assert_eq!(bytes.len(), row.encoded_len_keys_only(with_lease));
        KeyValue::decode(&bytes[..]).expect("decodes")
    };
    RangeResponse {
        header: Some(ResponseHeader { revision: result.revision, ..Default::default() }),
        kvs: result.kvs.iter().map(projected).collect(),
        more: result.more,
        count: result.count,
    }
}

pub fn answer(answer: &Answer) -> Response {
    let header = Some(ResponseHeader { revision: answer.revision, ..Default::default() });
    match &answer.outcome {
        Outcome::Range(result) => {
            assert_eq!(result.revision, answer.revision);
            Response::Range(range(result))
        }
        Outcome::Put { prev } => Response::Put(PutResponse { header, prev_kv: prev.as_ref().map(kv) }),
        Outcome::DeleteRange { deleted, prev_kvs } => Response::DeleteRange(DeleteRangeResponse {
            header,
            deleted: *deleted,
            prev_kvs: prev_kvs.iter().map(kv).collect(),
        }),
        Outcome::Txn(txn) => {
            let responses =
                txn.responses.iter().map(|inner| ResponseOp { response: Some(self::answer(inner)) }).collect();
            Response::Txn(TxnResponse { header, succeeded: txn.succeeded, responses })
        }
        Outcome::Compact => unreachable!("compared by revision"),
    }
}

pub fn error(error: Error) -> Failure {
    match error {
        Error::Compacted => Failure::Compacted,
        Error::FutureRev => Failure::FutureRev,
        Error::KeyNotFound => Failure::KeyNotFound,
        Error::LeaseNotFound => Failure::LeaseNotFound,
    }
}
