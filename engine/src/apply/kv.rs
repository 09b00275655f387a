//! KV requests against the store: range, put, delete, txn, compaction. Called by apply only, and for read-only transactions by
//! shards. Everything that can fail is found before the first mutation: a write that fails midway would set members apart.

use super::mvcc::{self, Keys, Kv, LeaseChange, Projection, RangeResult, Store, Txn, View};
use super::write::Write;
use crate::pb::etcdserverpb::compare::TargetUnion;
use crate::pb::etcdserverpb::request_op::Request;
use crate::pb::etcdserverpb::{
    CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    Compacted,
    FutureRev,
    KeyNotFound,
    LeaseNotFound,
}

impl From<mvcc::Error> for Error {
    fn from(error: mvcc::Error) -> Error {
        match error {
            mvcc::Error::Compacted => Error::Compacted,
            mvcc::Error::FutureRev => Error::FutureRev,
        }
    }
}

/// What a request did, with the revision its header carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub revision: i64,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Range(RangeResult),
    /// `prev` only if asked for and there was one.
    Put {
        prev: Option<Kv>,
    },
    /// `prev_kvs` only if asked for.
    DeleteRange {
        deleted: i64,
        prev_kvs: Vec<Kv>,
    },
    Txn(TxnOutcome),
    Compact,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TxnOutcome {
    pub succeeded: bool,
    /// One per operation of the branch taken. A nested transaction's header is empty in etcd: its revision here is 0.
    pub responses: Vec<Answer>,
}

/// What applying needs from its surroundings.
pub struct Context<'a> {
    pub lease_exists: &'a dyn Fn(i64) -> bool,
    /// Somebody waits for the answer here. If not, range operations of a transaction are checked but not executed, as in etcd.
    pub answer_wanted: bool,
    /// Attachments that changed are appended, in order.
    pub lease_changes: &'a mut Vec<LeaseChange>,
}

pub fn apply_put(store: &mut Store, request: &PutRequest, context: &mut Context<'_>) -> Result<Answer, Error> {
    check_put(request, &|key| store.get(key).is_some(), context.lease_exists)?;
    let mut txn = store.txn(context.lease_changes);
    let outcome = put(&mut txn, request);
    Ok(Answer { revision: txn.finish(), outcome })
}

pub fn apply_delete_range(store: &mut Store, request: &DeleteRangeRequest, context: &mut Context<'_>) -> Answer {
    let mut write = Write::delete_range(store, request.clone());
    write.step(store, context.lease_changes, &mut usize::MAX.clone()).expect("no budget ends it")
}

/// A range that went through the log; ordinary ones are answered by a `mvcc::Reader`.
pub fn apply_range(store: &Store, request: &RangeRequest) -> Result<Answer, Error> {
    read_range(&store.view(), request)
}

pub fn read_range(view: &View, request: &RangeRequest) -> Result<Answer, Error> {
    let result = view.range(request, usize::MAX)?;
    Ok(Answer { revision: result.revision, outcome: Outcome::Range(result) })
}

pub fn apply_compaction(store: &mut Store, request: &CompactionRequest) -> Result<Answer, Error> {
    store.compact(request.revision)?;
    Ok(Answer { revision: store.revision(), outcome: Outcome::Compact })
}

pub fn apply_txn(store: &mut Store, request: &TxnRequest, context: &mut Context<'_>) -> Result<Answer, Error> {
    let mut write = Write::txn(store, request.clone(), context)?;
    Ok(write.step(store, context.lease_changes, &mut usize::MAX.clone()).expect("no budget ends it"))
}

/// Checks a transaction whole; the branches to take, depth first. The view it looks at is let go before the first mutation:
/// index nodes it shares would have to be copied.
pub(super) fn check(store: &Store, request: &TxnRequest, context: &Context<'_>) -> Result<Vec<bool>, Error> {
    let view = store.view();
    let path = choose_branches(&view, request);
    check_txn(&view, request, &mut path.iter().copied(), context.lease_exists)?;
    Ok(path)
}

/// A transaction of plain ranges only (`is_read_only`) on a published state.
pub fn read_txn(view: &View, request: &TxnRequest) -> Result<Answer, Error> {
    let path = choose_branches(view, request);
    check_txn(view, request, &mut path.iter().copied(), &|_| true)?;
    let mut responses = Vec::new();
    for op in branch(request, path[0]) {
        match &op.request {
            Some(Request::Range(range)) => responses.push(read_range(view, range)?),
            other => unreachable!("a read-only transaction holds {other:?}"),
        }
    }
    let outcome = Outcome::Txn(TxnOutcome { succeeded: path[0], responses });
    Ok(Answer { revision: view.revision(), outcome })
}

/// Only plain ranges in either branch: such a transaction never enters the log. A nested one makes it a write.
pub fn is_read_only(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| matches!(op.request, Some(Request::Range(_))))
}

/// Read-only, and every range is serializable: a local read will do.
pub fn is_serializable(request: &TxnRequest) -> bool {
    let serializable = |op: &RequestOp| matches!(&op.request, Some(Request::Range(range)) if range.serializable);
    request.success.iter().chain(&request.failure).all(serializable)
}

pub(super) fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded { &request.success } else { &request.failure }
}

/// Evaluates the comparisons of a transaction and of those nested in the branches taken, depth first: all of them see the state
/// before anything is written.
fn choose_branches(view: &View, request: &TxnRequest) -> Vec<bool> {
    fn walk(view: &View, request: &TxnRequest, path: &mut Vec<bool>) {
        let succeeded = request.compare.iter().all(|compare| holds(view, compare));
        path.push(succeeded);
        for op in branch(request, succeeded) {
            if let Some(Request::Txn(nested)) = &op.request {
                walk(view, nested, path);
            }
        }
    }
    let mut path = Vec::new();
    walk(view, request, &mut path);
    path
}

