//! The language of `tests/spec/semantics.txt`: one request a line, transactions with their parts indented below them.
//!
//! ```text
//! put KEY [VALUE] [prev_kv] [ignore_value] [ignore_lease] [lease=N]
//! get KEY [end=KEY] [rev=R] [limit=N] [order=O] [target=T] [keys_only] [count_only] [serializable]
//!         [min_mod=R] [max_mod=R] [min_create=R] [max_create=R]
//! del KEY [end=KEY] [prev_kv]
//! compact R [physical]
//! txn
//!   if TARGET KEY =|!=|>|<|N VALUE [end=KEY] [as=TARGET|nothing]
//!   then|else [Nx] put|get|del|txn|nothing ...
//! ```
//! A word in quotes knows `\0`, `\xNN`, `\"` and `\\`; `v*1000` is a thousand times v. A revision `+2` counts from the start of
//! the row.

use engine::pb::etcdserverpb::compare::TargetUnion;
use engine::pb::etcdserverpb::request_op::Request;
use engine::pb::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

pub enum Step {
    Op(Request),
    Compact(CompactionRequest),
}

/// A line and the lines indented below it.
pub struct Block<'a> {
    pub line: &'a str,
    pub parts: Vec<Block<'a>>,
}

/// Takes blocks of at least that indentation off the front of `lines`.
pub fn blocks<'a>(lines: &mut &[&'a str], indent: usize) -> Vec<Block<'a>> {
    let mut found = Vec::new();
    while let Some(line) = lines.first() {
        let depth = line.len() - line.trim_start().len();
        if depth < indent {
            break;
        }
        *lines = &lines[1..];
        found.push(Block { line: line.trim(), parts: blocks(lines, depth + 1) });
    }
    found
}

/// `base` is the revision that `+0` stands for.
pub fn step(block: &Block<'_>, base: i64) -> Step {
    let mut words = Words::new(block.line, base);
    if words.peek("compact") {
        words.take();
        let revision = words.revision();
        return Step::Compact(CompactionRequest { revision, physical: words.flag("physical") });
    }
    let request = operation(&mut words, block, base).unwrap_or_else(|| panic!("no step: {}", block.line));
    words.end();
    Step::Op(request)
}

fn operation(words: &mut Words<'_>, block: &Block<'_>, base: i64) -> Option<Request> {
    match words.take().as_slice() {
        b"put" => Some(Request::Put(put(words))),
        b"get" => Some(Request::Range(get(words))),
        b"del" => Some(Request::DeleteRange(DeleteRangeRequest {
            key: words.take().into(),
            range_end: words.named("end").unwrap_or_default().into(),
            prev_kv: words.flag("prev_kv"),
        })),
        b"txn" => Some(Request::Txn(txn(block, base))),
        b"nothing" => None,
        other => panic!("no operation: {}", String::from_utf8_lossy(other)),
    }
}

fn put(words: &mut Words<'_>) -> PutRequest {
    PutRequest {
        key: words.take().into(),
        prev_kv: words.flag("prev_kv"),
        ignore_value: words.flag("ignore_value"),
        ignore_lease: words.flag("ignore_lease"),
        lease: words.number("lease"),
        value: words.rest().into(),
    }
}

fn get(words: &mut Words<'_>) -> RangeRequest {
    let orders = ["none", "ascend", "descend"];
    let targets = ["key", "version", "create", "mod", "value"];
    RangeRequest {
        key: words.take().into(),
        range_end: words.named("end").unwrap_or_default().into(),
        limit: words.number("limit"),
        revision: words.named_revision("rev"),
        sort_order: words.one_of("order", &orders),
        sort_target: words.one_of("target", &targets),
        serializable: words.flag("serializable"),
        keys_only: words.flag("keys_only"),
        count_only: words.flag("count_only"),
        min_mod_revision: words.named_revision("min_mod"),
        max_mod_revision: words.named_revision("max_mod"),
        min_create_revision: words.named_revision("min_create"),
        max_create_revision: words.named_revision("max_create"),
    }
}

fn txn(block: &Block<'_>, base: i64) -> TxnRequest {
    let mut request = TxnRequest::default();
    for part in &block.parts {
        let mut words = Words::new(part.line, base);
        let which = words.take();
        let times = words.times();
        if which == b"if" {
            let compare = compare(&mut words);
            request.compare.extend(std::iter::repeat_n(compare, times));
        } else {
            let op = RequestOp { request: operation(&mut words, part, base) };
            let branch = match which.as_slice() {
                b"then" => &mut request.success,
                b"else" => &mut request.failure,
                _ => panic!("no part of a txn: {}", part.line),
            };
            branch.extend(std::iter::repeat_n(op, times));
        }
        words.end();
    }
    request
}

const COMPARE_TARGETS: [&str; 5] = ["version", "create", "mod", "value", "lease"];

