//! HPACK's Huffman code (RFC 7541, appendix B). The code is canonical, so the code lengths alone are the table; codes,
//! the short-code lookup and the long-code ranges follow from them at compile time.

/// Code length in bits of every byte, and of EOS (256).
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const MAX_BITS: usize = 30;
/// Codes up to this many bits are found by one lookup; that is every letter and digit.
const FAST_BITS: usize = 9;
const EOS: u16 = 256;

struct Tables {
    /// Symbols ordered by (code length, symbol).
    symbols: [u16; 257],
    /// First code of each length, and the place of its symbol in `symbols`.
    first_code: [u32; MAX_BITS + 1],
    first_place: [u16; MAX_BITS + 1],
    count: [u16; MAX_BITS + 1],
    /// (symbol, bits) by the next `FAST_BITS` bits; 0 bits = a longer code.
    fast: [(u8, u8); 1 << FAST_BITS],
}

static TABLES: Tables = build();

const fn build() -> Tables {
    let mut t = Tables {
        symbols: [0; 257],
        first_code: [0; MAX_BITS + 1],
        first_place: [0; MAX_BITS + 1],
        count: [0; MAX_BITS + 1],
        fast: [(0, 0); 1 << FAST_BITS],
    };
    let mut code = 0u32;
    let mut place = 0usize;
    let mut bits = 1;
    while bits <= MAX_BITS {
        code <<= 1;
        t.first_code[bits] = code;
        t.first_place[bits] = place as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == bits {
                t.symbols[place] = symbol as u16;
                if bits <= FAST_BITS {
                    let spare = FAST_BITS - bits;
                    let mut fill = 0;
                    while fill < 1 << spare {
                        t.fast[((code as usize) << spare) + fill] = (symbol as u8, bits as u8);
                        fill += 1;
                    }
                }
                code += 1;
                place += 1;
                t.count[bits] += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    // A complete prefix code uses up the whole code space.
    assert!(code == 1 << MAX_BITS && place == 257);
    t
}

/// Appends the decoded string; None if the code is not one, EOS appears, or the padding is not EOS's first bits.
#[must_use]
pub fn decode(input: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut acc = 0u64;
    let mut have = 0usize;
    let mut input = input.iter();
    loop {
        while have <= 56 {
            let Some(&byte) = input.next() else { break };
            acc |= u64::from(byte) << (56 - have);
            have += 8;
        }
        if have == 0 {
            return Some(());
        }
        let (symbol, bits) = TABLES.fast[(acc >> (64 - FAST_BITS)) as usize];
        let (symbol, bits) = match bits {
            0 => long_code(acc)?,
            bits => (u16::from(symbol), bits as usize),
        };
        if bits > have {
            // What is left is padding: fewer than 8 bits, all ones.
            let all_ones = acc >> (64 - have) == (1u64 << have) - 1;
            return (have < 8 && all_ones).then_some(());
        }
        if symbol == EOS {
            return None;
        }
        out.push(symbol as u8);
        acc <<= bits;
        have -= bits;
    }
}

fn long_code(acc: u64) -> Option<(u16, usize)> {
    for bits in FAST_BITS + 1..=MAX_BITS {
        let code = (acc >> (64 - bits)) as u32;
        let offset = code.wrapping_sub(TABLES.first_code[bits]);
        if offset < u32::from(TABLES.count[bits]) {
            let place = TABLES.first_place[bits] as usize + offset as usize;
            return Some((TABLES.symbols[place], bits));
        }
    }
    None
}
