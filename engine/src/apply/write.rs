//! A write under way: a delete or a transaction applied in steps, so that one which touches a million keys leaves room for
//! ticks and heartbeats in between. Owned by the machine, one at a time. All its checks are done before the first step, and
//! nothing of it may be published before the last.

use super::kv::{self, Answer, Context, Error, Outcome, TxnOutcome};
use super::mvcc::{Keys, Kv, LeaseChange, Paused, Store, Txn};
use crate::pb::etcdserverpb::request_op::Request;
use crate::pb::etcdserverpb::{DeleteRangeRequest, RequestOp, TxnRequest};

pub(super) struct Write {
    body: Body,
    paused: Paused,
    deletion: Option<Deletion>,
}

enum Body {
    Delete(DeleteRangeRequest),
    Txn { request: TxnRequest, path: std::vec::IntoIter<bool>, frames: Vec<Frame>, answer_wanted: bool },
}

/// A transaction on the way down to the operation at hand.
struct Frame {
    succeeded: bool,
    /// The operation at hand; in all frames but the last a nested transaction.
    at: usize,
    responses: Vec<Answer>,
}

/// A delete of a range on its way through the keys.
#[derive(Default)]
struct Deletion {
    /// The key to go on at; None before the first step.
    from: Option<Vec<u8>>,
    deleted: i64,
    prev_kvs: Vec<Kv>,
}

impl Write {
    pub fn delete_range(store: &mut Store, request: DeleteRangeRequest) -> Write {
        let paused = store.txn(&mut Vec::new()).pause();
        Write { body: Body::Delete(request), paused, deletion: None }
    }

    /// Checks the whole transaction.
    pub fn txn(store: &mut Store, request: TxnRequest, context: &mut Context<'_>) -> Result<Write, Error> {
        let path = kv::check(store, &request, context)?.into_iter();
        let paused = store.txn(&mut Vec::new()).pause();
        let body = Body::Txn { request, path, frames: Vec::new(), answer_wanted: context.answer_wanted };
        Ok(Write { body, paused, deletion: None })
    }

    /// Goes on until done (the answer) or until `budget_rows` is used up.
    pub fn step(
        &mut self,
        store: &mut Store,
        lease_changes: &mut Vec<LeaseChange>,
        budget_rows: &mut usize,
    ) -> Option<Answer> {
        let mut txn = store.resume(&self.paused, lease_changes);
        let outcome = match &mut self.body {
            Body::Delete(request) => delete_step(&mut txn, request, &mut self.deletion, budget_rows),
            Body::Txn { request, path, frames, answer_wanted } => {
                let mut run =
                    Run { request, path, frames, deletion: &mut self.deletion, answer_wanted: *answer_wanted };
                run.step(&mut txn, budget_rows).map(Outcome::Txn)
            }
        };
        match outcome {
            Some(outcome) => Some(Answer { revision: txn.finish(), outcome }),
            None => {
                self.paused = txn.pause();
                None
            }
        }
    }
}

/// Deletes as many keys as the budget allows; the outcome when none are left.
fn delete_step(
    txn: &mut Txn<'_>,
    request: &DeleteRangeRequest,
    under_way: &mut Option<Deletion>,
    budget_rows: &mut usize,
) -> Option<Outcome> {
    let mut deletion = under_way.take().unwrap_or_else(|| {
        txn.count_delete();
        Deletion::default()
    });
    let all = Keys::new(&request.key, &request.range_end);
    let keys = match (&deletion.from, all) {
        (Some(from), Keys::Range(_, to)) => Keys::Range(from, to),
        _ => all,
    };
    let max = (*budget_rows).max(1);
    let before = deletion.deleted;
    let next = txn.delete_some(keys, max, |row| {
        deletion.deleted += 1;
        if request.prev_kv {
            deletion.prev_kvs.push(row);
        }
    });
    *budget_rows = budget_rows.saturating_sub((deletion.deleted - before) as usize);
    if next.is_some() && !matches!(all, Keys::One(_)) {
        deletion.from = next;
        *under_way = Some(deletion);
        return None;
    }
    Some(Outcome::DeleteRange { deleted: deletion.deleted, prev_kvs: deletion.prev_kvs })
}

struct Run<'w> {
    request: &'w TxnRequest,
    path: &'w mut std::vec::IntoIter<bool>,
    frames: &'w mut Vec<Frame>,
    deletion: &'w mut Option<Deletion>,
    answer_wanted: bool,
}

impl Run<'_> {
    fn step(&mut self, txn: &mut Txn<'_>, budget_rows: &mut usize) -> Option<TxnOutcome> {
        if self.frames.is_empty() {
            self.enter();
        }
        loop {
            let at = self.frames.last().expect("a transaction is under way").at;
            let Some(op) = ops_at(self.request, self.frames).get(at) else {
                let done = self.frames.pop().expect("just looked at");
                let outcome = TxnOutcome { succeeded: done.succeeded, responses: done.responses };
                let Some(parent) = self.frames.last_mut() else { return Some(outcome) };
                // A nested transaction's header is empty in etcd.
                parent.responses.push(Answer { revision: 0, outcome: Outcome::Txn(outcome) });
                parent.at += 1;
                continue;
            };
            if *budget_rows == 0 {
                return None;
            }
            if matches!(op.request, Some(Request::Txn(_))) {
                self.enter();
                continue;
            }
            let outcome = match &op.request {
                Some(Request::DeleteRange(request)) => Some(delete_step(txn, request, self.deletion, budget_rows)?),
                Some(request) => Some(kv::execute_op(txn, request, self.answer_wanted, budget_rows)),
                // Refused before it is proposed; etcd answers an empty operation with nothing.
                None => None,
            };
            let frame = self.frames.last_mut().expect("a transaction is under way");
            frame.responses.extend(outcome.map(|outcome| Answer { revision: txn.revision(), outcome }));
            frame.at += 1;
        }
    }

    /// Begins the transaction at hand: the outermost, or the nested one that the last frame stands at.
    fn enter(&mut self) {
        let succeeded = self.path.next().expect("a decision for every transaction on the path");
        self.frames.push(Frame { succeeded, at: 0, responses: Vec::new() });
        let count = ops_at(self.request, self.frames).len();
        self.frames.last_mut().expect("just pushed").responses.reserve(count);
    }
}

/// The operations of the innermost transaction, found by walking down: nesting is a few levels deep.
fn ops_at<'r>(request: &'r TxnRequest, frames: &[Frame]) -> &'r [RequestOp] {
    let mut ops = kv::branch(request, frames[0].succeeded);
    for pair in frames.windows(2) {
        let Some(Request::Txn(nested)) = &ops[pair[0].at].request else {
            unreachable!("a frame stands at a nested transaction")
        };
        ops = kv::branch(nested, pair[1].succeeded);
    }
    ops
}
