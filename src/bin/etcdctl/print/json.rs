//! JSON in the form of Go's `encoding/json` over etcd's message types: fields in the order of the types, zero values
//! left out, 64-bit numbers as numbers, bytes in base64, `<`, `>` and `&` escaped.

use engine::pb::etcdserverpb::response_op::Response;
use engine::pb::etcdserverpb::{
    DeleteRangeResponse, HashKVResponse, Member, MemberListResponse, PutResponse, RangeResponse, ResponseHeader,
    ResponseOp, StatusResponse, TxnResponse,
};
use engine::pb::mvccpb::KeyValue;

use super::{Answer, Health};

/// An object under construction. Every method leaves out what is zero, except those called `always_*`.
struct Object {
    text: String,
}

impl Object {
    fn new() -> Object {
        Object { text: "{".to_string() }
    }

    fn raw(mut self, name: &str, value: &str) -> Object {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text += &format!("\"{name}\":{value}");
        self
    }

    fn number<N: PartialEq + Default + std::fmt::Display>(self, name: &str, value: N) -> Object {
        if value == N::default() { self } else { self.raw(name, &value.to_string()) }
    }

    fn flag(self, name: &str, value: bool) -> Object {
        if value { self.raw(name, "true") } else { self }
    }

    fn text(self, name: &str, value: &str) -> Object {
        if value.is_empty() { self } else { self.raw(name, &string(value)) }
    }

    fn bytes(self, name: &str, value: &[u8]) -> Object {
        if value.is_empty() { self } else { self.raw(name, &format!("\"{}\"", base64(value))) }
    }

    fn object<T>(self, name: &str, value: Option<&T>, encode: impl Fn(&T) -> String) -> Object {
        match value {
            Some(value) => self.raw(name, &encode(value)),
            None => self,
        }
    }

    fn list<T>(self, name: &str, items: &[T], encode: impl Fn(&T) -> String) -> Object {
        if items.is_empty() { self } else { self.raw(name, &array(items, encode)) }
    }

    fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

fn array<T>(items: &[T], encode: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(encode).collect::<Vec<_>>().join(","))
}

/// A list that does not exist is `null` for Go, not an empty array.
fn array_or_null<T>(items: &[T], encode: impl Fn(&T) -> String) -> String {
    if items.is_empty() { "null".to_string() } else { array(items, encode) }
}

fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => out += &format!("\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0u8; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit <= chunk.len() { ALPHABET[index as usize] as char } else { '=' });
        }
    }
    out
}

fn header(h: &ResponseHeader) -> String {
    Object::new()
        .number("cluster_id", h.cluster_id)
        .number("member_id", h.member_id)
        .number("revision", h.revision)
        .number("raft_term", h.raft_term)
        .end()
}

fn pair(kv: &KeyValue) -> String {
    Object::new()
        .bytes("key", &kv.key)
        .number("create_revision", kv.create_revision)
        .number("mod_revision", kv.mod_revision)
        .number("version", kv.version)
        .bytes("value", &kv.value)
        .number("lease", kv.lease)
        .end()
}

pub(super) fn put(response: &PutResponse) -> String {
    let start = Object::new().object("header", response.header.as_ref(), header);
    start.object("prev_kv", response.prev_kv.as_ref(), pair).end()
}

pub(super) fn get(response: &RangeResponse) -> String {
    Object::new()
        .object("header", response.header.as_ref(), header)
        .list("kvs", &response.kvs, pair)
        .flag("more", response.more)
        .number("count", response.count)
        .end()
}

pub(super) fn del(response: &DeleteRangeResponse) -> String {
    Object::new()
        .object("header", response.header.as_ref(), header)
        .number("deleted", response.deleted)
        .list("prev_kvs", &response.prev_kvs, pair)
        .end()
}

pub(super) fn txn(response: &TxnResponse) -> String {
    Object::new()
        .object("header", response.header.as_ref(), header)
        .flag("succeeded", response.succeeded)
        .list("responses", &response.responses, |op| Object::new().raw("Response", &response_op(op)).end())
        .end()
}

