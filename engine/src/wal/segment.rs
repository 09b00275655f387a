//! Names of log files: which segment a file is, and what its first entry is. Pure.
//! A name that does not parse is never treated as a segment, so nothing foreign in the directory is ever replayed.

use std::path::PathBuf;

/// `<seq>-<index>.wal`, both 16 hexadecimal digits: position in the log, and the index the first new entry in it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    pub seq: u64,
    pub first_index: u64,
}

/// Digits of each number in a segment name.
const DIGITS: usize = 16;

impl SegmentName {
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".wal")?;
        let (seq, first_index) = stem.split_once('-')?;
        Some(Self { seq: hex(seq)?, first_index: hex(first_index)? })
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from(self.to_string())
    }
}

impl std::fmt::Display for SegmentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.seq, self.first_index)
    }
}

/// Strict: exactly the digits Go's `%016x` writes. `from_str_radix` alone would take a sign.
fn hex(digits: &str) -> Option<u64> {
    let plain = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// Name of the `count`-th segment prepared ahead by one process. Go alternates between two names too, and ignores files
/// that end in `.tmp` when it reads a log.
pub fn prepared_name(count: u64) -> PathBuf {
    PathBuf::from(format!("{}.tmp", count % 2))
}

pub fn is_leftover(name: &str) -> bool {
    name.ends_with(".tmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_sort_by_sequence() {
        let first = SegmentName { seq: 0, first_index: 0 };
        assert_eq!(first.to_string(), "0000000000000000-0000000000000000.wal");
        let later = SegmentName { seq: 0x1f, first_index: u64::MAX };
        assert_eq!(later.to_string(), "000000000000001f-ffffffffffffffff.wal");
        assert_eq!(SegmentName::parse(&later.to_string()), Some(later));
        assert!(first < later);
    }

    #[test]
    fn what_is_not_a_segment() {
        for name in [
            "",
            ".wal",
            "0.tmp",
            "0-0.wal",
            "0000000000000000-0000000000000000.wal.broken",
            "000000000000000g-0000000000000000.wal",
            "+000000000000001-0000000000000000.wal",
            "000000000000001F-0000000000000000.wal",
            "0000000000000000_0000000000000000.wal",
        ] {
            assert_eq!(SegmentName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn prepared_names_alternate() {
        let names: Vec<_> = (0..3).map(prepared_name).collect();
        assert_eq!(names, [PathBuf::from("0.tmp"), PathBuf::from("1.tmp"), PathBuf::from("0.tmp")]);
        assert!(names.iter().all(|n| is_leftover(n.to_str().unwrap())));
    }
}
