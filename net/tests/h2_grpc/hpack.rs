//! HPACK against RFC 7541's own examples (appendix C) and its hostile neighbours.

use net::h2::hpack::{Decoder, Fault, huffman, put_literal, put_literal_indexed_name};

use super::pair::Rng;

pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<String, Fault> {
    let mut text = String::new();
    decoder.decode(block, |name, value| {
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        text.push_str(&format!("{name}: {value}\n"));
    })?;
    Ok(text)
}

/// `testdata/hpack.txt`: cases of `= name, table bytes`, then blocks of `< hex`, expected fields, `table bytes`.
#[test]
fn rfc_examples() {
    let mut decoder = Decoder::new(4096);
    let mut blocks = 0;
    for part in include_str!("testdata/hpack.txt").split("\n\n") {
        let mut expected = String::new();
        let mut outcome = Ok(String::new());
        for line in part.lines().filter(|line| !line.starts_with('#')) {
            if let Some(bytes) = line.strip_prefix("= table ") {
                decoder = Decoder::new(bytes.parse().expect("a number"));
            } else if let Some(hex) = line.strip_prefix("< ") {
                outcome = decode(&mut decoder, &unhex(hex));
                blocks += 1;
            } else if let Some(size) = line.strip_prefix("> table ") {
                assert_eq!(decoder.table().size().to_string(), size, "{part}");
            } else {
                expected.push_str(line);
                expected.push('\n');
            }
        }
        assert_eq!(outcome, Ok(expected), "{part}");
    }
    assert_eq!(blocks, 16);
}

#[test]
fn faults() {
    let cases: &[(&str, Fault)] = &[
        ("80", Fault::NoSuchIndex),
        ("be", Fault::NoSuchIndex),
        ("7f ff ff ff ff 0f", Fault::IntegerTooLarge),
        ("ff ff ff ff ff ff ff ff ff ff 01", Fault::IntegerTooLarge),
        ("ff 80 80 80 80 80 00", Fault::IntegerTooLarge),
        ("ff", Fault::Truncated),
        ("40 05 61", Fault::Truncated),
        ("40 01 61", Fault::Truncated),
        ("00 7f ff ff ff 07 61", Fault::Truncated),
        ("3f e2 1f", Fault::SizeUpdateTooLarge),
        ("82 20", Fault::SizeUpdateLate),
        // EOS inside a string, padding of zeros, padding of a whole byte.
        ("00 01 61 84 ff ff ff ff", Fault::BadHuffman),
        ("00 01 61 81 18", Fault::BadHuffman),
        ("00 01 61 82 1f ff", Fault::BadHuffman),
    ];
    for (hex, fault) in cases {
        assert_eq!(decode(&mut Decoder::new(4096), &unhex(hex)), Err(*fault), "{hex}");
    }
}

#[test]
fn eviction_of_the_entry_that_names_its_successor() {
    let mut decoder = Decoder::new(4096);
    let mut block = unhex("3f 09 40 03 616263 03 646566"); // table of 40 bytes, `abc: def` fills 38
    assert_eq!(decode(&mut decoder, &block), Ok("abc: def\n".into()));
    block = unhex("7e 03 676869"); // name by index 62, whose entry has to go
    assert_eq!(decode(&mut decoder, &block), Ok("abc: ghi\n".into()));
    assert_eq!((decoder.table().len(), decoder.table().size()), (1, 38));
}

#[test]
fn what_is_written_is_read() {
    let mut rng = Rng::new(11);
    for _ in 0..500 {
        let (name_len, value_len) = (1 + rng.below(300), rng.below(20_000));
        let (name, value) = (rng.bytes(name_len), rng.bytes(value_len));
        let index = 1 + rng.below(61) as u8;
        let mut block = Vec::new();
        put_literal(&mut block, &name, &value);
        put_literal_indexed_name(&mut block, index, &value);
        let mut fields = Vec::new();
        let mut decoder = Decoder::new(4096);
        decoder.decode(&block, |n, v| fields.push((n.to_vec(), v.to_vec()))).expect("our own writing");
        let static_name = net::h2::hpack::table::STATIC[index as usize - 1].0.to_vec();
        assert_eq!(fields, [(name, value.clone()), (static_name, value)]);
        assert_eq!(decoder.generation(), Decoder::new(4096).generation(), "our writing never touches the table");
    }
}

#[test]
fn random_blocks_never_panic_and_the_table_stays_in_bounds() {
    let mut rng = Rng::new(5);
    let mut decoder = Decoder::new(512);
    for _ in 0..200_000 {
        let len = rng.below(60);
        let mut block = rng.bytes(len);
        if len > 2 && rng.below(2) == 0 {
            block[0] = 0x40; // a literal with indexing, so that the table fills
            block[1] &= 0x8f;
        }
        let _ = decode(&mut decoder, &block);
        assert!(decoder.table().size() <= 512);
        let mut out = Vec::new();
        let _ = huffman::decode(&block, &mut out);
        assert!(out.len() <= block.len() * 8 / 5);
    }
}
