//! Walks `tests/spec/semantics.txt`: what each sentence about the key-value API means in requests and answers. The answers in
//! the file are Go etcd's: with REFERENCE_BIN set the rows run against it, too, and with UPDATE=1 they are taken from it.

use crate::server::{PATIENCE, Server, Setup, TempDir};
use crate::steps::{Step, blocks, step};
use engine::pb::etcdserverpb::request_op::Request;
use engine::pb::etcdserverpb::response_op::Response;
use engine::pb::etcdserverpb::{DeleteRangeRequest, RangeRequest, RangeResponse, ResponseHeader, TxnResponse};
use engine::pb::mvccpb::KeyValue;
use etcd_uring::client::{Client, Status};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

#[test]
fn every_sentence_holds() {
    let (wanted, got) = walk(&Setup::default());
    assert!(wanted == got, "{}", first_difference(&wanted, &got));
}

#[test]
fn every_sentence_holds_on_go_etcd() {
    let Some(program) = std::env::var_os("REFERENCE_BIN") else { return };
    let (wanted, got) = walk(&Setup { program: Some(program.into()), ..Setup::default() });
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(path(), got).unwrap();
    }
    assert!(wanted == got, "{}", first_difference(&wanted, &got));
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/spec/semantics.txt")
}

/// Runs the whole file; what it says, and what it would say with this server's answers.
fn walk(setup: &Setup) -> (String, String) {
    let wanted = std::fs::read_to_string(path()).unwrap();
    let shared_dir = TempDir::new("semantics");
    let shared = Server::start(shared_dir.path(), setup.clone());
    let mut got = String::new();
    let mut lines: &[&str] = &wanted.lines().filter(|line| !line.starts_with('>')).collect::<Vec<_>>();
    while let Some((line, rest)) = lines.split_first() {
        lines = rest;
        writeln!(got, "{line}").unwrap();
        let Some(name) = line.strip_prefix("== ") else { continue };
        let length = lines.iter().position(|line| line.is_empty()).unwrap_or(lines.len());
        let (row, after) = lines.split_at(length);
        lines = after;
        if name.starts_with("fresh: ") {
            let dir = TempDir::new("semantics-fresh");
            let server = Server::start(dir.path(), setup.clone());
            run_row(&mut server.client(), 0, row, &mut got);
        } else {
            let mut client = shared.client();
            let everything = DeleteRangeRequest { key: "\0".into(), range_end: "\0".into(), prev_kv: false };
            let cleared = client.delete_range(&everything, deadline()).unwrap();
            run_row(&mut client, cleared.header.unwrap().revision, row, &mut got);
        }
    }
    (wanted, got)
}

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

fn run_row(client: &mut Client, base: i64, mut row: &[&str], got: &mut String) {
    for block in blocks(&mut row, 0) {
        repeat_lines(&block, 0, got);
        let answer = answer(client, step(&block, base), base)
            .unwrap_or_else(|status| vec![format!("{}: {}", code_name(status.code), status.message)]);
        for line in answer {
            writeln!(got, "> {line}").unwrap();
        }
    }
}

fn repeat_lines(block: &crate::steps::Block<'_>, depth: usize, got: &mut String) {
    writeln!(got, "{}{}", "  ".repeat(depth), block.line).unwrap();
    block.parts.iter().for_each(|part| repeat_lines(part, depth + 1, got));
}

fn answer(client: &mut Client, step: Step, base: i64) -> Result<Vec<String>, Status> {
    let shown = Shown { base };
    Ok(match step {
        Step::Compact(request) => {
            let answer = if request.physical {
                client.compact_physical(request.revision, deadline())?
            } else {
                client.compact(request.revision, deadline())?
            };
            vec![shown.head("ok", &answer.header)]
        }
        Step::Op(Request::Put(request)) => {
            let answer = client.put(&request, deadline())?;
            shown.rows(shown.head("ok", &answer.header), answer.prev_kv.as_slice())
        }
        Step::Op(Request::Range(request)) => shown.range(&client.range(&request, deadline())?),
        Step::Op(Request::DeleteRange(request)) => {
            let answer = client.delete_range(&request, deadline())?;
            let head = format!("{} deleted {}", shown.head("ok", &answer.header), answer.deleted);
            shown.rows(head, &answer.prev_kvs)
        }
        Step::Op(Request::Txn(request)) => shown.txn(&client.txn(&request, deadline())?),
    })
}

