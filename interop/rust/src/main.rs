//! Checks an etcd server through the `etcd-client` crate: another HTTP/2 stack (hyper, h2, tonic) and another
//! protobuf encoder (prost) than the official client has. Usage: `interop-rust URL`.
//!
//! Prints `ok N checks`, or each failed check with what was expected and what came; then the exit status is 1.
//! It works below one key prefix, clears that first and compacts the store: never point it at data that matters.

use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;

use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error, GetOptions, KeyValue, PutOptions, SortOrder,
    SortTarget, Txn, TxnOp, TxnOpResponse,
};

const PREFIX: &str = "rust/";
/// A server that hangs is a failure, not a wait.
const RUN_LIMIT: Duration = Duration::from_secs(60);

type Outcome = Result<(), Error>;

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn equal<T: PartialEq + Debug>(&mut self, name: &str, expected: T, got: T) {
        if expected == got {
            self.passed += 1;
        } else {
            self.failed += 1;
            println!("FAIL {name}\n  expected: {expected:?}\n       got: {got:?}");
        }
    }

    /// The gRPC code and the text of the message, both exactly.
    fn refused<T: Debug>(&mut self, name: &str, code: i32, message: &str, got: Result<T, Error>) {
        let got = match got {
            Err(Error::GRpcStatus(status)) => (status.code() as i32, status.message().to_string()),
            other => (-1, format!("{other:?}")),
        };
        self.equal(name, (code, message.to_string()), got);
    }
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn pairs(kvs: &[KeyValue]) -> String {
    let text = |kv: &KeyValue| {
        let key = String::from_utf8_lossy(kv.key()).into_owned();
        format!("{}={}", key.trim_start_matches(PREFIX), String::from_utf8_lossy(kv.value()))
    };
    kvs.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(endpoint) = std::env::args().nth(1) else {
        eprintln!("usage: interop-rust URL");
        return ExitCode::from(2);
    };
    let mut tally = Tally::default();
    match tokio::time::timeout(RUN_LIMIT, run(&endpoint, &mut tally)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tally.failed += 1;
            println!("FAIL the run was cut short\n       got: {error:?}");
        }
        Err(_) => {
            tally.failed += 1;
            println!("FAIL the run took longer than {RUN_LIMIT:?}");
        }
    }
    if tally.failed > 0 {
        println!("FAIL {} of {} checks", tally.failed, tally.passed + tally.failed);
        return ExitCode::FAILURE;
    }
    println!("ok {} checks", tally.passed);
    ExitCode::SUCCESS
}

async fn run(endpoint: &str, tally: &mut Tally) -> Outcome {
    let mut client = Client::connect([endpoint], None).await?;
    client.delete(PREFIX, Some(DeleteOptions::new().with_prefix())).await?;
    check_put(&mut client, tally).await?;
    check_get(&mut client, tally).await?;
    check_txn(&mut client, tally).await?;
    check_delete(&mut client, tally).await?;
    check_errors(&mut client, tally).await?;
    check_concurrent(&mut client, tally).await?;
    check_compact(&mut client, tally).await?;
    check_cluster(&mut client, tally).await
}

async fn revision(client: &mut Client) -> Result<i64, Error> {
    let answer = client.get(key("none"), None).await?;
    Ok(answer.header().map_or(0, |header| header.revision()))
}

async fn check_put(client: &mut Client, tally: &mut Tally) -> Outcome {
    let base = revision(client).await?;
    let first = client.put(key("a"), "1", Some(PutOptions::new().with_prev_key())).await?;
    tally.equal("a put is the next revision", Some(base + 1), first.header().map(|header| header.revision()));
    tally.equal("a new key has no previous row", true, first.prev_key().is_none());
    let second = client.put(key("a"), "2", Some(PutOptions::new().with_prev_key())).await?;
    tally.equal("the previous value", Some("1"), second.prev_key().and_then(|kv| kv.value_str().ok()));
    client.put(key("a"), "", Some(PutOptions::new().with_ignore_value())).await?;
    let answer = client.get(key("a"), None).await?;
    let rows: Vec<_> = answer
        .kvs()
        .iter()
        .map(|kv| (kv.value().to_vec(), kv.create_revision() - base, kv.mod_revision() - base, kv.version()))
        .collect();
    tally.equal("the whole row", vec![(b"2".to_vec(), 1, 3, 3)], rows);
    let every_byte: Vec<u8> = (0..=255).collect();
    client.put(every_byte.as_slice(), every_byte.as_slice(), None).await?;
    let answer = client.get(every_byte.as_slice(), None).await?;
    tally.equal("every byte", Some(every_byte.as_slice()), answer.kvs().first().map(|kv| kv.value()));
    client.delete(every_byte.as_slice(), None).await?;
    let large = "v".repeat(1 << 20);
    client.put(key("large"), large.as_str(), None).await?;
    let answer = client.get(key("large"), None).await?;
    tally.equal("a value of 1 MiB", true, answer.kvs().first().is_some_and(|kv| kv.value() == large.as_bytes()));
    Ok(())
}

