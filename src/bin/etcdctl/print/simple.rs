//! The default format: keys and values on lines of their own, lists joined by comma and blank.

use engine::pb::etcdserverpb::response_op::Response;
use engine::pb::etcdserverpb::{DeleteRangeResponse, PutResponse, RangeResponse, TxnResponse};
use engine::pb::mvccpb::KeyValue;

use super::{Health, Output, Printer};

pub(super) fn put(out: &mut Vec<u8>, printer: &Printer, response: &PutResponse) {
    out.extend(b"OK\n");
    if let Some(kv) = &response.prev_kv {
        pair(out, printer, kv);
    }
}

pub(super) fn get(out: &mut Vec<u8>, printer: &Printer, response: &RangeResponse) {
    for kv in &response.kvs {
        pair(out, printer, kv);
    }
}

pub(super) fn del(out: &mut Vec<u8>, printer: &Printer, response: &DeleteRangeResponse) {
    out.extend(format!("{}\n", response.deleted).as_bytes());
    for kv in &response.prev_kvs {
        pair(out, printer, kv);
    }
}

pub(super) fn txn(out: &mut Vec<u8>, printer: &Printer, response: &TxnResponse) {
    out.extend(if response.succeeded { b"SUCCESS\n" } else { b"FAILURE\n" });
    for op in &response.responses {
        out.push(b'\n');
        match &op.response {
            Some(Response::Range(r)) => get(out, printer, r),
            Some(Response::Put(r)) => put(out, printer, r),
            Some(Response::DeleteRange(r)) => del(out, printer, r),
            // No line of `txn` asks for this; a newer server might still answer it.
            Some(Response::Txn(_)) | None => out.extend(b"unexpected response\n"),
        }
    }
}

fn pair(out: &mut Vec<u8>, printer: &Printer, kv: &KeyValue) {
    if !printer.value_only {
        line(out, printer.hex, &kv.key);
    }
    line(out, printer.hex, &kv.value);
}

fn line(out: &mut Vec<u8>, hex: bool, bytes: &[u8]) {
    if hex {
        for byte in bytes {
            out.extend(format!("\\x{byte:02x}").as_bytes());
        }
    } else {
        out.extend(bytes);
    }
    out.push(b'\n');
}

pub(super) fn rows(out: &mut Vec<u8>, rows: &[Vec<String>]) {
    for row in rows {
        out.extend(row.join(", ").as_bytes());
        out.push(b'\n');
    }
}

pub(super) fn endpoint_health(out: &mut Output, list: &[Health]) {
    for Health { endpoint, took, error, .. } in list {
        if error.is_empty() {
            let text = format!("{endpoint} is healthy: successfully committed proposal: took = {took}\n");
            out.stdout.extend(text.as_bytes());
        } else {
            let text = format!("{endpoint} is unhealthy: failed to commit proposal: {error}\n");
            out.stderr.extend(text.as_bytes());
        }
    }
}
