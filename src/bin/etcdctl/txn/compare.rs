//! A compare of `txn`: `target("key") operator "value"`. Key and value are quoted text; the operator stands between
//! blanks. What follows the value is not looked at, which etcd's own tool does not do either.

use bytes::Bytes;
use engine::pb::etcdserverpb::compare::TargetUnion;
use engine::pb::etcdserverpb::{Compare, CompareResult, CompareTarget};
use etcd_uring::client::cli::parse_int;
use etcd_uring::client::gotext::{quote, unquote};

use crate::failure::Failure;

const DECIMAL: u32 = 10;

/// Lease IDs are in hexadecimal wherever this tool takes them.
const HEXADECIMAL: u32 = 16;

pub(super) fn parse(line: &[u8]) -> Result<Compare, Failure> {
    let line = String::from_utf8_lossy(line);
    let malformed = |rest: String| Failure::invalid_input(format!("malformed comparison: {line}{rest}"));
    let (target, rest) = line.split_once('(').ok_or_else(|| malformed(String::new()))?;
    let parts = Parts::scan(rest);
    let Parts { key, operator, value: Some(value) } = parts else {
        let (key, operator) = (quote(&parts.key), parts.operator);
        return Err(malformed(format!("; got {target}({key}) {operator} \"\"")));
    };
    let number = |base| {
        let text = String::from_utf8_lossy(&value);
        parse_int(&text, base).map_err(|_| Failure::invalid_input(format!("invalid txn compare request: {line}")))
    };
    let (target, union) = match target {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number(DECIMAL)?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number(DECIMAL)?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(DECIMAL)?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(Bytes::from(value.clone()))),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(HEXADECIMAL)?)),
        other => return Err(malformed(format!(" (unknown target {other})"))),
    };
    let result = match operator.as_str() {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        other => return Err(malformed(format!(" (unknown operator {other}: use =, !=, < or >)"))),
    };
    Ok(Compare {
        result: result as i32,
        target: target as i32,
        key: Bytes::from(key),
        target_union: Some(union),
        range_end: Bytes::new(),
    })
}

/// As far as the text after the bracket could be read.
#[derive(Default)]
struct Parts {
    key: Vec<u8>,
    operator: String,
    value: Option<Vec<u8>>,
}

impl Parts {
    fn scan(text: &str) -> Parts {
        let mut parts = Parts::default();
        let Some((key, rest)) = quoted(text.trim_start()) else { return parts };
        parts.key = key;
        let Some(rest) = rest.strip_prefix(')').filter(|rest| rest.starts_with(char::is_whitespace)) else {
            return parts;
        };
        let rest = rest.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        parts.operator = rest[..end].to_string();
        parts.value = quoted(rest[end..].trim_start()).map(|(value, _)| value);
        parts
    }
}

/// Quoted text at the beginning, and what follows it.
fn quoted(text: &str) -> Option<(Vec<u8>, &str)> {
    let mark = text.chars().next().filter(|c| ['"', '`'].contains(c))?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && mark == '"' {
            escaped = true;
        } else if c == mark {
            let (whole, rest) = text.split_at(at + 1);
            return Some((unquote(whole)?, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, target: CompareTarget, result: CompareResult, union: TargetUnion) {
        let compare = parse(line.as_bytes()).unwrap();
        assert_eq!((compare.target(), compare.result()), (target, result), "{line}");
        assert_eq!((compare.key.as_ref(), compare.target_union), (&b"k"[..], Some(union)), "{line}");
    }

    #[test]
    fn targets_and_operators() {
        let (version, create) = (CompareTarget::Version, CompareTarget::Create);
        check("ver(\"k\") = \"3\"", version, CompareResult::Equal, TargetUnion::Version(3));
        check("version( \"k\")  <\t\"-3\" more", version, CompareResult::Less, TargetUnion::Version(-3));
        check("c(\"k\") != \"0\"", create, CompareResult::NotEqual, TargetUnion::CreateRevision(0));
        check("create(`k`) > \"7\"", create, CompareResult::Greater, TargetUnion::CreateRevision(7));
        check("m(\"k\") > \"7\"", CompareTarget::Mod, CompareResult::Greater, TargetUnion::ModRevision(7));
        let value = TargetUnion::Value(Bytes::from_static(b"a\"\n\xff"));
        check("val(\"k\") = \"a\\\"\\n\\xff\"", CompareTarget::Value, CompareResult::Equal, value);
        check("lease(\"k\") = \"1f\"", CompareTarget::Lease, CompareResult::Equal, TargetUnion::Lease(0x1f));
    }

    #[test]
    fn mistakes() {
        for (line, text) in [
            ("mod \"k\" > \"0\"", "malformed comparison: mod \"k\" > \"0\""),
            ("mod(k) > \"0\"", "malformed comparison: mod(k) > \"0\"; got mod(\"\")  \"\""),
            ("mod(\"k\")>\"0\"", "malformed comparison: mod(\"k\")>\"0\"; got mod(\"k\")  \"\""),
            ("mod(\"k\") >\"0\"", "malformed comparison: mod(\"k\") >\"0\"; got mod(\"k\") >\"0\" \"\""),
            ("val( \"k\" ) = \"b\"", "malformed comparison: val( \"k\" ) = \"b\"; got val(\"k\")  \"\""),
            ("foo(\"k\") > \"0\"", "malformed comparison: foo(\"k\") > \"0\" (unknown target foo)"),
            ("mod(\"k\") > \"z\"", "invalid txn compare request: mod(\"k\") > \"z\""),
            (
                "mod(\"k\") >= \"0\"",
                "malformed comparison: mod(\"k\") >= \"0\" (unknown operator >=: use =, !=, < or >)",
            ),
        ] {
            let failure = parse(line.as_bytes()).unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (3, text));
        }
    }
}
