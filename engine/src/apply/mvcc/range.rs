//! Range as etcd answers it: which rows are fetched, in what order filters, sorting and the limit act, what is counted.
//! Reads only; the result holds handles of rows, never copies.

use super::Error;
use super::row::Kv;
use super::state::{Keys, State};
use crate::pb::etcdserverpb::{RangeRequest, SortOrder, SortTarget};

/// What of each row goes into the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    Full,
    /// keys_only as etcd 3.7 answers it from its index: no value, and no lease either.
    KeysOnly,
    /// keys_only with an order by value, which etcd answers from the rows: no value, but the lease.
    KeysAndLease,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RangeResult {
    /// The current revision, whichever was read: it goes into the answer's header.
    pub revision: i64,
    /// Keys in the range, whatever the limit and the filters.
    pub count: i64,
    pub more: bool,
    pub kvs: Vec<Kv>,
    pub projection: Projection,
    /// The byte budget ended the answer early; `more` is set too.
    pub cut: bool,
}

impl RangeResult {
    pub fn keys_only(&self) -> bool {
        self.projection != Projection::Full
    }

    fn kv_bytes(projection: Projection, kv: &Kv) -> usize {
        match projection {
            Projection::Full => kv.encoded().len(),
            Projection::KeysOnly => kv.encoded_len_keys_only(false),
            Projection::KeysAndLease => kv.encoded_len_keys_only(true),
        }
    }
}

/// The plain order is the index's own: nothing is sorted, and the limit can stop the fetch.
pub fn is_default_order(request: &RangeRequest) -> bool {
    request.sort_order == SortOrder::None as i32
        || (request.sort_target == SortTarget::Key as i32 && request.sort_order == SortOrder::Ascend as i32)
}

pub fn has_revision_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

impl State {
    /// `bytes_max` ends the fetch of a plainly ordered answer once its rows hold that many bytes (at least one row is
    /// answered). Other orders need all rows before the first can be answered and are not cut.
    pub fn range(&self, request: &RangeRequest, bytes_max: usize) -> Result<RangeResult, Error> {
        let revision = self.revision_to_read(request.revision)?;
        let keys = Keys::new(&request.key, &request.range_end);
        let projection = projection(request);
        let mut result =
            RangeResult { revision: self.revision, count: 0, more: false, kvs: Vec::new(), projection, cut: false };
        if request.count_only {
            result.count = self.count(keys, revision) as i64;
            return Ok(result);
        }
        let plain = is_default_order(request) && !has_revision_filters(request);
        let limit = usize::try_from(request.limit).unwrap_or(0);
        // One more than the limit tells whether something is left, and takes part in the sort below as it does in etcd.
        let fetch_max = if plain && limit > 0 { limit.saturating_add(1) } else { usize::MAX };
        let complete = self.fetch(keys, revision, fetch_max, if plain { bytes_max } else { usize::MAX }, &mut result);
        result.count = if complete { result.kvs.len() as i64 } else { self.count(keys, revision) as i64 };
        filter(request, &mut result.kvs);
        sort(request, &mut result.kvs);
        if limit > 0 && result.kvs.len() > limit {
            result.kvs.truncate(limit);
            result.more = true;
        }
        Ok(result)
    }

    /// True if every live row of the range was fetched.
    fn fetch(
        &self,
        keys: Keys<'_>,
        revision: i64,
        rows_max: usize,
        bytes_max: usize,
        result: &mut RangeResult,
    ) -> bool {
        let mut bytes = 0usize;
        let mut complete = true;
        let RangeResult { kvs, projection, cut, more, .. } = result;
        self.visit(keys, revision, |row| {
            if kvs.len() >= rows_max {
                complete = false;
                return false;
            }
            if bytes_max != usize::MAX {
                bytes = bytes.saturating_add(RangeResult::kv_bytes(*projection, row));
                if bytes > bytes_max && !kvs.is_empty() {
                    (complete, *cut, *more) = (false, true, true);
                    return false;
                }
            }
            kvs.push(row.clone());
            true
        });
        complete
    }
}

fn projection(request: &RangeRequest) -> Projection {
    match (request.keys_only, request.sort_target == SortTarget::Value as i32) {
        (false, _) => Projection::Full,
        (true, false) => Projection::KeysOnly,
        (true, true) => Projection::KeysAndLease,
    }
}

fn filter(request: &RangeRequest, kvs: &mut Vec<Kv>) {
    if !has_revision_filters(request) {
        return;
    }
    let within = |value: i64, min: i64, max: i64| (max == 0 || value <= max) && (min == 0 || value >= min);
    kvs.retain(|kv| {
        within(kv.mod_revision(), request.min_mod_revision, request.max_mod_revision)
            && within(kv.create_revision(), request.min_create_revision, request.max_create_revision)
    });
}

fn sort(request: &RangeRequest, kvs: &mut [Kv]) {
    let by_key = request.sort_target == SortTarget::Key as i32;
    let descending = request.sort_order == SortOrder::Descend as i32;
    // Rows come in key order. An order by something else is ascending even if none was asked for.
    if by_key && !descending {
        return;
    }
    let target = SortTarget::try_from(request.sort_target).unwrap_or(SortTarget::Key);
    // Stable, so that ties stay in key order: etcd's order of ties is undefined, and this is what it gives for few rows.
    kvs.sort_by(|a, b| {
        let order = match target {
            SortTarget::Key => a.key().cmp(b.key()),
            SortTarget::Version => a.version().cmp(&b.version()),
            SortTarget::Create => a.create_revision().cmp(&b.create_revision()),
            SortTarget::Mod => a.mod_revision().cmp(&b.mod_revision()),
            SortTarget::Value => a.value().cmp(b.value()),
        };
        if descending { order.reverse() } else { order }
    });
}
