//! Keys and values of the load: numbers as keys in the form etcd's tool writes them, values of random bytes.

use std::io::Read;

use etcd_uring::client::cli::Matches;

/// Bytes of requests encoded in advance: with fewer different ones than fit, none is encoded during the run.
pub const PREPARED_BYTES_MAX: u64 = 64 << 20;

/// The keys of a run, by number.
#[derive(Clone, Copy)]
pub struct Keys {
    key_bytes: usize,
    /// Number of different keys.
    pub space: u64,
}

impl Keys {
    /// From `--key-size` and `--key-space-size`.
    pub fn new(matches: &Matches) -> Result<Keys, String> {
        let key_bytes = size(matches, "key-size")?;
        let space = matches.int("key-space-size");
        if space <= 0 {
            return Err(format!("expected positive --key-space-size, got ({space})"));
        }
        let space = space as u64;
        if varint(space - 1).len() > key_bytes {
            return Err(format!("--key-size={key_bytes} is too small for {space} different keys"));
        }
        Ok(Keys { key_bytes, space })
    }

    /// The key of a number, which wraps at the size of the key space.
    pub fn key(&self, number: u64) -> Vec<u8> {
        let mut key = varint(number % self.space);
        key.resize(self.key_bytes, 0);
        key
    }
}

/// A flag that is a number of bytes or of things.
pub fn size(matches: &Matches, name: &str) -> Result<usize, String> {
    usize::try_from(matches.int(name)).map_err(|_| format!("negative --{name}"))
}

/// Zig-zag varint, the form in which etcd's tool writes a key's number.
fn varint(number: u64) -> Vec<u8> {
    let mut rest = number << 1;
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

/// A well spread number from a running one (the finaliser of splitmix64).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub fn random_bytes(len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; len];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| format!("failed to generate value: {error}"))?;
    Ok(bytes)
}

/// What makes the order of a run different from the last one's.
pub fn seed() -> Result<u64, String> {
    Ok(u64::from_le_bytes(random_bytes(8)?.try_into().expect("eight bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_keys() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(1), [2]);
        assert_eq!(varint(64), [0x80, 1]);
        let keys = Keys { key_bytes: 4, space: 1000 };
        assert_eq!((keys.key(1), keys.key(1064)), (vec![2, 0, 0, 0], vec![0x80, 1, 0, 0]));
    }
}
