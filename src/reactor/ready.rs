//! Outcomes known without asking the kernel, waiting for the next turn. Owned by one reactor: a handler is only ever called
//! from `turn`, never from within `send`, `connect` or `file`.

use super::slots::Slots;
use super::{ConnId, Handler};
use engine::disk::AlignedBuf;
use std::collections::VecDeque;

pub(super) enum Outcome {
    Sent { conn: ConnId, buf: Vec<u8>, result: Result<(), i32> },
    Connected { conn: ConnId, errno: i32 },
    Closed { conn: ConnId, errno: i32 },
    FileDone { id: u64, result: Result<usize, i32>, buf: Option<AlignedBuf> },
}

/// Delivers what waits, except to connections closed meanwhile. A connection that failed to come up is forgotten.
pub(super) fn deliver<C, H: Handler>(ready: &mut VecDeque<Outcome>, conns: &mut Slots<C>, handler: &mut H) {
    for outcome in ready.drain(..) {
        match outcome {
            Outcome::Sent { conn, buf, result } => {
                if conns.contains(conn.0) {
                    handler.sent(conn, buf, result);
                }
            }
            Outcome::Connected { conn, errno } => {
                if conns.remove(conn.0).is_some() {
                    handler.connected(conn, Err(errno));
                }
            }
            Outcome::Closed { conn, errno } => {
                if conns.contains(conn.0) {
                    handler.closed(conn, Some(errno));
                }
            }
            Outcome::FileDone { id, result, buf } => handler.file_done(id, result, buf),
        }
    }
}
