//! Header blocks of one connection that were decoded before.
//!
//! A block is the same header list again only if the HPACK table is the same. So an entry holds for one generation of
//! the table, and a block that changes the table is never entered. Anything laxer lets one request be read with
//! another's credentials.

use super::limits::{CACHED_BLOCKS, MAX_CACHED_BLOCK_BYTES};

#[derive(Debug)]
struct Entry<T> {
    block: Vec<u8>,
    generation: u64,
    value: T,
}

#[derive(Debug)]
pub struct BlockCache<T> {
    entries: Vec<Entry<T>>,
    /// Where the next entry goes: round robin.
    hand: usize,
}

impl<T> Default for BlockCache<T> {
    fn default() -> Self {
        BlockCache { entries: Vec::new(), hand: 0 }
    }
}

impl<T> BlockCache<T> {
    /// The value of an equal block, if the table is still at the generation it was decoded with.
    #[inline]
    pub fn get(&self, block: &[u8], generation: u64) -> Option<&T> {
        self.entries.iter().find(|e| e.generation == generation && e.block == block).map(|e| &e.value)
    }

    /// Remembers a block that was decoded between two readings of the table's generation.
    pub fn put(&mut self, block: &[u8], before: u64, after: u64, value: T) {
        if before != after || block.len() > MAX_CACHED_BLOCK_BYTES {
            return;
        }
        if self.entries.len() < CACHED_BLOCKS {
            self.entries.push(Entry { block: block.to_vec(), generation: after, value });
            return;
        }
        let entry = &mut self.entries[self.hand];
        entry.block.clear();
        entry.block.extend_from_slice(block);
        entry.generation = after;
        entry.value = value;
        self.hand = (self.hand + 1) % CACHED_BLOCKS;
    }
}
