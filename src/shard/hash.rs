//! HashKV on a shard: a scan of the whole store, done a stretch per turn so that it delays nobody else's request.

use super::Shard;
use super::call::{Call, Failure, unreadable};
use super::conn::Conn;
use crate::api::error::Error;
use crate::reactor::ConnId;
use bytes::Bytes;
use engine::apply::mvcc::HashScan;
use engine::pb::etcdserverpb::{HashKVRequest, HashKVResponse};
use net::grpc::Code;
use prost::Message;

/// Rows hashed in one turn, count: about a millisecond.
const ROWS_PER_TURN: usize = 2_000;

/// Scans under way at once, count: each holds a whole view of the store in memory.
const SCANS_MAX: usize = 16;

/// One caller's scan.
pub(super) struct Scan {
    conn: ConnId,
    call: Call,
    scan: HashScan,
}

impl Shard {
    pub(super) fn hash_kv(&mut self, conn: &mut Conn, call: Call, message: Bytes) -> Result<(), Failure> {
        let request = HashKVRequest::decode(message).map_err(unreadable)?;
        if self.scans.len() >= SCANS_MAX {
            let text = "too many hashes of the store are being computed";
            return Err(Failure::Status(Code::ResourceExhausted, text.into()));
        }
        let scan = self.reader.pin().hash_scan(request.revision).map_err(Error::from)?;
        self.scans.push_back(Scan { conn: conn.id, call, scan });
        Ok(())
    }

    /// Goes on with the oldest scan. True while there is one: the turn must not wait then.
    pub fn scan_on(&mut self) -> bool {
        let Some(mut scan) = self.scans.pop_front() else { return false };
        match scan.scan.step(ROWS_PER_TURN) {
            None => self.scans.push_back(scan),
            Some(hash) => {
                if let Some(mut conn) = self.conns.remove(&scan.conn.0) {
                    self.look_at_clock();
                    let revision = self.reader.pin().revision();
                    let answer = HashKVResponse {
                        header: Some(self.header(revision)),
                        hash: hash.hash,
                        compact_revision: hash.compact_revision,
                        hash_revision: hash.revision,
                    };
                    self.answer_message(&mut conn, scan.call, &answer);
                    self.mark_dirty(&mut conn);
                    self.conns.insert(scan.conn.0, conn);
                }
            }
        }
        true
    }
}
