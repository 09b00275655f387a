//! `txn-mixed`: reads and writes, each a transaction of one request, mixed at random in a given ratio and reported
//! apart.

use bytes::Bytes;
use engine::pb::etcdserverpb::request_op::Request;
use engine::pb::etcdserverpb::{RangeRequest, RequestOp, TxnRequest};
use etcd_uring::client::cli::{Command, Flag, Kind, Matches, write_stdout};
use prost::Message;

use crate::generator::{self, Load};
use crate::keys::{Keys, PREPARED_BYTES_MAX, mix, random_bytes, seed, size};
use crate::settings::Settings;
use crate::txn_put::put_op;
use crate::{exit, perfdash};

pub static COMMAND: Command = Command {
    name: "txn-mixed",
    operands: "key [end-range]",
    short: "Benchmark a mixed load of txn-put & txn-range.",
    long: "Benchmark a mixed load of txn-put & txn-range.\n\
           A read asks for all keys up to --limit, as etcd's tool does; key and end-range are accepted and not used.",
    example: "  benchmark --conns=100 --clients=1000 txn-mixed --rw-ratio=4 --limit=10 --key-space-size=100000 ''\n",
    flags: &[
        Flag::new("consistency", Kind::Text, "l", "Linearizable(l) or Serializable(s)"),
        Flag::new("end-key", Kind::Text, "", "accepted; a read asks for all keys up to --limit"),
        Flag::new("key-size", Kind::Int, "8", "bytes of a key"),
        Flag::new("key-space-size", Kind::Int, "1", "number of different keys"),
        Flag::new("limit", Kind::Int, "1000", "largest number of keys in the answer to a read"),
        Flag::new("rate", Kind::Int, "0", "largest number of transactions per second (0: no limit)"),
        Flag::new("rw-ratio", Kind::Float, "1", "reads per write"),
        Flag::new("total", Kind::Int, "10000", "number of transactions"),
        Flag::new("val-size", Kind::Int, "8", "bytes of a value"),
    ],
    run: Some(run),
    ..Command::EMPTY
};

/// Which report a request goes to.
const READ: usize = 0;
const WRITE: usize = 1;

fn run(matches: &Matches) -> u8 {
    exit(txn_mixed(matches))
}

fn txn_mixed(matches: &Matches) -> Result<(), String> {
    let load = Mixed::new(matches)?;
    let settings = Settings::new(matches)?;
    let kind = if load.serializable { "serializable" } else { "linearizable" };
    write_stdout(format!("bench with {kind} range\n").as_bytes());
    let outcome = generator::run(&settings, &load)?;
    let cpu = outcome.cpu_line(&settings);
    let (reads, writes) = (outcome.results[READ].requests(), outcome.results[WRITE].requests());
    let [read, write] = outcome.reports(&settings);
    if settings.perfdash {
        write_stdout(perfdash::write(&read, "txn-mixed-read").as_bytes());
        write_stdout(perfdash::write(&write, "txn-mixed-write").as_bytes());
    }
    let text = format!(
        "Total Read Ops: {reads}\nDetails:{}\nTotal Write Ops: {writes}\nDetails:{}\n{cpu}",
        read.text(),
        write.text()
    );
    write_stdout(text.as_bytes());
    Ok(())
}

struct Mixed {
    keys: Keys,
    value: Bytes,
    serializable: bool,
    read: Bytes,
    /// Share of reads, as a threshold on the mixed request number.
    reads_below: u64,
    seed: u64,
    /// Encoded writes by key number, if there are few enough.
    prepared: Vec<Bytes>,
}