async fn check_get(client: &mut Client, tally: &mut Tally) -> Outcome {
    for (name, value) in [("g1", "c"), ("g2", "a"), ("g3", "d"), ("g4", "b")] {
        client.put(key(name), value, None).await?;
    }
    let newest = revision(client).await?;
    client.put(key("g1"), "e", None).await?;
    let prefix = || GetOptions::new().with_prefix();
    for (name, options, expected, count, more) in [
        ("prefix", prefix(), "g1=e g2=a g3=d g4=b", 4, false),
        ("limit", prefix().with_limit(2), "g1=e g2=a", 4, true),
        ("range", GetOptions::new().with_range(key("g3")), "g1=e g2=a", 2, false),
        ("by value", prefix().with_sort(SortTarget::Value, SortOrder::Ascend), "g2=a g4=b g3=d g1=e", 4, false),
        ("by key descending", prefix().with_sort(SortTarget::Key, SortOrder::Descend), "g4=b g3=d g2=a g1=e", 4, false),
        ("keys only", prefix().with_keys_only(), "g1= g2= g3= g4=", 4, false),
        ("count only", prefix().with_count_only(), "", 4, false),
        ("serializable", prefix().with_serializable(), "g1=e g2=a g3=d g4=b", 4, false),
        ("past revision", prefix().with_revision(newest), "g1=c g2=a g3=d g4=b", 4, false),
        ("newest change", prefix().with_min_mod_revision(newest + 1), "g1=e", 4, false),
        ("oldest changes", prefix().with_max_mod_revision(newest - 1), "g2=a g3=d", 4, false),
        ("newest creation", prefix().with_min_create_revision(newest), "g4=b", 4, false),
    ] {
        let answer = client.get(key("g"), Some(options)).await?;
        tally.equal(name, (expected.to_string(), count, more), (pairs(answer.kvs()), answer.count(), answer.more()));
    }
    let answer = client.get(key("g3"), Some(GetOptions::new().with_range(key("g9")))).await?;
    tally.equal("range from the middle", "g3=d g4=b".to_string(), pairs(answer.kvs()));
    Ok(())
}

async fn check_txn(client: &mut Client, tally: &mut Tally) -> Outcome {
    client.put(key("t"), "1", None).await?;
    let base = revision(client).await?;
    let nested = Txn::new()
        .when([Compare::version(key("t"), CompareOp::Equal, 1)])
        .and_then([TxnOp::put(key("t2"), "nested", None)])
        .or_else([TxnOp::put(key("t2"), "nested else", None)]);
    let txn = Txn::new()
        .when([Compare::value(key("t"), CompareOp::Equal, "1"), Compare::mod_revision(key("t"), CompareOp::Greater, 1)])
        .and_then([TxnOp::put(key("t"), "2", None), TxnOp::get(key("t"), None), TxnOp::txn(nested)])
        .or_else([TxnOp::delete(key("t"), None)]);
    let answer = client.txn(txn).await?;
    tally.equal("the compares hold", true, answer.succeeded());
    tally.equal("one revision", Some(base + 1), answer.header().map(|header| header.revision()));
    match answer.op_responses().as_slice() {
        [TxnOpResponse::Put(_), TxnOpResponse::Get(got), TxnOpResponse::Txn(inner)] => {
            tally.equal("a read in the transaction", "t=2".to_string(), pairs(got.kvs()));
            tally.equal("the nested compare holds", true, inner.succeeded());
        }
        other => tally.equal("three answers", "put, get, txn".to_string(), format!("{other:?}")),
    }
    let range = Compare::create_revision(key("t"), CompareOp::Equal, 0).with_prefix();
    let answer = client.txn(Txn::new().when([range]).or_else([TxnOp::get(key("t2"), None)])).await?;
    tally.equal("a range compare does not hold", false, answer.succeeded());
    let lease = Compare::lease(key("t"), CompareOp::NotEqual, 0);
    let answer = client.txn(Txn::new().when([lease])).await?;
    tally.equal("a lease compare does not hold", false, answer.succeeded());
    Ok(())
}

async fn check_delete(client: &mut Client, tally: &mut Tally) -> Outcome {
    for name in ["d1", "d2", "d3", "d4"] {
        client.put(key(name), "v", None).await?;
    }
    let answer = client.delete(key("d1"), Some(DeleteOptions::new().with_prev_key())).await?;
    tally.equal("one key", (1, "d1=v".to_string()), (answer.deleted(), pairs(answer.prev_kvs())));
    let answer = client.delete(key("d2"), Some(DeleteOptions::new().with_range(key("d4")))).await?;
    tally.equal("a range", (2, String::new()), (answer.deleted(), pairs(answer.prev_kvs())));
    let answer = client.delete(key("d"), Some(DeleteOptions::new().with_prefix())).await?;
    tally.equal("what is left of the prefix", 1, answer.deleted());
    let before = revision(client).await?;
    let answer = client.delete(key("d"), Some(DeleteOptions::new().with_prefix())).await?;
    tally.equal("nothing", 0, answer.deleted());
    tally.equal("deleting nothing makes no revision", before, revision(client).await?);
    Ok(())
}

