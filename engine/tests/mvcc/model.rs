//! The naive model: every version of every key in plain vectors, answers computed the long way. It must share no code with the
//! store it judges.

use bytes::Bytes;
use engine::pb::etcdserverpb::compare::TargetUnion;
use engine::pb::etcdserverpb::request_op::Request;
use engine::pb::etcdserverpb::response_op::Response;
use engine::pb::etcdserverpb::*;
use engine::pb::mvccpb::KeyValue;
use prost::Message;
use std::collections::{BTreeMap, HashSet};

#[derive(Clone, Debug)]
pub struct Version {
    pub main: i64,
    pub sub: i64,
    pub tombstone: bool,
    pub kv: KeyValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Compacted,
    FutureRev,
    KeyNotFound,
    LeaseNotFound,
}

pub struct Model {
    pub keys: BTreeMap<Vec<u8>, Vec<Version>>,
    pub revision: i64,
    pub compacted: i64,
    pub leases: HashSet<i64>,
    sub: i64,
}

impl Model {
    pub fn new(leases: &[i64]) -> Model {
        let leases = leases.iter().copied().collect();
        Model { keys: BTreeMap::new(), revision: 1, compacted: -1, leases, sub: 0 }
    }

    fn current(&self) -> i64 {
        self.revision + i64::from(self.sub > 0)
    }

    fn last_at(versions: &[Version], revision: i64) -> Option<&Version> {
        versions.iter().rev().find(|version| version.main <= revision)
    }

    pub fn live(&self, key: &[u8], end: &[u8], revision: i64) -> Vec<KeyValue> {
        let inside = |k: &[u8]| match end {
            [] => k == key,
            [0] => k >= key,
            end => k >= key && k < end,
        };
        let versions = self.keys.iter().filter(|(k, _)| inside(k)).map(|(_, versions)| versions);
        versions
            .filter_map(|versions| Model::last_at(versions, revision))
            .filter(|version| !version.tombstone)
            .map(|version| version.kv.clone())
            .collect()
    }

