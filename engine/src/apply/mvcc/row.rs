//! One row of the revision log: a single reference-counted allocation holding the canonical `mvccpb.KeyValue` bytes and, in
//! front of them, the row's place in history. Owned by whoever holds a handle; immutable once made.
//! The bytes after the head are what the db file stores, what HashKV hashes and what a Range answer copies: they must never
//! be re-encoded on the way.

use bytes::Buf;
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};
use std::fmt;
use std::sync::Arc;

/// Head of a row: flags, sub revision, main revision.
const HEAD_BYTES: usize = 1 + 4 + 8;
/// Links to older rows of the key follow the head of every row but a key's first: prev, jump, depth, depth of jump.
const LINKS_BYTES: usize = 6 + 6 + 4 + 4;
const FLAG_TOMBSTONE: u8 = 1;
const FLAG_LINKS: u8 = 2;
const POSITION_MAX: u64 = (1 << 48) - 1;

const TAG_KEY: u8 = 0x0a;
const TAG_CREATE_REVISION: u8 = 0x10;
const TAG_MOD_REVISION: u8 = 0x18;
const TAG_VERSION: u8 = 0x20;
const TAG_VALUE: u8 = 0x2a;
const TAG_LEASE: u8 = 0x30;

/// Handle of a row: a key with its value at one revision, or the tombstone of a key. Cloning counts a reference.
/// A row that lives on disk could stand behind the same calls later.
#[derive(Clone)]
pub struct Kv(Arc<[u8]>);

/// All fields of a row, decoded in one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    pub key: &'a [u8],
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub value: &'a [u8],
    pub lease: i64,
}

/// Where the older rows of the same key are. Positions may name rows that were compacted since: they are simply absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Links {
    pub prev: u64,
    /// A position further back, chosen so that any older row is reached in a logarithmic number of steps.
    pub jump: u64,
    /// Rows of the key before this one.
    pub depth: u32,
    pub jump_depth: u32,
}

/// What a new row is made of.
pub(super) struct NewRow<'a> {
    pub main: i64,
    pub sub: u32,
    pub links: Option<Links>,
    pub tombstone: bool,
    pub fields: Fields<'a>,
}

impl Kv {
    pub(super) fn new(row: &NewRow<'_>, scratch: &mut Vec<u8>) -> Kv {
        begin(row.main, row.sub, row.tombstone, row.links, scratch);
        if row.tombstone {
            put_bytes(scratch, TAG_KEY, row.fields.key);
        } else {
            encode_fields(&row.fields, scratch);
        }
        Kv(Arc::from(&scratch[..]))
    }

    /// A row whose `KeyValue` bytes come from a file. The caller has checked that they decode.
    pub(super) fn from_encoded(
        main: i64,
        sub: u32,
        tombstone: bool,
        links: Option<Links>,
        encoded: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Kv {
        begin(main, sub, tombstone, links, scratch);
        scratch.extend_from_slice(encoded);
        Kv(Arc::from(&scratch[..]))
    }

    /// The canonical `KeyValue` message as the db file stores it: fields ascending, zeros omitted, a tombstone the key only.
    pub fn encoded(&self) -> &[u8] {
        let head = if self.0[0] & FLAG_LINKS != 0 { HEAD_BYTES + LINKS_BYTES } else { HEAD_BYTES };
        &self.0[head..]
    }

    pub fn key(&self) -> &[u8] {
        let mut rest = self.encoded();
        if rest.first() == Some(&TAG_KEY) { take_bytes(&mut rest) } else { &[] }
    }

    pub fn value(&self) -> &[u8] {
        self.fields().value
    }

    pub fn lease(&self) -> i64 {
        self.fields().lease
    }

    /// Of a tombstone too, although its stored bytes don't carry it.
    pub fn mod_revision(&self) -> i64 {
        self.main()
    }

    pub fn create_revision(&self) -> i64 {
        self.fields().create_revision
    }

    pub fn version(&self) -> i64 {
        self.fields().version
    }

    pub fn is_tombstone(&self) -> bool {
        self.0[0] & FLAG_TOMBSTONE != 0
    }

    /// The main revision: one per transaction.
    pub fn main(&self) -> i64 {
        i64::from_le_bytes(self.0[5..13].try_into().expect("eight bytes"))
    }

    /// The place inside the transaction.
    pub fn sub(&self) -> u32 {
        u32::from_le_bytes(self.0[1..5].try_into().expect("four bytes"))
    }

    pub(super) fn links(&self) -> Option<Links> {
        if self.0[0] & FLAG_LINKS == 0 {
            return None;
        }
        let at = |from: usize| u32::from_le_bytes(self.0[from..from + 4].try_into().expect("four bytes"));
        Some(Links {
            prev: position_from(&self.0[13..19]),
            jump: position_from(&self.0[19..25]),
            depth: at(25),
            jump_depth: at(29),
        })
    }

    /// Bytes of the allocation, without the allocator's own.
    pub(super) fn footprint_bytes(&self) -> usize {
        self.0.len() + 2 * size_of::<usize>()
    }

    pub fn fields(&self) -> Fields<'_> {
        let mut rest = self.encoded();
        let mut fields = Fields { mod_revision: self.main(), ..Fields::default() };
        while let Some(&tag) = rest.first() {
            match tag {
                TAG_KEY => fields.key = take_bytes(&mut rest),
                TAG_CREATE_REVISION => fields.create_revision = take_int(&mut rest),
                TAG_MOD_REVISION => fields.mod_revision = take_int(&mut rest),
                TAG_VERSION => fields.version = take_int(&mut rest),
                TAG_VALUE => fields.value = take_bytes(&mut rest),
                TAG_LEASE => fields.lease = take_int(&mut rest),
                other => unreachable!("row at revision {} holds field tag {other}", self.main()),
            }
        }
        fields
    }