fn response_op(op: &ResponseOp) -> String {
    let object = Object::new();
    match &op.response {
        Some(Response::Range(r)) => object.raw("response_range", &get(r)),
        Some(Response::Put(r)) => object.raw("response_put", &put(r)),
        Some(Response::DeleteRange(r)) => object.raw("response_delete_range", &del(r)),
        Some(Response::Txn(r)) => object.raw("response_txn", &txn(r)),
        None => object,
    }
    .end()
}

/// The one answer whose ids change with `--hex`; they become text then, and what is zero stays.
pub(super) fn member_list(hex: bool, response: &MemberListResponse) -> String {
    if !hex {
        let start = Object::new().object("header", response.header.as_ref(), header);
        return start.list("members", &response.members, |m| member(Object::new().number("ID", m.id), m)).end();
    }
    let hex_header = |h: &ResponseHeader| {
        Object::new()
            .raw("cluster_id", &format!("\"{:x}\"", h.cluster_id))
            .raw("member_id", &format!("\"{:x}\"", h.member_id))
            .number("revision", h.revision)
            .number("raft_term", h.raft_term)
            .end()
    };
    let hex_member = |m: &Member| member(Object::new().raw("ID", &format!("\"{:x}\"", m.id)), m);
    let header = response.header.as_ref().map_or("null".to_string(), hex_header);
    Object::new().raw("header", &header).raw("members", &array(&response.members, hex_member)).end()
}

fn member(start: Object, m: &Member) -> String {
    start
        .text("name", &m.name)
        .list("peerURLs", &m.peer_urls, |url| string(url))
        .list("clientURLs", &m.client_urls, |url| string(url))
        .flag("isLearner", m.is_learner)
        .end()
}

pub(super) fn endpoint_health(list: &[Health]) -> String {
    array_or_null(list, |health| {
        Object::new()
            .raw("endpoint", &string(&health.endpoint))
            .raw("health", if health.healthy { "true" } else { "false" })
            .raw("took", &string(&health.took))
            .text("error", &health.error)
            .end()
    })
}

fn status(r: &StatusResponse) -> String {
    Object::new()
        .object("header", r.header.as_ref(), header)
        .text("version", &r.version)
        .number("dbSize", r.db_size)
        .number("leader", r.leader)
        .number("raftIndex", r.raft_index)
        .number("raftTerm", r.raft_term)
        .number("raftAppliedIndex", r.raft_applied_index)
        .list("errors", &r.errors, |e| string(e))
        .number("dbSizeInUse", r.db_size_in_use)
        .flag("isLearner", r.is_learner)
        .text("storageVersion", &r.storage_version)
        .number("dbSizeQuota", r.db_size_quota)
        .object("downgradeInfo", r.downgrade_info.as_ref(), |d| {
            Object::new().flag("enabled", d.enabled).text("targetVersion", &d.target_version).end()
        })
        .end()
}

fn hashkv(r: &HashKVResponse) -> String {
    Object::new()
        .object("header", r.header.as_ref(), header)
        .number("hash", r.hash)
        .number("compact_revision", r.compact_revision)
        .number("hash_revision", r.hash_revision)
        .end()
}

pub(super) fn endpoint_status(list: &[Answer<StatusResponse>]) -> String {
    answers(list, "Status", status)
}

pub(super) fn endpoint_hashkv(list: &[Answer<HashKVResponse>]) -> String {
    answers(list, "HashKV", hashkv)
}

fn answers<T>(list: &[Answer<T>], name: &str, encode: impl Fn(&T) -> String) -> String {
    array_or_null(list, |answer| {
        Object::new().raw("Endpoint", &string(&answer.endpoint)).raw(name, &encode(&answer.response)).end()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn scalars() {
        assert_eq!(super::string("a<b>&\"\\\n\u{1}\u{2028}é"), "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\u0001\\u2028é\"");
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("\u{3ff}?", "z78/")] {
            assert_eq!(super::base64(bytes.as_bytes()), text);
        }
    }
}
