//! HPACK reading: every representation, Huffman strings, the dynamic table with eviction and size updates.
//! A fault here ends the connection: the two sides' tables can no longer be trusted to agree.

use super::huffman;
use super::table::{DynamicTable, STATIC};
use crate::h2::error::ConnectionError;

/// Bits an integer may have: lengths and indices above 2^28 are nonsense and would only overflow.
const MAX_INTEGER_BITS: u32 = 28;

/// Bytes of scratch memory kept between blocks.
const MAX_IDLE_SCRATCH_BYTES: usize = 8 << 10;

/// What was wrong with a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Truncated,
    IntegerTooLarge,
    NoSuchIndex,
    BadHuffman,
    SizeUpdateTooLarge,
    SizeUpdateLate,
}

impl From<Fault> for ConnectionError {
    fn from(fault: Fault) -> Self {
        ConnectionError::compression(match fault {
            Fault::Truncated => "header block truncated",
            Fault::IntegerTooLarge => "header block integer too large",
            Fault::NoSuchIndex => "header block index not in the table",
            Fault::BadHuffman => "header block with a bad Huffman string",
            Fault::SizeUpdateTooLarge => "header table size update above the setting",
            Fault::SizeUpdateLate => "header table size update inside a block",
        })
    }
}

/// One connection's decoder.
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
    /// What we advertised: the ceiling for size updates.
    max_table_bytes: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    pub fn new(max_table_bytes: usize) -> Self {
        Decoder { table: DynamicTable::new(max_table_bytes), max_table_bytes, name: Vec::new(), value: Vec::new() }
    }

    /// Changes exactly when a block changed the dynamic table. Equal bytes at an equal generation decode equally.
    pub fn generation(&self) -> u64 {
        self.table.generation()
    }

    /// The dynamic table, for inspection.
    pub fn table(&self) -> &DynamicTable {
        &self.table
    }

    /// Decodes one whole block, handing each field to `field` in order.
    pub fn decode(&mut self, mut block: &[u8], mut field: impl FnMut(&[u8], &[u8])) -> Result<(), Fault> {
        let mut seen_field = false;
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut block, 7)?;
                let (name, value) = self.table.get(index).ok_or(Fault::NoSuchIndex)?;
                field(name, value);
            } else if first & 0xe0 == 0x20 {
                let size = integer(&mut block, 5)?;
                if seen_field {
                    return Err(Fault::SizeUpdateLate);
                }
                if size > self.max_table_bytes {
                    return Err(Fault::SizeUpdateTooLarge);
                }
                self.table.set_max_size(size);
                continue;
            } else {
                let indexing = first & 0x40 != 0;
                self.literal(&mut block, indexing, &mut field)?;
            }
            seen_field = true;
        }
        for scratch in [&mut self.name, &mut self.value] {
            if scratch.capacity() > MAX_IDLE_SCRATCH_BYTES {
                *scratch = Vec::new();
            }
        }
        Ok(())
    }

    fn literal(
        &mut self,
        block: &mut &[u8],
        indexing: bool,
        field: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Fault> {
        let index = integer(block, if indexing { 6 } else { 4 })?;
        // Insertion may evict the very entry the name comes from: a name out of the dynamic table is copied first.
        let name = match index {
            0 => string(block, &mut self.name)?,
            1..=61 => STATIC[index - 1].0,
            _ => {
                let (name, _) = self.table.get(index).ok_or(Fault::NoSuchIndex)?;
                self.name.clear();
                self.name.extend_from_slice(name);
                &self.name
            }
        };
        let value = string(block, &mut self.value)?;
        field(name, value);
        if indexing {
            self.table.insert(name, value);
        }
        Ok(())
    }
}

/// RFC 7541, 5.1.
#[inline]
fn integer(block: &mut &[u8], prefix_bits: u32) -> Result<usize, Fault> {
    let (&first, mut rest) = block.split_first().ok_or(Fault::Truncated)?;
    let max = (1usize << prefix_bits) - 1;
    let mut value = first as usize & max;
    if value == max {
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or(Fault::Truncated)?;
            rest = after;
            if shift >= MAX_INTEGER_BITS {
                return Err(Fault::IntegerTooLarge);
            }
            value += (byte as usize & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    Ok(value)
}

/// RFC 7541, 5.2: lent from the block, or from `scratch` when it was Huffman-coded.
#[inline]
fn string<'o, 'b: 'o>(block: &mut &'b [u8], scratch: &'o mut Vec<u8>) -> Result<&'o [u8], Fault> {
    let huffman_coded = block.first().ok_or(Fault::Truncated)? & 0x80 != 0;
    let len = integer(block, 7)?;
    let (raw, rest) = block.split_at_checked(len).ok_or(Fault::Truncated)?;
    *block = rest;
    if !huffman_coded {
        return Ok(raw);
    }
    scratch.clear();
    huffman::decode(raw, scratch).ok_or(Fault::BadHuffman)?;
    Ok(scratch)
}
