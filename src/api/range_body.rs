//! The bytes of a large range, formed piece by piece while they leave. Owned by the connection that sends them. It holds
//! the rows' handles and nothing of their size; each is given back as soon as its bytes are out.

use super::kv::{Response, kv_len, put_header, put_int, put_message_head};
use engine::apply::mvcc::{Kv, Projection, RangeResult};
use engine::pb::etcdserverpb::ResponseHeader;
use net::h2::Source;
use std::fmt;

/// Bytes of an encoded range from which it is formed while it leaves: below, one copy costs less than the bookkeeping.
pub const FORMED_BYTES_MIN: usize = 64 << 10;

pub struct RangeBody {
    /// What comes before the current row's own bytes, or after the last row.
    small: Vec<u8>,
    small_sent: usize,
    row: Option<Kv>,
    row_sent: usize,
    rest: std::vec::IntoIter<Kv>,
    projection: Projection,
    /// Fields behind the rows; None once they were formed.
    end: Option<(bool, i64)>,
    held_bytes: usize,
}

impl RangeBody {
    /// The body, and how many bytes it will have.
    pub fn new(result: RangeResult, header: &ResponseHeader) -> (usize, Self) {
        let len = result.encoded_len(header);
        let mut small = Vec::new();
        put_header(header, &mut small);
        let held_bytes = result.kvs.capacity() * size_of::<Kv>();
        let RangeResult { kvs, projection, more, count, .. } = result;
        let rest = kvs.into_iter();
        let body = Self {
            small,
            small_sent: 0,
            row: None,
            row_sent: 0,
            rest,
            projection,
            end: Some((more, count)),
            held_bytes,
        };
        (len, body)
    }

    /// The next piece that is ready to be copied; the body must not be at its end.
    fn piece(&mut self) -> &[u8] {
        if self.small_sent == self.small.len()
            && self.row.as_ref().is_none_or(|row| self.row_sent == row.encoded().len())
        {
            self.advance();
        }
        match &self.row {
            Some(row) if self.small_sent == self.small.len() => &row.encoded()[self.row_sent..],
            _ => &self.small[self.small_sent..],
        }
    }

    fn advance(&mut self) {
        self.small.clear();
        (self.small_sent, self.row_sent) = (0, 0);
        self.row = self.rest.next();
        let Some(row) = &self.row else {
            let (more, count) = self.end.take().expect("nobody asks for more than the whole");
            put_int(3, i64::from(more), &mut self.small);
            put_int(4, count, &mut self.small);
            return;
        };
        put_message_head(2, kv_len(row, self.projection), &mut self.small);
        if self.projection != Projection::Full {
            row.encode_keys_only(self.projection == Projection::KeysAndLease, &mut self.small);
            self.row = None;
        }
    }
}

impl Source for RangeBody {
    fn fill(&mut self, out: &mut Vec<u8>, mut len: usize) {
        out.reserve(len);
        while len > 0 {
            let piece = self.piece();
            let taken = piece.len().min(len);
            out.extend_from_slice(&piece[..taken]);
            len -= taken;
            if self.small_sent < self.small.len() { self.small_sent += taken } else { self.row_sent += taken }
        }
    }

    fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}

impl fmt::Debug for RangeBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RangeBody({} rows left)", self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::apply::kv::{self, Context};
    use engine::apply::mvcc::Store;
    use engine::pb::etcdserverpb::{PutRequest, RangeRequest};

    #[test]
    fn any_cut_gives_the_same_bytes() {
        let mut store = Store::new();
        let mut changes = vec![];
        let mut context = Context { lease_exists: &|_| true, answer_wanted: false, lease_changes: &mut changes };
        for index in 0..50usize {
            let value = vec![index as u8; index * index];
            let put = PutRequest { key: format!("k{index:02}").into(), value: value.into(), ..Default::default() };
            kv::apply_put(&mut store, &put, &mut context).expect("a put");
        }
        let header = ResponseHeader { cluster_id: 1, member_id: 2, revision: 51, raft_term: 300 };
        for (keys_only, limit) in [(false, 0), (false, 7), (true, 0), (true, 3)] {
            let request =
                RangeRequest { key: "k".into(), range_end: "l".into(), keys_only, limit, ..Default::default() };
            let range = || store.view().range(&request, usize::MAX).expect("a range");
            let mut whole = Vec::new();
            range().encode(&header, &mut whole);
            for step in [1, 2, 3, 7, 100, 16_384, usize::MAX] {
                let (len, mut body) = RangeBody::new(range(), &header);
                assert_eq!(len, whole.len());
                let mut out = Vec::new();
                while out.len() < len {
                    let part = step.min(len - out.len());
                    body.fill(&mut out, part);
                }
                assert!(out == whole, "keys only {keys_only}, limit {limit}, steps of {step}");
            }
        }
    }
}
