//! Requests as bytes, read the way Go's protobuf library reads them, before anything else is asked. Pure functions, any core.
//! Bytes that pass here go into the log as they are, so nothing may pass that a member could not read back from its log.
//!
//! prost and Go differ in three things. A known field with a foreign wire type is an error for prost and an unknown field
//! for Go. Both limit depth, each in its own way. Their texts differ. Where a message is such that it could matter, it is
//! written anew without what is not known, which no client library's messages ever need.

use super::error::Error;
use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{decode_varint, encode_varint};

/// Transactions inside transactions. etcd's own limit follows from `--max-txn-ops` (128: each level takes at least one from
/// the budget); this one also bounds the stack, whatever that flag says.
const NESTED_TXNS_MAX: usize = 130;

/// Groups inside groups that Go's library follows.
const GROUPS_MAX: usize = 10_000;

/// Largest field number of protobuf.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

/// Why a request is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Not protobuf.
    Malformed,
    /// Transactions nested beyond any limit.
    TooDeep,
}

impl Unread {
    /// The text of Go's protobuf library, as gRPC passes it on with the code Internal.
    pub const MALFORMED_TEXT: &str = "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data";

    /// None: `Malformed`, whose text is no row of the table of errors.
    pub fn error(self) -> Option<Error> {
        match self {
            Unread::Malformed => None,
            Unread::TooDeep => Some(Error::TooManyOps),
        }
    }
}

