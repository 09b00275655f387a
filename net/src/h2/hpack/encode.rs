//! HPACK writing without state: static indices and literals that are never indexed, so blocks can be computed ahead
//! and sent on any connection in any order.

/// A header that is wholly in the static table.
pub fn put_indexed(out: &mut Vec<u8>, index: u8) {
    assert!((1..=61).contains(&index));
    out.push(0x80 | index);
}

/// A literal without indexing whose name is in the static table.
pub fn put_literal_indexed_name(out: &mut Vec<u8>, index: u8, value: &[u8]) {
    assert!((1..=61).contains(&index));
    put_integer(out, 0x00, 4, index as usize);
    put_string(out, value);
}

/// A literal without indexing, name included.
pub fn put_literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    put_string(out, name);
    put_string(out, value);
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_integer(out, 0x00, 7, bytes.len());
    out.extend_from_slice(bytes);
}

/// RFC 7541, 5.1: `prefix_bits` of the first byte, then seven bits per byte.
fn put_integer(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, value: usize) {
    let max = (1usize << prefix_bits) - 1;
    if value < max {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | max as u8);
    let mut rest = value - max;
    while rest >= 0x80 {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}