async fn check_errors(client: &mut Client, tally: &mut Tally) -> Outcome {
    const INVALID_ARGUMENT: i32 = 3;
    const NOT_FOUND: i32 = 5;
    const OUT_OF_RANGE: i32 = 11;
    let got = client.put("", "v", None).await;
    tally.refused("put of the empty key", INVALID_ARGUMENT, "etcdserver: key is not provided", got);
    let got = client.put(key("none"), "", Some(PutOptions::new().with_ignore_value())).await;
    tally.refused("ignore-value of an absent key", INVALID_ARGUMENT, "etcdserver: key not found", got);
    let got = client.put(key("none"), "v", Some(PutOptions::new().with_ignore_value())).await;
    tally.refused("ignore-value with a value", INVALID_ARGUMENT, "etcdserver: value is provided", got);
    let got = client.put(key("none"), "v", Some(PutOptions::new().with_lease(0x7eee_eeee))).await;
    tally.refused("an unknown lease", NOT_FOUND, "etcdserver: requested lease not found", got);
    let got = client.put(key("none"), vec![0; 1_600_000], None).await;
    tally.refused("a request above the limit", INVALID_ARGUMENT, "etcdserver: request is too large", got);
    let future = "etcdserver: mvcc: required revision is a future revision";
    let got = client.get(key("none"), Some(GetOptions::new().with_revision(1 << 60))).await;
    tally.refused("get of a future revision", OUT_OF_RANGE, future, got);
    tally.refused("compaction of a future revision", OUT_OF_RANGE, future, client.compact(1 << 60, None).await);
    let twice = Txn::new().and_then([TxnOp::put(key("x"), "1", None), TxnOp::put(key("x"), "2", None)]);
    let duplicate = "etcdserver: duplicate key given in txn request";
    tally.refused("a key put twice", INVALID_ARGUMENT, duplicate, client.txn(twice).await);
    let many: Vec<TxnOp> = (0..129).map(|i| TxnOp::get(key(&i.to_string()), None)).collect();
    let too_many = "etcdserver: too many operations in txn request";
    tally.refused("129 operations", INVALID_ARGUMENT, too_many, client.txn(Txn::new().and_then(many)).await);
    Ok(())
}

/// Many requests at once on one connection: their answers must not be mixed up.
async fn check_concurrent(client: &mut Client, tally: &mut Tally) -> Outcome {
    const REQUESTS: usize = 200;
    let before = revision(client).await?;
    let tasks: Vec<_> = (0..REQUESTS)
        .map(|i| {
            let mut kv = client.kv_client();
            tokio::spawn(async move {
                kv.put(key(&format!("m{i:03}")), i.to_string(), None).await?;
                let answer = kv.get(key(&format!("m{i:03}")), None).await?;
                Ok::<_, Error>(pairs(answer.kvs()) == format!("m{i:03}={i}"))
            })
        })
        .collect();
    let mut right = 0;
    for task in tasks {
        right += usize::from(matches!(task.await, Ok(Ok(true))));
    }
    tally.equal("each request got its own answer", REQUESTS, right);
    tally.equal("each put made one revision", before + REQUESTS as i64, revision(client).await?);
    Ok(())
}

async fn check_compact(client: &mut Client, tally: &mut Tally) -> Outcome {
    client.put(key("k"), "old", None).await?;
    let old = revision(client).await?;
    client.put(key("k"), "new", None).await?;
    client.compact(old + 1, Some(CompactionOptions::new().with_physical())).await?;
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    let got = client.get(key("k"), Some(GetOptions::new().with_revision(old))).await;
    tally.refused("get of a compacted revision", 11, compacted, got);
    tally.refused("compaction of a compacted revision", 11, compacted, client.compact(old, None).await);
    let answer = client.get(key("k"), Some(GetOptions::new().with_revision(old + 1))).await?;
    tally.equal("the compacted revision itself is readable", "k=new".to_string(), pairs(answer.kvs()));
    Ok(())
}

async fn check_cluster(client: &mut Client, tally: &mut Tally) -> Outcome {
    let status = client.status().await?;
    tally.equal("version", "3.7.1", status.version());
    let members = client.member_list().await?;
    tally.equal("one member", 1, members.members().len());
    tally.equal("it leads", Some(status.leader()), members.members().first().map(|member| member.id()));
    Ok(())
}
