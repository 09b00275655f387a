//! `range`: the same read again and again.

use bytes::Bytes;
use engine::pb::etcdserverpb::{RangeRequest, RangeResponse};
use etcd_uring::client::cli::{Command, Flag, Kind, Matches, write_stdout};
use prost::Message;

use crate::generator::{self, Load};
use crate::settings::Settings;
use crate::{exit, perfdash};

pub static COMMAND: Command = Command {
    name: "range",
    operands: "key [end-range]",
    short: "Benchmark range",
    flags: &[
        Flag::new("consistency", Kind::Text, "l", "Linearizable(l) or Serializable(s)"),
        Flag::new("count-only", Kind::Bool, "false", "ask only for the number of keys"),
        Flag::new("keys-only", Kind::Bool, "false", "ask for keys without values"),
        Flag::new("limit", Kind::Int, "0", "largest number of keys in an answer (0: no limit)"),
        Flag::new("paginate", Kind::Bool, "false", "read in pages of 10000 keys; a request is done with its last page"),
        Flag::new("prefix", Kind::Bool, "false", "read all keys that begin with the key"),
        Flag::new("rate", Kind::Int, "0", "largest number of requests per second (0: no limit)"),
        Flag::new("stream", Kind::Bool, "false", "use the RangeStream call"),
        Flag::new("total", Kind::Int, "10000", "number of requests"),
    ],
    run: Some(run),
    ..Command::EMPTY
};

/// Keys per page with `--paginate`: what the watch cache of Kubernetes asks for.
const PAGE_KEYS: i64 = 10_000;

fn run(matches: &Matches) -> u8 {
    exit(range(matches))
}

fn range(matches: &Matches) -> Result<(), String> {
    let load = Ranges::new(matches)?;
    let kind = if load.request.serializable { "serializable" } else { "linearizable" };
    let settings = Settings::new(matches)?;
    write_stdout(format!("bench with {kind} range\n").as_bytes());
    let outcome = generator::run(&settings, &load)?;
    let cpu = outcome.cpu_line(&settings);
    let [report] = outcome.reports(&settings);
    if settings.perfdash {
        write_stdout(perfdash::write(&report, "range").as_bytes());
    }
    write_stdout(report.text().as_bytes());
    write_stdout(cpu.as_bytes());
    Ok(())
}

struct Ranges {
    request: RangeRequest,
    message: Bytes,
    paginate: bool,
    stream: bool,
}

impl Ranges {
    fn new(matches: &Matches) -> Result<Ranges, String> {
        let usage = || matches.program.usage(&matches.path);
        let (prefix, paginate) = (matches.bool("prefix"), matches.bool("paginate"));
        if matches.args.len() > 2 || (matches.args.is_empty() && !prefix) {
            return Err(usage());
        }
        let limit = matches.int("limit");
        if paginate && limit > 0 {
            return Err("--paginate and --limit are mutually exclusive".to_string());
        }
        let (count_only, keys_only) = (matches.bool("count-only"), matches.bool("keys-only"));
        if count_only && keys_only {
            return Err("`--keys-only` and `--count-only` cannot be set at the same time".to_string());
        }
        let serializable = match matches.text("consistency") {
            "l" => false,
            "s" => true,
            _ => return Err(usage()),
        };
        let operand = |at: usize| matches.args.get(at).map_or(Bytes::new(), |word| Bytes::copy_from_slice(word));
        let (mut key, mut range_end) = (operand(0), operand(1));
        if prefix {
            range_end = prefix_end(&key);
            if key.is_empty() {
                key = Bytes::from_static(b"\0");
            }
        }
        let limit = if paginate { PAGE_KEYS } else { limit.max(0) };
        let request =
            RangeRequest { key, range_end, limit, serializable, keys_only, count_only, ..RangeRequest::default() };
        let message = Bytes::from(request.encode_to_vec());
        Ok(Ranges { request, message, paginate, stream: matches.bool("stream") })
    }
}

impl Load for Ranges {
    fn path(&self) -> &'static str {
        if self.stream { "/etcdserverpb.KV/RangeStream" } else { "/etcdserverpb.KV/Range" }
    }

    fn message(&self, _: u64) -> Bytes {
        self.message.clone()
    }

    /// The next page begins after the last key, at the revision of the first page.
    fn next_page(&self, answer: &Bytes, revision: &mut i64) -> Option<Bytes> {
        if !self.paginate || self.stream {
            return None;
        }
        let answer = RangeResponse::decode(answer.clone()).ok()?;
        let last = answer.kvs.last().filter(|_| answer.more)?;
        let mut key = last.key.to_vec();
        key.push(0);
        if *revision == 0 {
            *revision = answer.header.map_or(0, |h| h.revision);
        }
        let request = RangeRequest { key: Bytes::from(key), revision: *revision, ..self.request.clone() };
        Some(Bytes::from(request.encode_to_vec()))
    }
}

/// The first key after all keys that begin with `prefix`; a zero byte means that there is no end.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let Some(at) = prefix.iter().rposition(|b| *b < 0xff) else { return Bytes::from_static(b"\0") };
    let mut end = prefix[..=at].to_vec();
    end[at] += 1;
    Bytes::from(end)
}

#[cfg(test)]
mod tests {
    use engine::pb::etcdserverpb::ResponseHeader;
    use engine::pb::mvccpb::KeyValue;

    use super::*;
    use crate::PROGRAM;

    fn ranges(line: &str) -> Result<Ranges, String> {
        let words: Vec<&str> = line.split(' ').collect();
        Ranges::new(&PROGRAM.matches(&words))
    }

    #[test]
    fn requests() {
        assert!(!ranges("range YOUR_KEY --consistency=l").unwrap().request.serializable);
        assert!(ranges("range YOUR_KEY --consistency=s").unwrap().request.serializable);
        assert_eq!(ranges("range a b --limit=3").unwrap().request.range_end, "b");
        let all = ranges("range --prefix").unwrap().request;
        assert_eq!((all.key, all.range_end), (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")));
        for line in ["range", "range a b c", "range a --consistency=x", "range a --limit=1 --paginate"] {
            assert!(ranges(line).is_err(), "{line}");
        }
    }

    #[test]
    fn pages_stay_at_the_first_revision() {
        let load = ranges("range --prefix k --paginate").unwrap();
        assert_eq!(load.request.limit, PAGE_KEYS);
        // Between pages the store moves on; answers at an old revision still carry the newest one in the header.
        let answer = |revision, more| {
            let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
            let kvs = vec![KeyValue { key: Bytes::from_static(b"k1"), ..KeyValue::default() }];
            Bytes::from(RangeResponse { header, kvs, more, count: 2 }.encode_to_vec())
        };
        let mut pinned = 0;
        for (newest, asked) in [(9, 9), (12, 9)] {
            let next = load.next_page(&answer(newest, true), &mut pinned).unwrap();
            let next = RangeRequest::decode(next).unwrap();
            assert_eq!((next.key.as_ref(), next.range_end.as_ref(), next.revision), (&b"k1\0"[..], &b"l"[..], asked));
        }
        assert_eq!(load.next_page(&answer(13, false), &mut pinned), None);
    }
}
