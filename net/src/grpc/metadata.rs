//! Call metadata: header fields in order, in one buffer, looked up by name. Names are lower case.

/// A list of fields; names may repeat.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Metadata {
    bytes: Vec<u8>,
    /// End of each name and of each value in `bytes`; a field begins where the one before ends.
    ends: Vec<(u32, u32)>,
}

impl Metadata {
    pub const fn new() -> Self {
        Metadata { bytes: Vec::new(), ends: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of memory it takes.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<(u32, u32)>()
    }

    /// Adds a field as it is on the wire.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        if self.ends.is_empty() {
            // One allocation instead of several steps of growth for the usual request.
            self.bytes.reserve(256);
            self.ends.reserve(8);
        }
        self.bytes.extend_from_slice(name);
        let name_end = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        self.ends.push((name_end, self.bytes.len() as u32));
    }

    /// Adds a text field.
    pub fn insert(&mut self, name: &str, value: &str) {
        assert!(!name.bytes().any(|b| b.is_ascii_uppercase()), "metadata names are lower case");
        self.push(name.as_bytes(), value.as_bytes());
    }

    /// Adds a binary field; its name ends in `-bin`.
    pub fn insert_binary(&mut self, name: &str, value: &[u8]) {
        assert!(name.ends_with(BINARY_SUFFIX));
        self.push(name.as_bytes(), &encode_base64(value));
    }

    /// Fields in order, values as they are on the wire.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(name_end, value_end)| {
            let name = &self.bytes[start..name_end as usize];
            start = value_end as usize;
            (name, &self.bytes[name_end as usize..value_end as usize])
        })
    }

    /// First value of a name, as it is on the wire.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// First value of a name, if it is text.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// First value of a `-bin` name, decoded; None if absent or not base64.
    pub fn get_binary(&self, name: &str) -> Option<Vec<u8>> {
        debug_assert!(name.ends_with(BINARY_SUFFIX));
        let raw = self.get(name)?;
        decode_base64(raw.split(|b| *b == b',').next()?.trim_ascii())
    }
}

/// Names of binary fields end so.
pub const BINARY_SUFFIX: &str = "-bin";

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 without padding, as gRPC sends it.
fn encode_base64(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len().div_ceil(3) * 4);
    for group in raw.chunks(3) {
        let bits = group.iter().enumerate().fold(0u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..=group.len() {
            out.push(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]);
        }
    }
    out
}

/// Where a `-bin` value stops being base64, as Go's decoder counts; None if it is.
pub(super) fn base64_fault(raw: &[u8]) -> Option<usize> {
    let unpadded = match raw {
        _ if !raw.len().is_multiple_of(4) => raw,
        [body @ .., b'=', b'='] | [body @ .., b'='] => body,
        body => body,
    };
    let foreign = unpadded.iter().position(|b| !b.is_ascii_alphanumeric() && !b"+/".contains(b));
    foreign.or_else(|| (unpadded.len() % 4 == 1).then_some(unpadded.len() - 1))
}

/// Base64 with or without padding: gRPC peers send both.
fn decode_base64(raw: &[u8]) -> Option<Vec<u8>> {
    let unpadded = match raw {
        [body @ .., b'=', b'='] | [body @ .., b'='] => body,
        body => body,
    };
    if unpadded.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(unpadded.len() * 3 / 4);
    for group in unpadded.chunks(4) {
        let mut bits = 0u32;
        for (at, digit) in group.iter().enumerate() {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits |= u32::from(value) << (18 - 6 * at);
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(out)
}