fn compare(words: &mut Words<'_>) -> Compare {
    let target = words.take();
    let target_number = number_of(&target, &COMPARE_TARGETS);
    let key = words.take();
    let result = match words.take().as_slice() {
        b"=" => 0,
        b">" => 1,
        b"<" => 2,
        b"!=" => 3,
        other => number_of(other, &[]),
    };
    let end = words.named("end").unwrap_or_default();
    let kind = words.named("as").unwrap_or(target);
    let union = match kind.as_slice() {
        b"version" => Some(TargetUnion::Version(words.revision())),
        b"create" => Some(TargetUnion::CreateRevision(words.revision())),
        b"mod" => Some(TargetUnion::ModRevision(words.revision())),
        b"lease" => Some(TargetUnion::Lease(words.revision())),
        b"value" => Some(TargetUnion::Value(words.take().into())),
        _ => None,
    };
    Compare { result, target: target_number, key: key.into(), range_end: end.into(), target_union: union }
}

fn number_of(word: &[u8], names: &[&str]) -> i32 {
    let word = std::str::from_utf8(word).expect("a name or a number");
    names.iter().position(|name| *name == word).map_or_else(|| word.parse().expect("a number"), |at| at as i32)
}

/// The words of a line; whoever knows one takes it out.
struct Words<'a> {
    line: &'a str,
    base: i64,
    left: Vec<Vec<u8>>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str, base: i64) -> Self {
        let mut left = Vec::new();
        let mut rest = line.trim_start();
        while !rest.is_empty() {
            let mut word = Vec::new();
            let mut quoted = false;
            let mut chars = rest.char_indices();
            let end = loop {
                let Some((at, c)) = chars.next() else { break rest.len() };
                match c {
                    '"' => quoted = !quoted,
                    ' ' if !quoted => break at,
                    '\\' if quoted => word.push(escape(&mut chars)),
                    c => word.extend(c.encode_utf8(&mut [0; 4]).bytes()),
                }
            };
            left.push(repeated(word));
            rest = rest[end..].trim_start();
        }
        Words { line, base, left }
    }

    fn peek(&self, word: &str) -> bool {
        self.left.first().is_some_and(|first| first == word.as_bytes())
    }

    fn take(&mut self) -> Vec<u8> {
        assert!(!self.left.is_empty(), "a word is missing: {}", self.line);
        self.left.remove(0)
    }

    fn rest(&mut self) -> Vec<u8> {
        if self.left.is_empty() { Vec::new() } else { self.take() }
    }

    fn times(&mut self) -> usize {
        let times = self.left.first().and_then(|w| std::str::from_utf8(w).ok()?.strip_suffix('x')?.parse().ok());
        times.inspect(|_| drop(self.take())).unwrap_or(1)
    }

    fn flag(&mut self, name: &str) -> bool {
        let at = self.left.iter().position(|word| word == name.as_bytes());
        at.map(|at| self.left.remove(at)).is_some()
    }

    fn named(&mut self, name: &str) -> Option<Vec<u8>> {
        let prefix = format!("{name}=");
        let at = self.left.iter().position(|word| word.starts_with(prefix.as_bytes()))?;
        Some(self.left.remove(at)[prefix.len()..].to_vec())
    }

    fn number(&mut self, name: &str) -> i64 {
        self.named(name).map_or(0, |word| String::from_utf8_lossy(&word).parse().expect("a number"))
    }

    fn one_of(&mut self, name: &str, names: &[&str]) -> i32 {
        self.named(name).map_or(0, |word| number_of(&word, names))
    }

    fn named_revision(&mut self, name: &str) -> i64 {
        self.named(name).map_or(0, |word| self.read_revision(&word))
    }

    fn revision(&mut self) -> i64 {
        let word = self.take();
        self.read_revision(&word)
    }

    fn read_revision(&self, word: &[u8]) -> i64 {
        let text = std::str::from_utf8(word).expect("a revision");
        let number: i64 = text.parse().unwrap_or_else(|e| panic!("{}: {text}: {e}", self.line));
        if text.starts_with('+') { self.base + number } else { number }
    }

    fn end(&self) {
        assert!(self.left.is_empty(), "words nobody knows: {}", self.line);
    }
}

fn escape(chars: &mut impl Iterator<Item = (usize, char)>) -> u8 {
    match chars.next().expect("something after a backslash").1 {
        '0' => 0,
        'x' => {
            let hex: String = chars.take(2).map(|(_, c)| c).collect();
            u8::from_str_radix(&hex, 16).expect("two hexadecimal digits")
        }
        c => c as u8,
    }
}

fn repeated(word: Vec<u8>) -> Vec<u8> {
    let split = std::str::from_utf8(&word).ok().and_then(|text| text.split_once('*'));
    match split.and_then(|(text, times)| Some(text.repeat(times.parse().ok()?))) {
        Some(long) => long.into_bytes(),
        None => word,
    }
}
