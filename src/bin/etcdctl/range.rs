//! Which keys a command is about: one key, `[key, range_end)`, a prefix, or everything from a key on.

use bytes::Bytes;

use crate::failure::Failure;

/// The end that means "no end".
const OPEN_END: &[u8] = b"\0";

/// Key and range end from the operands and the flags `--prefix` and `--from-key`. An empty key with either of
/// them stands for the first key there can be.
pub fn key_range(args: &[Vec<u8>], prefix: bool, from_key: bool) -> Result<(Bytes, Bytes), Failure> {
    let key = &args[0];
    if let Some(end) = args.get(1) {
        if prefix || from_key {
            let text = "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";
            return Err(Failure::bad_args(text));
        }
        return Ok((Bytes::copy_from_slice(key), Bytes::copy_from_slice(end)));
    }
    if (prefix || from_key) && key.is_empty() {
        return Ok((Bytes::from_static(b"\0"), Bytes::from_static(OPEN_END)));
    }
    let end = match (prefix, from_key) {
        (true, _) => prefix_end(key),
        (false, true) => Bytes::from_static(OPEN_END),
        (false, false) => Bytes::new(),
    };
    Ok((Bytes::copy_from_slice(key), end))
}

/// `--prefix` and `--from-key` say different things about the same end.
pub fn check_exclusive(prefix: bool, from_key: bool) -> Result<(), Failure> {
    if prefix && from_key {
        let text = "`--prefix` and `--from-key` cannot be set at the same time, choose one";
        return Err(Failure::bad_args(text));
    }
    Ok(())
}

/// Whether one server's own view is enough (`--consistency=s`).
pub fn is_serializable(consistency: &str) -> Result<bool, Failure> {
    match consistency {
        "s" => Ok(true),
        "l" => Ok(false),
        other => Err(Failure::bad_feature(format!("unknown consistency flag {other:?}"))),
    }
}

/// The first key after all keys that begin with `prefix`.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let Some(at) = prefix.iter().rposition(|b| *b < 0xff) else { return Bytes::from_static(OPEN_END) };
    let mut end = prefix[..=at].to_vec();
    end[at] += 1;
    Bytes::from(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let range = |key: &[u8], prefix, from_key| key_range(&[key.to_vec()], prefix, from_key).unwrap();
        let pair = |a: &'static [u8], b: &'static [u8]| (Bytes::from_static(a), Bytes::from_static(b));
        assert_eq!(range(b"k", false, false), pair(b"k", b""));
        assert_eq!(range(b"k", true, false), pair(b"k", b"l"));
        assert_eq!(range(b"a\xff\xff", true, false), pair(b"a\xff\xff", b"b"));
        assert_eq!(range(b"\xff", true, false), pair(b"\xff", b"\0"));
        assert_eq!(range(b"", true, false), pair(b"\0", b"\0"));
        assert_eq!(range(b"", false, true), pair(b"\0", b"\0"));
        assert_eq!(range(b"k", false, true), pair(b"k", b"\0"));
        assert!(key_range(&[b"a".to_vec(), b"b".to_vec()], true, false).is_err());
    }
}
