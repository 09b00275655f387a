//! `txn-put`: writes several keys in one transaction, the keys in running order.

use bytes::Bytes;
use engine::pb::etcdserverpb::request_op::Request;
use engine::pb::etcdserverpb::{PutRequest, RequestOp, TxnRequest};
use etcd_uring::client::cli::{Command, Flag, Kind, Matches, write_stdout};
use prost::Message;

use crate::generator::{self, Load};
use crate::keys::{Keys, PREPARED_BYTES_MAX, random_bytes, size};
use crate::settings::Settings;
use crate::{exit, perfdash};

pub static COMMAND: Command = Command {
    name: "txn-put",
    short: "Benchmark txn-put",
    example: "  benchmark --conns=10 --clients=100 txn-put --txn-ops=8 --key-space-size=100000 --total=50000\n",
    flags: &[
        Flag::new("key-size", Kind::Int, "8", "bytes of a key"),
        Flag::new("key-space-size", Kind::Int, "1", "number of different keys"),
        Flag::new("rate", Kind::Int, "0", "largest number of transactions per second (0: no limit)"),
        Flag::new("total", Kind::Int, "10000", "number of transactions"),
        Flag::new("txn-ops", Kind::Int, "1", "keys written in one transaction"),
        Flag::new("val-size", Kind::Int, "8", "bytes of a value"),
    ],
    run: Some(run),
    ..Command::EMPTY
};

fn run(matches: &Matches) -> u8 {
    exit(txn_put(matches))
}

fn txn_put(matches: &Matches) -> Result<(), String> {
    let load = Txns::new(matches)?;
    let settings = Settings::new(matches)?;
    let outcome = generator::run(&settings, &load)?;
    let cpu = outcome.cpu_line(&settings);
    let [report] = outcome.reports(&settings);
    if settings.perfdash {
        write_stdout(perfdash::write(&report, "txn-put").as_bytes());
    }
    write_stdout(format!("{}\n{cpu}", report.text()).as_bytes());
    Ok(())
}

struct Txns {
    keys: Keys,
    ops: u64,
    value: Bytes,
    /// All different transactions, encoded, if they are few enough: the keys repeat after this many.
    prepared: Vec<Bytes>,
}

impl Txns {
    fn new(matches: &Matches) -> Result<Txns, String> {
        let keys = Keys::new(matches)?;
        let ops = size(matches, "txn-ops")? as u64;
        if ops > keys.space {
            let space = keys.space;
            let text = "expected --txn-ops no larger than --key-space-size, got";
            return Err(format!("{text} txn-ops({ops}) key-space-size({space})"));
        }
        let value = Bytes::from(random_bytes(size(matches, "val-size")?)?);
        let mut txns = Txns { keys, ops, value, prepared: Vec::new() };
        let different = keys.space / common_divisor(ops, keys.space);
        let message_bytes = txns.encode(0).len().max(1) as u64;
        if different.saturating_mul(message_bytes) <= PREPARED_BYTES_MAX {
            txns.prepared = (0..different).map(|number| txns.encode(number)).collect();
        }
        Ok(txns)
    }

    fn encode(&self, number: u64) -> Bytes {
        let op = |at: u64| put_op(self.keys.key(number.wrapping_mul(self.ops).wrapping_add(at)), self.value.clone());
        Bytes::from(TxnRequest { success: (0..self.ops).map(op).collect(), ..TxnRequest::default() }.encode_to_vec())
    }
}

pub fn put_op(key: Vec<u8>, value: Bytes) -> RequestOp {
    let put = PutRequest { key: Bytes::from(key), value, ..PutRequest::default() };
    RequestOp { request: Some(Request::Put(put)) }
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if a == 0 { b } else { common_divisor(b % a, a) }
}

impl Load for Txns {
    fn path(&self) -> &'static str {
        "/etcdserverpb.KV/Txn"
    }

    fn message(&self, number: u64) -> Bytes {
        match self.prepared.len() as u64 {
            0 => self.encode(number),
            different => self.prepared[(number % different) as usize].clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    fn txns(line: &str) -> Result<Txns, String> {
        let words: Vec<&str> = line.split(' ').collect();
        Txns::new(&PROGRAM.matches(&words))
    }

    fn first_bytes(txns: &Txns, number: u64) -> Vec<u8> {
        let txn = TxnRequest::decode(txns.message(number)).unwrap();
        assert!(txn.compare.is_empty() && txn.failure.is_empty());
        let key = |op: RequestOp| match op.request {
            Some(Request::Put(put)) => put.key[0],
            other => panic!("{other:?}"),
        };
        txn.success.into_iter().map(key).collect()
    }

    #[test]
    fn keys_run_on_from_one_transaction_to_the_next() {
        let mut txns = txns("txn-put --txn-ops=3 --key-space-size=4").unwrap();
        assert_eq!(txns.prepared.len(), 4);
        let rows = [[0, 2, 4], [6, 0, 2], [4, 6, 0], [2, 4, 6], [0, 2, 4]];
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(first_bytes(&txns, number as u64), row);
        }
        txns.prepared.clear();
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(first_bytes(&txns, number as u64), row);
        }
    }

    #[test]
    fn mistakes() {
        let text = "expected --txn-ops no larger than --key-space-size, got txn-ops(2) key-space-size(1)";
        assert_eq!(txns("txn-put --txn-ops=2").err(), Some(text.to_string()));
        assert!(txns("txn-put --txn-ops=-1").is_err());
        assert!(txns("txn-put --key-space-size=-1").is_err());
        assert!(first_bytes(&txns("txn-put --txn-ops=0").unwrap(), 7).is_empty());
    }
}