fn holds(view: &View, compare: &Compare) -> bool {
    let mut found = false;
    let mut all_hold = true;
    view.visit(Keys::new(&compare.key, &compare.range_end), |kv| {
        found = true;
        all_hold = holds_for(compare, Some(kv));
        all_hold
    });
    // Nothing there counts as zero everywhere, but a missing value equals no value, not even an empty one.
    if found { all_hold } else { compare.target != CompareTarget::Value as i32 && holds_for(compare, None) }
}

fn holds_for(compare: &Compare, kv: Option<&Kv>) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let order = match (CompareTarget::try_from(compare.target), &compare.target_union) {
        (Ok(CompareTarget::Value), union) => {
            let wanted: &[u8] = if let Some(TargetUnion::Value(value)) = union { value } else { &[] };
            kv.map_or(&[][..], Kv::value).cmp(wanted)
        }
        (Ok(target), union) => {
            let (held, wanted) = match (target, union) {
                (CompareTarget::Create, Some(TargetUnion::CreateRevision(v))) => {
                    (Kv::create_revision as fn(&Kv) -> i64, *v)
                }
                (CompareTarget::Create, _) => (Kv::create_revision as fn(&Kv) -> i64, 0),
                (CompareTarget::Mod, Some(TargetUnion::ModRevision(v))) => (Kv::mod_revision as _, *v),
                (CompareTarget::Mod, _) => (Kv::mod_revision as _, 0),
                (CompareTarget::Version, Some(TargetUnion::Version(v))) => (Kv::version as _, *v),
                (CompareTarget::Version, _) => (Kv::version as _, 0),
                (CompareTarget::Lease, Some(TargetUnion::Lease(v))) => (Kv::lease as _, *v),
                (CompareTarget::Lease | CompareTarget::Value, _) => (Kv::lease as _, 0),
            };
            kv.map_or(0, held).cmp(&wanted)
        }
        (Err(_), _) => Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order == Equal,
        Ok(CompareResult::NotEqual) => order != Equal,
        Ok(CompareResult::Greater) => order == Greater,
        Ok(CompareResult::Less) => order == Less,
        // A result nobody knows holds in etcd.
        Err(_) => true,
    }
}

/// Everything on the path taken that could fail.
fn check_txn(
    view: &View,
    request: &TxnRequest,
    path: &mut impl Iterator<Item = bool>,
    lease_exists: &dyn Fn(i64) -> bool,
) -> Result<(), Error> {
    let succeeded = path.next().expect("a decision for every transaction on the path");
    for op in branch(request, succeeded) {
        match &op.request {
            Some(Request::Range(range)) => check_range(view, range.revision)?,
            Some(Request::Put(put)) => check_put(put, &|key| view.get(key).is_some(), lease_exists)?,
            Some(Request::Txn(nested)) => check_txn(view, nested, path, lease_exists)?,
            Some(Request::DeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

/// Inside a transaction a negative revision is compared like any other: -1 passes until the first compaction.
fn check_range(view: &View, revision: i64) -> Result<(), Error> {
    match revision {
        0 => Ok(()),
        r if r > view.revision() => Err(Error::FutureRev),
        r if r < view.compacted_revision() => Err(Error::Compacted),
        _ => Ok(()),
    }
}

fn check_put(
    request: &PutRequest,
    exists: &dyn Fn(&[u8]) -> bool,
    lease_exists: &dyn Fn(i64) -> bool,
) -> Result<(), Error> {
    if request.lease != 0 && !lease_exists(request.lease) {
        return Err(Error::LeaseNotFound);
    }
    if (request.ignore_value || request.ignore_lease) && !exists(&request.key) {
        return Err(Error::KeyNotFound);
    }
    Ok(())
}

fn put(txn: &mut Txn<'_>, request: &PutRequest) -> Outcome {
    // The key was there when the request was checked. An earlier operation of the same transaction may have deleted it (a
    // delete without upper bound is not seen as overlapping), which kills an etcd member; here it counts as empty.
    let kept = if request.ignore_value || request.ignore_lease { txn.get(&request.key) } else { None };
    let value = if request.ignore_value { kept.as_ref().map_or(&[][..], Kv::value) } else { &request.value };
    let lease = if request.ignore_lease { kept.as_ref().map_or(0, Kv::lease) } else { request.lease };
    let prev = txn.put(&request.key, value, lease);
    Outcome::Put { prev: prev.filter(|_| request.prev_kv) }
}

/// One operation of a transaction that is neither a delete nor nested. A range counts its rows against the budget.
pub(super) fn execute_op(txn: &mut Txn<'_>, op: &Request, answer_wanted: bool, budget_rows: &mut usize) -> Outcome {
    let (outcome, rows) = match op {
        Request::Range(range) => {
            let result = range_in_txn(txn, range, answer_wanted);
            let rows = result.kvs.len();
            (Outcome::Range(result), rows)
        }
        Request::Put(request) => (put(txn, request), 1),
        Request::DeleteRange(_) | Request::Txn(_) => unreachable!("these are walked through in steps"),
    };
    *budget_rows = budget_rows.saturating_sub(rows);
    outcome
}

fn range_in_txn(txn: &Txn<'_>, request: &RangeRequest, answer_wanted: bool) -> RangeResult {
    if answer_wanted {
        return txn.range(request, usize::MAX).expect("revisions were checked before the first mutation");
    }
    let revision = txn.revision();
    RangeResult { revision, count: 0, more: false, kvs: Vec::new(), projection: Projection::Full, cut: false }
}