impl Mixed {
    fn new(matches: &Matches) -> Result<Mixed, String> {
        let keys = Keys::new(matches)?;
        let serializable = match matches.text("consistency") {
            "l" => false,
            "s" => true,
            _ => return Err(matches.program.usage(&matches.path)),
        };
        let ratio = matches.float("rw-ratio");
        if ratio.is_nan() || ratio < 0.0 {
            return Err(format!("expected --rw-ratio of 0 or more, got ({ratio})"));
        }
        let share = if ratio.is_infinite() { 1.0 } else { ratio / (1.0 + ratio) };
        let all = Bytes::from_static(b"\0");
        let (key, range_end, limit) = (all.clone(), all, matches.int("limit"));
        let range = RangeRequest { key, range_end, limit, serializable, ..RangeRequest::default() };
        let mut mixed = Mixed {
            keys,
            value: Bytes::from(random_bytes(size(matches, "val-size")?)?),
            serializable,
            read: encode(RequestOp { request: Some(Request::Range(range)) }),
            reads_below: (share * u64::MAX as f64) as u64,
            seed: seed()?,
            prepared: Vec::new(),
        };
        if keys.space.saturating_mul(mixed.write(0).len() as u64) <= PREPARED_BYTES_MAX {
            mixed.prepared = (0..keys.space).map(|number| mixed.write(number)).collect();
        }
        Ok(mixed)
    }

    fn write(&self, number: u64) -> Bytes {
        encode(put_op(self.keys.key(number), self.value.clone()))
    }
}

fn encode(op: RequestOp) -> Bytes {
    Bytes::from(TxnRequest { success: vec![op], ..TxnRequest::default() }.encode_to_vec())
}

impl Load for Mixed {
    fn path(&self) -> &'static str {
        "/etcdserverpb.KV/Txn"
    }

    fn message(&self, number: u64) -> Bytes {
        if self.class(number) == READ {
            return self.read.clone();
        }
        let key_number = number % self.keys.space;
        self.prepared.get(key_number as usize).cloned().unwrap_or_else(|| self.write(key_number))
    }

    fn classes(&self) -> usize {
        2
    }

    fn class(&self, number: u64) -> usize {
        if mix(self.seed.wrapping_add(number)) < self.reads_below { READ } else { WRITE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    fn mixed(line: &str) -> Result<Mixed, String> {
        let words: Vec<&str> = line.split(' ').collect();
        Mixed::new(&PROGRAM.matches(&words))
    }

    fn reads_of_1000(load: &Mixed) -> usize {
        (0..1000).filter(|number| load.class(*number) == READ).count()
    }

    #[test]
    fn the_ratio_holds() {
        assert_eq!(reads_of_1000(&mixed("txn-mixed --rw-ratio=0").unwrap()), 0);
        assert_eq!(reads_of_1000(&mixed("txn-mixed --rw-ratio=inf").unwrap()), 1000);
        // Ten standard deviations around the expected count, whatever the seed.
        assert!((342..=658).contains(&reads_of_1000(&mixed("txn-mixed").unwrap())));
        assert!((674..=926).contains(&reads_of_1000(&mixed("txn-mixed --rw-ratio=4").unwrap())));
        for line in ["txn-mixed --rw-ratio=-1", "txn-mixed --rw-ratio=nan", "txn-mixed --consistency=x"] {
            assert!(mixed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn requests() {
        let read = mixed("txn-mixed a b --rw-ratio=inf --limit=7 --consistency=s --end-key=c").unwrap();
        let range = RangeRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            limit: 7,
            serializable: true,
            ..RangeRequest::default()
        };
        let txn = TxnRequest::decode(read.message(5)).unwrap();
        assert_eq!(txn.success, [RequestOp { request: Some(Request::Range(range)) }]);
        let mut write = mixed("txn-mixed --rw-ratio=0 --key-space-size=3").unwrap();
        let second = TxnRequest::decode(write.message(4)).unwrap();
        assert_eq!(second.success, [put_op(vec![2, 0, 0, 0, 0, 0, 0, 0], write.value.clone())]);
        write.prepared.clear();
        assert_eq!(TxnRequest::decode(write.message(4)).unwrap(), second);
    }
}
