//! A line of `txn` into words: text in double quotes with escapes, text in single quotes as it is, and plain words,
//! which end at a blank. A quote that is never closed is passed over.

use etcd_uring::client::gotext::unquote;

use crate::failure::Failure;

pub(super) fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.first() {
        let len = match first {
            b'"' => closing_double(rest),
            b'\'' => rest[1..].iter().position(|b| *b == b'\'').map(|at| at + 2),
            b if is_blank(*b) => None,
            _ => Some(rest.iter().position(|b| is_blank(*b)).unwrap_or(rest.len())),
        };
        let Some(len) = len else {
            rest = &rest[1..];
            continue;
        };
        let (word, tail) = rest.split_at(len);
        rest = tail;
        words.push(match first {
            b'"' => unquote(&String::from_utf8_lossy(word)).ok_or_else(|| Failure::invalid_input("invalid syntax"))?,
            b'\'' => word[1..len - 1].to_vec(),
            _ => word.to_vec(),
        });
    }
    Ok(words)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c')
}

/// Length of the text up to the double quote that ends it.
fn closing_double(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let check = |line: &str, words: &[&str]| {
            let split: Vec<String> =
                split(line.as_bytes()).unwrap().into_iter().map(|w| String::from_utf8(w).unwrap()).collect();
            assert_eq!(split, words, "{line}");
        };
        check("put a b", &["put", "a", "b"]);
        check("put \"a b\" 'c \\ d' e\"f", &["put", "a b", "c \\ d", "e\"f"]);
        check("put \"a\\\"b\\n\" ''", &["put", "a\"b\n", ""]);
        check("a\"b c\"d", &["a\"b", "c\"d"]);
        check("\"a\"b", &["a", "b"]);
        check("put \"abc", &["put", "abc"]);
        check("put 'abc", &["put", "abc"]);
        check("\"a\\", &["a\\"]);
        check("  ", &[]);
        assert_eq!(split(b"\"\\q\"").unwrap_err().message, "invalid syntax");
        assert_eq!(split(b"put \xff").unwrap()[1], b"\xff");
    }
}
