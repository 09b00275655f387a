//! `put`: writes keys of a fixed size with one fixed random value.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::pb::etcdserverpb::{PutRequest, RangeRequest};
use etcd_uring::client::cli::{Command, Flag, Kind, Matches, write_stderr, write_stdout};
use etcd_uring::client::gotext;
use prost::Message;

use crate::generator::{self, Load};
use crate::keys::{Keys, PREPARED_BYTES_MAX, mix, random_bytes, seed, size};
use crate::settings::{Settings, side_deadline};
use crate::{exit, perfdash};

pub static COMMAND: Command = Command {
    name: "put",
    short: "Benchmark put",
    flags: &[
        Flag::new("check-hashkv", Kind::Bool, "false", "print the hash of the key history after the run"),
        Flag::new("compact-index-delta", Kind::Int, "1000", "revisions that a compaction during the run keeps"),
        Flag::new("compact-interval", Kind::Duration, "0s", "time between compactions during the run (0: none)"),
        Flag::new("key-size", Kind::Int, "8", "bytes of a key"),
        Flag::new("key-space-size", Kind::Int, "1", "number of different keys"),
        Flag::new("rate", Kind::Int, "0", "largest number of requests per second (0: no limit)"),
        Flag::new("sequential-keys", Kind::Bool, "false", "take the keys in order instead of at random"),
        Flag::new("total", Kind::Int, "10000", "number of requests"),
        Flag::new("val-size", Kind::Int, "8", "bytes of a value"),
    ],
    run: Some(run),
    ..Command::EMPTY
};

/// How often the compacting thread looks whether the run is over.
const COMPACT_POLL: Duration = Duration::from_millis(50);

fn run(matches: &Matches) -> u8 {
    exit(put(matches))
}

fn put(matches: &Matches) -> Result<(), String> {
    let load = Puts::new(matches)?;
    let settings = Settings::new(matches)?;
    let interval = Duration::from_nanos(matches.duration_ns("compact-interval").max(0) as u64);
    let delta = matches.int("compact-index-delta");
    let over = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        if !interval.is_zero() {
            scope.spawn(|| compact(&settings, interval, delta, &over));
        }
        let outcome = generator::run(&settings, &load);
        over.store(true, Ordering::Relaxed);
        outcome
    })?;
    let cpu = outcome.cpu_line(&settings);
    let [report] = outcome.reports(&settings);
    if settings.perfdash {
        write_stdout(perfdash::write(&report, "put").as_bytes());
    }
    write_stdout(format!("{}\n", report.text()).as_bytes());
    if matches.bool("check-hashkv") {
        write_stdout(hashkv(&settings)?.as_bytes());
    }
    write_stdout(cpu.as_bytes());
    Ok(())
}

struct Puts {
    keys: Keys,
    sequential: bool,
    value: Bytes,
    seed: u64,
    /// Encoded requests by key number, if there are few enough.
    prepared: Vec<Bytes>,
}

impl Puts {
    fn new(matches: &Matches) -> Result<Puts, String> {
        let keys = Keys::new(matches)?;
        let mut puts = Puts {
            keys,
            sequential: matches.bool("sequential-keys"),
            value: Bytes::from(random_bytes(size(matches, "val-size")?)?),
            seed: seed()?,
            prepared: Vec::new(),
        };
        let request_bytes = puts.encode(keys.space - 1).len() as u64;
        if keys.space.saturating_mul(request_bytes) <= PREPARED_BYTES_MAX {
            puts.prepared = (0..keys.space).map(|number| puts.encode(number)).collect();
        }
        Ok(puts)
    }

    fn encode(&self, key_number: u64) -> Bytes {
        let key = Bytes::from(self.keys.key(key_number));
        Bytes::from(PutRequest { key, value: self.value.clone(), ..PutRequest::default() }.encode_to_vec())
    }

    fn key_number(&self, number: u64) -> u64 {
        let number = if self.sequential { number } else { mix(self.seed.wrapping_add(number)) };
        number % self.keys.space
    }
}

impl Load for Puts {
    fn path(&self) -> &'static str {
        "/etcdserverpb.KV/Put"
    }

    fn message(&self, number: u64) -> Bytes {
        let key_number = self.key_number(number);
        match self.prepared.get(key_number as usize) {
            Some(message) => message.clone(),
            None => self.encode(key_number),
        }
    }
}

/// Compacts again and again while the run lasts.
fn compact(settings: &Settings, interval: Duration, delta: i64, over: &AtomicBool) {
    let mut client = settings.client();
    let mut next = Instant::now() + interval;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(COMPACT_POLL.min(interval));
        if Instant::now() < next {
            continue;
        }
        next += interval;
        let request = RangeRequest { key: Bytes::from_static(b"foo"), ..RangeRequest::default() };
        let result = client.range(&request, side_deadline()).and_then(|answer| {
            let revision = answer.header.map_or(0, |h| h.revision).saturating_sub(delta).max(0);
            client.compact(revision, side_deadline())
        });
        if let Err(status) = result {
            write_stderr(format!("compaction: {status}\n").as_bytes());
        }
    }
}

fn hashkv(settings: &Settings) -> Result<String, String> {
    let endpoint = &settings.endpoints[0].text;
    let mut client = settings.client();
    let start = Instant::now();
    let hash = client
        .hash_kv(0, side_deadline())
        .map_err(|status| format!("Failed to get the hashkv of endpoint {endpoint} ({status})"))?;
    let status = client
        .status(side_deadline())
        .map_err(|status| format!("Failed to get the status of endpoint {endpoint} ({status})"))?;
    let took = gotext::duration(start.elapsed().as_nanos() as i64);
    Ok(format!(
        "HashKV Summary:\n\tHashKV: {}\n\tEndpoint: {endpoint}\n\tTime taken to get hashkv: {took}\n\tDB size: {}\n",
        hash.hash,
        gotext::bytes_si(status.db_size as u64)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    fn puts(line: &str) -> Result<Puts, String> {
        let words: Vec<&str> = line.split(' ').collect();
        Puts::new(&PROGRAM.matches(&words))
    }

    fn key(puts: &Puts, number: u64) -> Vec<u8> {
        PutRequest::decode(puts.message(number)).unwrap().key.to_vec()
    }

    #[test]
    fn keys() {
        // The default key space has one key, whatever the order.
        let one = puts("put --sequential-keys --val-size=256").unwrap();
        assert_eq!((key(&one, 0), key(&one, 77)), (vec![0; 8], vec![0; 8]));
        let many = puts("put --sequential-keys --key-space-size=1000 --key-size=4").unwrap();
        assert_eq!((key(&many, 1), key(&many, 1064)), (vec![2, 0, 0, 0], vec![0x80, 1, 0, 0]));
        let random = puts("put --key-space-size=1000 --key-size=4").unwrap();
        let numbers: std::collections::BTreeSet<_> = (0..1000).map(|n| key(&random, n)).collect();
        assert!(numbers.len() > 500, "{}", numbers.len());
    }

    #[test]
    fn requests_too_many_to_prepare_are_the_same() {
        let mut many = puts("put --sequential-keys --key-space-size=1000").unwrap();
        let prepared = many.message(999);
        many.prepared.clear();
        assert_eq!(many.message(999), prepared);
    }

    #[test]
    fn mistakes() {
        assert!(puts("put --key-space-size=0").is_err());
        assert!(puts("put --key-space-size=1000 --key-size=1").is_err());
        assert!(puts("put --val-size=-1").is_err());
    }
}
