//! Door: a byte buffer aligned for O_DIRECT. Owned by whoever holds it; it travels inside effects and completions.

use crate::limits::WAL_BLOCK_BYTES;
use std::fmt;

#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Block([u8; WAL_BLOCK_BYTES]);

const _: () =
    assert!(std::mem::size_of::<Block>() == WAL_BLOCK_BYTES && std::mem::align_of::<Block>() == WAL_BLOCK_BYTES);

/// Zero-initialised bytes whose start is aligned to, and whose length is a multiple of, `WAL_BLOCK_BYTES`.
pub struct AlignedBuf {
    blocks: Vec<Block>,
}

impl AlignedBuf {
    /// A zeroed buffer of at least `len` bytes, rounded up to whole blocks.
    pub fn zeroed(len: usize) -> Self {
        Self { blocks: vec![Block([0; WAL_BLOCK_BYTES]); len.div_ceil(WAL_BLOCK_BYTES)] }
    }

    /// Bytes held; a multiple of the block size.
    pub fn len(&self) -> usize {
        self.blocks.len() * WAL_BLOCK_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Grows or shrinks to `len` bytes rounded up to whole blocks; new bytes are zero.
    pub fn resize(&mut self, len: usize) {
        self.blocks.resize(len.div_ceil(WAL_BLOCK_BYTES), Block([0; WAL_BLOCK_BYTES]));
    }

    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `Block` is a plain byte array without padding; the vector owns `len()` contiguous initialised bytes.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast::<u8>(), self.len()) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as `as_slice`, and the exclusive borrow of self makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast::<u8>(), self.len()) }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len())
    }
}