/// Answers as text, revisions counted from a base.
struct Shown {
    base: i64,
}

impl Shown {
    /// Members and terms are others each time: only whether they are given is shown.
    fn head(&self, word: &str, header: &Option<ResponseHeader>) -> String {
        let Some(header) = header else { return format!("{word} without header") };
        let ids = [header.cluster_id, header.member_id, header.raft_term].map(|id| id != 0);
        let named = match ids {
            [true, true, true] => "",
            [false, false, false] => " from nobody",
            _ => " from somebody",
        };
        format!("{word} rev {}{named}", self.revision(header.revision))
    }

    fn revision(&self, revision: i64) -> String {
        if revision == 0 { "none".to_owned() } else { format!("{:+}", revision - self.base) }
    }

    fn rows(&self, head: String, kvs: &[KeyValue]) -> Vec<String> {
        let mut lines = vec![head];
        lines.extend(kvs.iter().map(|kv| {
            let lease = if kv.lease == 0 { String::new() } else { format!(" lease {}", kv.lease) };
            let (created, changed) = (self.revision(kv.create_revision), self.revision(kv.mod_revision));
            let (key, value) = (kv.key.escape_ascii(), kv.value.escape_ascii());
            format!("  {key} = \"{value}\" created {created} changed {changed} version {}{lease}", kv.version)
        }));
        lines
    }

    fn range(&self, answer: &RangeResponse) -> Vec<String> {
        let more = if answer.more { " more" } else { "" };
        self.rows(format!("{} count {}{more}", self.head("ok", &answer.header), answer.count), &answer.kvs)
    }

    fn txn(&self, answer: &TxnResponse) -> Vec<String> {
        let word = if answer.succeeded { "then" } else { "else" };
        let mut lines = vec![self.head(word, &answer.header)];
        let parts: Vec<_> = answer.responses.iter().map(|op| self.part(&op.response)).collect();
        for alike in parts.chunk_by(|a, b| a == b) {
            let times = if alike.len() > 1 { format!("{}x ", alike.len()) } else { String::new() };
            lines.push(format!("  {times}{}", alike[0][0]));
            lines.extend(alike[0][1..].iter().map(|line| format!("  {line}")));
        }
        lines
    }

    fn part(&self, response: &Option<Response>) -> Vec<String> {
        match response {
            Some(Response::Range(range)) => self.range(range),
            Some(Response::Put(put)) => self.rows(self.head("ok", &put.header), put.prev_kv.as_slice()),
            Some(Response::DeleteRange(delete)) => {
                let head = format!("{} deleted {}", self.head("ok", &delete.header), delete.deleted);
                self.rows(head, &delete.prev_kvs)
            }
            Some(Response::Txn(txn)) => self.txn(txn),
            None => vec!["nothing".to_owned()],
        }
    }
}

fn code_name(code: u32) -> String {
    match code {
        2 => "Unknown".to_owned(),
        3 => "InvalidArgument".to_owned(),
        5 => "NotFound".to_owned(),
        8 => "ResourceExhausted".to_owned(),
        9 => "FailedPrecondition".to_owned(),
        11 => "OutOfRange".to_owned(),
        code => code.to_string(),
    }
}

fn first_difference(wanted: &str, got: &str) -> String {
    let mut row = "";
    for (number, (wanted, got)) in wanted.lines().chain([""]).zip(got.lines().chain([""])).enumerate() {
        if wanted.starts_with("== ") {
            row = wanted;
        }
        if wanted != got {
            return format!("semantics.txt:{}: {row}\n  expected: {wanted}\n       got: {got}", number + 1);
        }
    }
    format!("{} lines expected, {} lines got", wanted.lines().count(), got.lines().count())
}

/// A key that no row uses: the language itself.
#[test]
fn words_of_the_language() {
    let lines = [r#"get "a\0\xff" end=b rev=+2 order=descend target=7 keys_only"#];
    let block = blocks(&mut &lines[..], 0).remove(0);
    let Step::Op(Request::Range(range)) = step(&block, 10) else { panic!("a range") };
    let wanted = RangeRequest {
        key: b"a\0\xff"[..].into(),
        range_end: "b".into(),
        revision: 12,
        sort_order: 2,
        sort_target: 7,
        keys_only: true,
        ..Default::default()
    };
    assert_eq!(range, wanted);
}