    /// Length of the message without its value. `with_lease`: etcd answers keys_only from its index, which knows no lease,
    /// unless the order asked for needs the values.
    pub fn encoded_len_keys_only(&self, with_lease: bool) -> usize {
        fields_len(&self.fields_keys_only(with_lease))
    }

    pub fn encode_keys_only(&self, with_lease: bool, out: &mut Vec<u8>) {
        encode_fields(&self.fields_keys_only(with_lease), out);
    }

    /// Length of the message as a watch event carries it: a deletion has the key and its revision.
    pub fn encoded_len_event(&self) -> usize {
        if self.is_tombstone() { fields_len(&self.fields()) } else { self.encoded().len() }
    }

    pub fn encode_event(&self, out: &mut Vec<u8>) {
        if self.is_tombstone() {
            encode_fields(&self.fields(), out);
        } else {
            out.extend_from_slice(self.encoded());
        }
    }

    /// The key of this row in the db file: main and sub big endian, and a `t` for a tombstone.
    pub fn row_key(&self) -> RowKey {
        let mut bytes = [0; 18];
        bytes[..8].copy_from_slice(&self.main().to_be_bytes());
        bytes[8] = b'_';
        bytes[9..17].copy_from_slice(&u64::from(self.sub()).to_be_bytes());
        bytes[17] = b't';
        RowKey { bytes, len: if self.is_tombstone() { 18 } else { 17 } }
    }

    fn fields_keys_only(&self, with_lease: bool) -> Fields<'_> {
        let fields = self.fields();
        Fields { value: &[], lease: if with_lease { fields.lease } else { 0 }, ..fields }
    }
}

impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields();
        f.debug_struct("Kv")
            .field("at", &(self.main(), self.sub()))
            .field("key", &fields.key.escape_ascii().to_string())
            .field("tombstone", &self.is_tombstone())
            .field("value_len", &fields.value.len())
            .finish()
    }
}

impl PartialEq for Kv {
    /// Same bytes at the same revision.
    fn eq(&self, other: &Kv) -> bool {
        self.main() == other.main() && self.sub() == other.sub() && self.encoded() == other.encoded()
    }
}

/// A key of the db file's `key` bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKey {
    bytes: [u8; 18],
    len: usize,
}

impl RowKey {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Main, sub and whether it is a tombstone; `None` for anything else than a row key.
    pub fn parse(bytes: &[u8]) -> Option<(i64, u32, bool)> {
        let tombstone = match bytes.len() {
            17 => false,
            18 if bytes[17] == b't' => true,
            _ => return None,
        };
        if bytes[8] != b'_' {
            return None;
        }
        let main = i64::from_be_bytes(bytes[..8].try_into().ok()?);
        let sub = u64::from_be_bytes(bytes[9..17].try_into().ok()?);
        if main < 0 { None } else { Some((main, u32::try_from(sub).ok()?, tombstone)) }
    }
}

fn begin(main: i64, sub: u32, tombstone: bool, links: Option<Links>, scratch: &mut Vec<u8>) {
    scratch.clear();
    let flags = if tombstone { FLAG_TOMBSTONE } else { 0 } | if links.is_some() { FLAG_LINKS } else { 0 };
    scratch.push(flags);
    scratch.extend_from_slice(&sub.to_le_bytes());
    scratch.extend_from_slice(&main.to_le_bytes());
    if let Some(links) = links {
        assert!(links.prev <= POSITION_MAX && links.jump <= POSITION_MAX, "2^48 rows written");
        scratch.extend_from_slice(&links.prev.to_le_bytes()[..6]);
        scratch.extend_from_slice(&links.jump.to_le_bytes()[..6]);
        scratch.extend_from_slice(&links.depth.to_le_bytes());
        scratch.extend_from_slice(&links.jump_depth.to_le_bytes());
    }
}

fn position_from(six: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(six);
    u64::from_le_bytes(bytes)
}

/// Takes a length-delimited field off the front, tag included. Rows are written or checked by this module, so a malformed
/// one is a bug.
fn take_bytes<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    rest.advance(1);
    let len = decode_varint(rest).expect("row field length") as usize;
    let (head, tail) = rest.split_at(len);
    *rest = tail;
    head
}

fn take_int(rest: &mut &[u8]) -> i64 {
    rest.advance(1);
    decode_varint(rest).expect("row field") as i64
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(tag);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

fn put_int(out: &mut Vec<u8>, tag: u8, value: i64) {
    if value != 0 {
        out.push(tag);
        encode_varint(value as u64, out);
    }
}

fn encode_fields(fields: &Fields<'_>, out: &mut Vec<u8>) {
    put_bytes(out, TAG_KEY, fields.key);
    put_int(out, TAG_CREATE_REVISION, fields.create_revision);
    put_int(out, TAG_MOD_REVISION, fields.mod_revision);
    put_int(out, TAG_VERSION, fields.version);
    put_bytes(out, TAG_VALUE, fields.value);
    put_int(out, TAG_LEASE, fields.lease);
}

fn fields_len(fields: &Fields<'_>) -> usize {
    let bytes = |b: &[u8]| if b.is_empty() { 0 } else { 1 + encoded_len_varint(b.len() as u64) + b.len() };
    let int = |v: i64| if v == 0 { 0 } else { 1 + encoded_len_varint(v as u64) };
    bytes(fields.key)
        + int(fields.create_revision)
        + int(fields.mod_revision)
        + int(fields.version)
        + bytes(fields.value)
        + int(fields.lease)
}