/// Known fields of a message.
pub struct Shape(&'static [(u64, Field)]);

enum Field {
    Varint,
    Bytes,
    Message(&'static Shape),
    /// Takes one from the depth of transactions.
    Txn,
}

use Field::{Bytes as B, Message as M, Varint as V};

pub static RANGE: Shape = Shape(&[
    (1, B),
    (2, B),
    (3, V),
    (4, V),
    (5, V),
    (6, V),
    (7, V),
    (8, V),
    (9, V),
    (10, V),
    (11, V),
    (12, V),
    (13, V),
]);
pub static PUT: Shape = Shape(&[(1, B), (2, B), (3, V), (4, V), (5, V), (6, V)]);
pub static DELETE_RANGE: Shape = Shape(&[(1, B), (2, B), (3, V)]);
pub static COMPACTION: Shape = Shape(&[(1, V), (2, V)]);
pub static TXN: Shape = Shape(&[(1, M(&COMPARE)), (2, M(&REQUEST_OP)), (3, M(&REQUEST_OP))]);
static COMPARE: Shape = Shape(&[(1, V), (2, V), (3, B), (4, V), (5, V), (6, V), (7, B), (8, V), (64, B)]);
static REQUEST_OP: Shape = Shape(&[(1, M(&RANGE)), (2, M(&PUT)), (3, M(&DELETE_RANGE)), (4, Field::Txn)]);

/// A request that is only looked at.
pub fn read<T: Message + Default>(shape: &Shape, message: Bytes) -> Result<T, Unread> {
    assert!(!std::ptr::eq(shape, &TXN), "only for_log knows a transaction's depth before it decodes");
    // prost reads whatever Go reads, but for oddities.
    T::decode(message.clone()).or_else(|_| decode(&written_anew(shape, &message)?))
}

/// The bytes of a request that goes into the log, to be decoded as they stand there.
pub fn for_log(shape: &Shape, message: Bytes) -> Result<Bytes, Unread> {
    if is_plain(shape, &message, 0) { Ok(message) } else { written_anew(shape, &message) }
}

fn decode<T: Message + Default>(message: &Bytes) -> Result<T, Unread> {
    T::decode(message.clone()).map_err(|_| Unread::Malformed)
}

fn written_anew(shape: &Shape, message: &[u8]) -> Result<Bytes, Unread> {
    let mut out = Vec::with_capacity(message.len());
    write_anew(shape, message, 0, &mut out)?;
    Ok(out.into())
}

/// Nothing in the message that prost, inside a log entry or not, could read differently than Go: only well-formed fields,
/// known ones in their own wire type, no groups, no depth beyond the limit.
fn is_plain(shape: &Shape, mut message: &[u8], depth: usize) -> bool {
    while !message.is_empty() {
        let Ok((number, wire_type)) = take_key(&mut message) else { return false };
        let field = shape.field(number);
        match (field, wire_type) {
            (Some(Field::Message(inner)), WireType::Bytes) => {
                let Ok(bytes) = take_bytes(&mut message) else { return false };
                if !is_plain(inner, bytes, depth) {
                    return false;
                }
            }
            (Some(Field::Txn), WireType::Bytes) => {
                let Ok(bytes) = take_bytes(&mut message) else { return false };
                if depth == NESTED_TXNS_MAX || !is_plain(&TXN, bytes, depth + 1) {
                    return false;
                }
            }
            (Some(Field::Bytes) | None, WireType::Bytes)
            | (Some(Field::Varint) | None, WireType::Varint)
            | (None, WireType::Fixed32 | WireType::Fixed64) => {
                if skip(&mut message, number, wire_type).is_err() {
                    return false;
                }
            }
            _ => return false,
        }
    }
    true
}

/// Copies the known fields that have their own wire type.
fn write_anew(shape: &Shape, mut message: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), Unread> {
    while !message.is_empty() {
        let start = message;
        let (number, wire_type) = take_key(&mut message)?;
        let inner = match (shape.field(number), wire_type) {
            (Some(Field::Message(inner)), WireType::Bytes) => (*inner, depth),
            (Some(Field::Txn), WireType::Bytes) if depth == NESTED_TXNS_MAX => return Err(Unread::TooDeep),
            (Some(Field::Txn), WireType::Bytes) => (&TXN, depth + 1),
            (field, _) => {
                skip(&mut message, number, wire_type)?;
                let known = matches!(
                    (field, wire_type),
                    (Some(Field::Bytes), WireType::Bytes) | (Some(Field::Varint), WireType::Varint)
                );
                if known {
                    out.extend_from_slice(&start[..start.len() - message.len()]);
                }
                continue;
            }
        };
        let mut nested = Vec::new();
        write_anew(inner.0, take_bytes(&mut message)?, inner.1, &mut nested)?;
        encode_varint(number << 3 | 2, out);
        encode_varint(nested.len() as u64, out);
        out.append(&mut nested);
    }
    Ok(())
}

impl Shape {
    fn field(&self, number: u64) -> Option<&Field> {
        self.0.iter().find(|(known, _)| *known == number).map(|(_, field)| field)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WireType {
    Varint,
    Fixed64,
    Bytes,
    GroupStart,
    GroupEnd,
    Fixed32,
}

fn take_varint(message: &mut &[u8]) -> Result<u64, Unread> {
    decode_varint(message).map_err(|_| Unread::Malformed)
}

fn take_key(message: &mut &[u8]) -> Result<(u64, WireType), Unread> {
    let key = take_varint(message)?;
    let wire_type = match key & 7 {
        0 => WireType::Varint,
        1 => WireType::Fixed64,
        2 => WireType::Bytes,
        3 => WireType::GroupStart,
        4 => WireType::GroupEnd,
        5 => WireType::Fixed32,
        _ => return Err(Unread::Malformed),
    };
    match key >> 3 {
        number @ 1..=FIELD_NUMBER_MAX => Ok((number, wire_type)),
        _ => Err(Unread::Malformed),
    }
}

fn take_bytes<'a>(message: &mut &'a [u8]) -> Result<&'a [u8], Unread> {
    let len = usize::try_from(take_varint(message)?).map_err(|_| Unread::Malformed)?;
    let (bytes, rest) = message.split_at_checked(len).ok_or(Unread::Malformed)?;
    *message = rest;
    Ok(bytes)
}

/// Steps over the value of a field, groups with all that is in them. No recursion: the depth is the client's choice.
fn skip(message: &mut &[u8], number: u64, wire_type: WireType) -> Result<(), Unread> {
    let mut groups = Vec::new();
    let mut next = (number, wire_type);
    loop {
        match next {
            (_, WireType::Varint) => drop(take_varint(message)?),
            (_, WireType::Bytes) => drop(take_bytes(message)?),
            (_, WireType::Fixed32) => take_fixed(message, 4)?,
            (_, WireType::Fixed64) => take_fixed(message, 8)?,
            (number, WireType::GroupStart) if groups.len() < GROUPS_MAX => groups.push(number),
            (number, WireType::GroupEnd) if groups.last() == Some(&number) => drop(groups.pop()),
            _ => return Err(Unread::Malformed),
        }
        if groups.is_empty() {
            return Ok(());
        }
        next = take_key(message)?;
    }
}

fn take_fixed(message: &mut &[u8], len: usize) -> Result<(), Unread> {
    if message.len() < len {
        return Err(Unread::Malformed);
    }
    message.advance(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::pb::etcdserverpb::request_op::Request;
    use engine::pb::etcdserverpb::{
        Compare, InternalRaftRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, internal_raft_request,
    };

    /// A request and its bytes in the log.
    fn read_for_log<T: Message + Default>(shape: &Shape, message: Bytes) -> Result<(T, Bytes), Unread> {
        let message = for_log(shape, message)?;
        Ok((decode(&message)?, message))
    }

    fn nested(depth: usize) -> TxnRequest {
        let put = PutRequest { key: "a".into(), ..Default::default() };
        let mut txn =
            TxnRequest { success: vec![RequestOp { request: Some(Request::Put(put)) }], ..Default::default() };
        for _ in 0..depth {
            txn = TxnRequest { success: vec![RequestOp { request: Some(Request::Txn(txn)) }], ..Default::default() };
        }
        txn
    }

    fn groups(depth: usize) -> Vec<u8> {
        let mut bytes = vec![0x7b; depth];
        bytes.extend(vec![0x7c; depth]);
        bytes
    }

    /// What is logged must be readable in its entry.
    fn survives_the_log(txn: &TxnRequest) {
        let entry = InternalRaftRequest {
            request: Some(internal_raft_request::Request::Txn(txn.clone())),
            ..Default::default()
        };
        assert_eq!(InternalRaftRequest::decode(&entry.encode_to_vec()[..]), Ok(entry));
    }

    #[test]
    fn every_depth_that_is_read_is_also_read_in_the_log() {
        for depth in [0, 48, 49, 50, 99, 127, NESTED_TXNS_MAX] {
            let txn = nested(depth);
            let bytes = Bytes::from(txn.encode_to_vec());
            assert_eq!(read_for_log(&TXN, bytes.clone()), Ok((txn.clone(), bytes)), "depth {depth}");
            survives_the_log(&txn);
        }
        for depth in [NESTED_TXNS_MAX + 1, 5000] {
            let mut bytes = vec![];
            for _ in 0..depth {
                let mut op = vec![0x22];
                encode_varint(bytes.len() as u64, &mut op);
                op.extend(&bytes);
                bytes = vec![0x12];
                encode_varint(op.len() as u64, &mut bytes);
                bytes.extend(&op);
            }
            assert_eq!(read_for_log::<TxnRequest>(&TXN, bytes.into()), Err(Unread::TooDeep), "depth {depth}");
        }
    }

    #[test]
    fn groups_do_not_reach_the_log() {
        let put = PutRequest { key: "a".into(), ..Default::default() };
        for depth in [1, 99, 100, 101, GROUPS_MAX] {
            let bytes = [put.encode_to_vec(), groups(depth)].concat();
            let clean = Bytes::from(put.encode_to_vec());
            assert_eq!(read_for_log(&PUT, bytes.into()), Ok((put.clone(), clean)), "depth {depth}");
        }
        let bytes = groups(GROUPS_MAX + 1);
        assert_eq!(read_for_log::<PutRequest>(&PUT, bytes.into()).map(|(put, _)| put), Err(Unread::Malformed));
    }

    #[test]
    fn a_foreign_wire_type_makes_a_field_unknown() {
        let range = RangeRequest { key: "a".into(), limit: 3, ..Default::default() };
        let bytes = [range.encode_to_vec(), vec![0x08, 5, 0x1a, 2, 1, 1, 0x19, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
        assert_eq!(read(&RANGE, bytes.into()), Ok(range));
        let txn = TxnRequest { compare: vec![Compare { key: "b".into(), ..Default::default() }], ..nested(1) };
        let bytes = [txn.encode_to_vec(), vec![0x08, 1, 0x12, 2, 0x08, 7]].concat();
        let (mut read, logged) = read_for_log::<TxnRequest>(&TXN, bytes.into()).unwrap();
        assert_eq!(TxnRequest::decode(logged), Ok(read.clone()));
        assert_eq!(read.success.pop(), Some(RequestOp::default()));
        assert_eq!(read, txn);
    }

    #[test]
    fn fields_of_the_future_stay_as_they_are() {
        let bytes = Bytes::from_static(b"\x0a\x01a\xc0\x3e\x05\xca\x3e\x02hi\xd5\x3e\x01\x02\x03\x04");
        let put = PutRequest { key: "a".into(), ..Default::default() };
        assert_eq!(read_for_log(&PUT, bytes.clone()), Ok((put, bytes)));
    }

    #[test]
    fn what_is_not_protobuf() {
        let cases: &[&[u8]] = &[
            b"\x0a",
            b"\x0a\x05a",
            b"\x00\x01",
            b"\x0e",
            b"\x0f",
            b"\x7c",
            b"\x7b",
            b"\x7b\x84\x01",
            b"\x98\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x1d\x00\x00",
            b"\x80\x80\x80\x80\x10\x00",
        ];
        for case in cases {
            assert_eq!(read::<RangeRequest>(&RANGE, Bytes::from_static(case)), Err(Unread::Malformed), "{case:x?}");
            let logged = read_for_log::<PutRequest>(&PUT, Bytes::from_static(case));
            assert_eq!(logged, Err(Unread::Malformed), "{case:x?}");
        }
    }
}
