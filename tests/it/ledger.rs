//! What the world outside was told: every put that was acknowledged, kept apart from the server, and the check that a
//! restarted server still has all of it.

use crate::server::{PATIENCE, Server};
use engine::pb::etcdserverpb::{PutRequest, RangeRequest};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// One writer's key: only its owner writes it, values count up.
#[derive(Clone, Debug, Default)]
struct Line {
    attempted: u64,
    acked: u64,
    acked_revision: i64,
}

#[derive(Default)]
pub struct Ledger {
    lines: Mutex<Vec<Line>>,
    pub acks: AtomicU64,
}

fn key(writer: usize) -> String {
    format!("ledger/{writer:04}")
}

/// A value long enough that batches cross block boundaries often; the number stands in front.
fn value(number: u64) -> String {
    format!("{number:020}-{}", "x".repeat((number % 700) as usize))
}

impl Ledger {
    pub fn new(writers: usize) -> Arc<Self> {
        Arc::new(Self { lines: Mutex::new(vec![Line::default(); writers]), acks: AtomicU64::new(0) })
    }

    /// Puts as fast as answers come until the server is gone.
    pub fn write_with(&self, writer: usize, client: &mut etcd_uring::client::Client) {
        loop {
            let number = {
                let mut lines = self.lines.lock().unwrap();
                lines[writer].attempted += 1;
                lines[writer].attempted
            };
            let put = PutRequest { key: key(writer).into(), value: value(number).into(), ..Default::default() };
            let Ok(answer) = client.put(&put, Instant::now() + PATIENCE) else { return };
            let line = &mut self.lines.lock().unwrap()[writer];
            let revision = answer.header.unwrap().revision;
            assert!(revision > line.acked_revision, "revision fell from {} to {revision}", line.acked_revision);
            (line.acked, line.acked_revision) = (number, revision);
            self.acks.fetch_add(1, SeqCst);
        }
    }

    /// Everything acknowledged is there, nothing was invented, and the revision has not fallen.
    pub fn check(&self, server: &Server) {
        let mut client = server.client();
        let lines = self.lines.lock().unwrap().clone();
        for (writer, line) in lines.iter().enumerate() {
            let get = RangeRequest { key: key(writer).into(), ..Default::default() };
            let answer = client.range(&get, Instant::now() + PATIENCE).unwrap();
            let revision = answer.header.unwrap().revision;
            assert!(revision >= line.acked_revision, "store revision {revision} < acked {}", line.acked_revision);
            let Some(kv) = answer.kvs.first() else {
                assert_eq!(line.acked, 0, "{} was acked up to {} and is gone", key(writer), line.acked);
                continue;
            };
            let text = String::from_utf8(kv.value.to_vec()).unwrap();
            let number: u64 = text.split('-').next().unwrap().parse().unwrap();
            assert_eq!(text, value(number), "{}: a torn value", key(writer));
            assert!(number >= line.acked, "{}: acked {}, found {number}", key(writer), line.acked);
            assert!(number <= line.attempted, "{}: {number} was never written", key(writer));
            if number == line.acked {
                assert_eq!(kv.mod_revision, line.acked_revision, "{}", key(writer));
            } else {
                assert!(kv.mod_revision > line.acked_revision, "{}", key(writer));
            }
        }
    }
}