    fn get(&self, key: &[u8]) -> Option<KeyValue> {
        self.live(key, &[], i64::MAX).pop()
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Failure> {
        let current = self.current();
        if request.revision > current {
            return Err(Failure::FutureRev);
        }
        let revision = if request.revision <= 0 { current } else { request.revision };
        if revision < self.compacted {
            return Err(Failure::Compacted);
        }
        let header = Some(ResponseHeader { revision: current, ..Default::default() });
        let mut kvs = self.live(&request.key, &request.range_end, revision);
        let count = kvs.len() as i64;
        if request.count_only {
            return Ok(RangeResponse { header, kvs: vec![], more: false, count });
        }
        let (order, target) = (request.sort_order(), request.sort_target());
        let plain = order == SortOrder::None || (order == SortOrder::Ascend && target == SortTarget::Key);
        let filters = [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ];
        if plain && filters == [0; 4] && request.limit > 0 {
            kvs.truncate(request.limit as usize + 1);
        }
        kvs.retain(|kv| filters[0] == 0 || kv.mod_revision >= filters[0]);
        kvs.retain(|kv| filters[1] == 0 || kv.mod_revision <= filters[1]);
        kvs.retain(|kv| filters[2] == 0 || kv.create_revision >= filters[2]);
        kvs.retain(|kv| filters[3] == 0 || kv.create_revision <= filters[3]);
        match target {
            SortTarget::Key => kvs.sort_by(|a, b| a.key.cmp(&b.key)),
            SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
            SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
            SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
            SortTarget::Value => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
        }
        if order == SortOrder::Descend {
            // Ties stay in key order.
            kvs.reverse();
            kvs.sort_by(|a, b| match target {
                SortTarget::Key => b.key.cmp(&a.key),
                SortTarget::Version => b.version.cmp(&a.version).then(a.key.cmp(&b.key)),
                SortTarget::Create => b.create_revision.cmp(&a.create_revision).then(a.key.cmp(&b.key)),
                SortTarget::Mod => b.mod_revision.cmp(&a.mod_revision).then(a.key.cmp(&b.key)),
                SortTarget::Value => b.value.cmp(&a.value).then(a.key.cmp(&b.key)),
            });
        }
        let more = request.limit > 0 && kvs.len() > request.limit as usize;
        if more {
            kvs.truncate(request.limit as usize);
        }
        if request.keys_only {
            for kv in &mut kvs {
                kv.value = Bytes::new();
                if target != SortTarget::Value {
                    kv.lease = 0;
                }
            }
        }
        Ok(RangeResponse { header, kvs, more, count })
    }

    fn write(&mut self, key: &[u8], kv: KeyValue, tombstone: bool) {
        let version = Version { main: self.revision + 1, sub: self.sub, tombstone, kv };
        self.keys.entry(key.to_vec()).or_default().push(version);
        self.sub += 1;
    }

    fn finish(&mut self) -> i64 {
        self.revision = self.current();
        self.sub = 0;
        self.revision
    }

    fn check_put(&self, request: &PutRequest) -> Result<(), Failure> {
        if request.lease != 0 && !self.leases.contains(&request.lease) {
            return Err(Failure::LeaseNotFound);
        }
        if (request.ignore_value || request.ignore_lease) && self.get(&request.key).is_none() {
            return Err(Failure::KeyNotFound);
        }
        Ok(())
    }

    fn do_put(&mut self, request: &PutRequest) -> PutResponse {
        let old = self.get(&request.key);
        let mut kv = KeyValue {
            key: request.key.clone(),
            value: request.value.clone(),
            lease: request.lease,
            mod_revision: self.revision + 1,
            create_revision: self.revision + 1,
            version: 1,
        };
        if let Some(old) = &old {
            kv.create_revision = old.create_revision;
            kv.version = old.version + 1;
        }
        if request.ignore_value {
            kv.value = old.as_ref().map(|old| old.value.clone()).unwrap_or_default();
        }
        if request.ignore_lease {
            kv.lease = old.as_ref().map_or(0, |old| old.lease);
        }
        self.write(&request.key, kv, false);
        PutResponse { header: self.header(), prev_kv: old.filter(|_| request.prev_kv) }
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.current(), ..Default::default() })
    }

    fn do_delete(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let doomed = self.live(&request.key, &request.range_end, i64::MAX);
        for kv in &doomed {
            self.write(&kv.key, KeyValue { key: kv.key.clone(), ..Default::default() }, true);
        }
        let deleted = doomed.len() as i64;
        DeleteRangeResponse { header: self.header(), deleted, prev_kvs: if request.prev_kv { doomed } else { vec![] } }
    }

    pub fn put(&mut self, request: &PutRequest) -> Result<PutResponse, Failure> {
        self.check_put(request)?;
        let response = self.do_put(request);
        self.finish();
        Ok(response)
    }

    pub fn delete(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let response = self.do_delete(request);
        self.finish();
        response
    }

    pub fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Failure> {
        let plan = self.plan(request);
        self.check(&plan)?;
        let mut response = self.run(&plan);
        response.header = Some(ResponseHeader { revision: self.finish(), ..Default::default() });
        Ok(response)
    }

    fn plan<'r>(&self, request: &'r TxnRequest) -> Plan<'r> {
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &request.success } else { &request.failure };
        let nested = |op: &'r RequestOp| match &op.request {
            Some(Request::Txn(nested)) => Some(self.plan(nested)),
            _ => None,
        };
        Plan { succeeded, ops: ops.iter().map(|op| (op, nested(op))).collect() }
    }

    fn check(&self, plan: &Plan<'_>) -> Result<(), Failure> {
        for (op, nested) in &plan.ops {
            match (&op.request, nested) {
                (Some(Request::Range(range)), _) if range.revision != 0 => {
                    if range.revision > self.revision {
                        return Err(Failure::FutureRev);
                    }
                    if range.revision < self.compacted {
                        return Err(Failure::Compacted);
                    }
                }
                (Some(Request::Put(put)), _) => self.check_put(put)?,
                (_, Some(nested)) => self.check(nested)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn run(&mut self, plan: &Plan<'_>) -> TxnResponse {
        let mut responses = vec![];
        for (op, nested) in &plan.ops {
            let response = match (&op.request, nested) {
                (Some(Request::Range(range)), _) => Response::Range(self.range(range).unwrap()),
                (Some(Request::Put(put)), _) => Response::Put(self.do_put(put)),
                (Some(Request::DeleteRange(delete)), _) => Response::DeleteRange(self.do_delete(delete)),
                (_, Some(nested)) => Response::Txn(self.run(nested)),
                _ => unreachable!(),
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        TxnResponse { header: Some(ResponseHeader::default()), succeeded: plan.succeeded, responses }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found = self.live(&compare.key, &compare.range_end, i64::MAX);
        if found.is_empty() {
            return compare.target() != CompareTarget::Value && holds_for(compare, &KeyValue::default());
        }
        found.iter().all(|kv| holds_for(compare, kv))
    }

    pub fn compact(&mut self, revision: i64) -> Result<(), Failure> {
        if revision <= self.compacted {
            return Err(Failure::Compacted);
        }
        if revision > self.revision {
            return Err(Failure::FutureRev);
        }
        self.compacted = revision;
        Ok(())
    }

    /// Rows that a compaction to `compacted` leaves in the file, in file order.
    fn file_rows(&self, compacted: i64) -> Vec<&Version> {
        let mut rows: Vec<&Version> = vec![];
        for versions in self.keys.values() {
            let newest = versions.iter().rposition(|version| version.main <= compacted);
            for (index, version) in versions.iter().enumerate() {
                let survives = Some(index) == newest && (!version.tombstone || version.main == compacted);
                if version.main > compacted || survives {
                    rows.push(version);
                }
            }
        }
        rows.sort_by_key(|version| (version.main, version.sub));
        rows
    }

    /// HashKV as the rule is written: over the file after a compaction to `compacted`, with the rows to keep at `revision`.
    /// `tombstones`: a compaction also keeps tombstones at its own revision.
    pub fn hash(&self, compacted: i64, revision: i64, tombstones: bool) -> u32 {
        let mut keep = HashSet::new();
        for versions in self.keys.values() {
            if let Some(version) = Model::last_at(versions, revision)
                && (!version.tombstone || (tombstones && version.main == revision))
            {
                keep.insert((version.main, version.sub));
            }
        }
        let mut bytes = b"key".to_vec();
        for row in self.file_rows(compacted) {
            let hidden = row.main <= compacted && !keep.is_empty() && !keep.contains(&(row.main, row.sub));
            if row.main > revision || hidden || (row.main == compacted && row.tombstone) {
                continue;
            }
            bytes.extend(row.main.to_be_bytes());
            bytes.push(b'_');
            bytes.extend(row.sub.to_be_bytes());
            if row.tombstone {
                bytes.push(b't');
            }
            bytes.extend(row.kv.encode_to_vec());
        }
        crc32c::crc32c(&bytes)
    }
}

struct Plan<'r> {
    succeeded: bool,
    ops: Vec<(&'r RequestOp, Option<Plan<'r>>)>,
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let union = compare.target_union.as_ref();
    let order = match compare.target() {
        CompareTarget::Value => {
            let wanted = if let Some(TargetUnion::Value(v)) = union { v.clone() } else { Bytes::new() };
            kv.value.cmp(&wanted)
        }
        CompareTarget::Version => kv.version.cmp(&if let Some(TargetUnion::Version(v)) = union { *v } else { 0 }),
        CompareTarget::Create => {
            kv.create_revision.cmp(&if let Some(TargetUnion::CreateRevision(v)) = union { *v } else { 0 })
        }
        CompareTarget::Mod => kv.mod_revision.cmp(&if let Some(TargetUnion::ModRevision(v)) = union { *v } else { 0 }),
        CompareTarget::Lease => kv.lease.cmp(&if let Some(TargetUnion::Lease(v)) = union { *v } else { 0 }),
    };
    match compare.result() {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
