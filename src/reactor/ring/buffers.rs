//! Provided receive buffers: memory the kernel picks from when bytes arrive, so that idle connections hold none. Owned by
//! one `Ring`. A buffer is either the kernel's (listed in the shared ring) or ours (between a completion and `recycle`),
//! and must never be recycled twice.

use super::queue::Queue;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// Most buffers in a ring the kernel takes, count.
const BUFFERS_MAX: u16 = 32768;

/// The shared ring of entries must start on a page.
const PAGE_BYTES: usize = 4096;

pub(super) struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    bytes_each: u32,
    tail: u16,
    /// For each buffer: with the kernel? Guards against recycling one twice, which would let two connections write to it.
    lent: Vec<bool>,
}

impl Buffers {
    /// Allocates the buffers (untouched pages cost nothing until bytes arrive) and hands them all to the kernel.
    pub(super) fn register(queue: &Queue, count: u16, bytes_each: u32) -> io::Result<Self> {
        let count = count.clamp(1, BUFFERS_MAX).next_power_of_two();
        let bytes_each = bytes_each.max(1);
        let entries = allocate(entries_layout(count)).cast::<BufRingEntry>();
        let memory = allocate(memory_layout(count, bytes_each));
        let mut buffers = Self { entries, memory, count, bytes_each, tail: 0, lent: vec![false; usize::from(count)] };
        // SAFETY: the entries live until `unregister`, or are leaked by it.
        unsafe { queue.register_buffers(entries.as_ptr() as u64, count, GROUP)? };
        for id in 0..count {
            buffers.recycle(id);
        }
        Ok(buffers)
    }

    /// The bytes a completion put into buffer `id`. Only for a buffer the kernel has just handed over.
    pub(super) fn take(&mut self, id: u16, len: usize) -> &[u8] {
        assert!(id < self.count && len <= self.bytes_each as usize, "the kernel stays within our buffers");
        assert!(std::mem::replace(&mut self.lent[usize::from(id)], false), "a buffer is handed over once");
        // SAFETY: the buffer lies within `memory`, was zeroed at the start and so is initialised, and the kernel does not
        // touch it again before `recycle`, which needs the exclusive borrow this slice holds on.
        unsafe { std::slice::from_raw_parts(self.address(id), len) }
    }

    /// Gives buffer `id` to the kernel.
    pub(super) fn recycle(&mut self, id: u16) {
        assert!(!std::mem::replace(&mut self.lent[usize::from(id)], true), "a buffer is recycled once");
        let slot = usize::from(self.tail & (self.count - 1));
        // SAFETY: `slot` is within the ring of `count` entries, and the kernel does not read it before the tail moves. The
        // first entry shares its memory with the tail, which the setters do not touch.
        let entry = unsafe { &mut *self.entries.as_ptr().add(slot) };
        entry.set_addr(self.address(id) as u64);
        entry.set_len(self.bytes_each);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` is the start of the registered ring, where the tail lives, aligned and valid for an atomic.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
        // Release: the kernel sees the entry before it sees the tail.
        tail.store(self.tail, Ordering::Release);
    }

    fn address(&self, id: u16) -> *mut u8 {
        // SAFETY: `id < count`, so the result is within the allocation of `count * bytes_each` bytes.
        unsafe { self.memory.as_ptr().add(usize::from(id) * self.bytes_each as usize) }
    }

    /// Takes the buffers from the kernel and frees them. Only when no receive is in flight any more.
    pub(super) fn unregister(self, queue: &Queue) {
        if queue.unregister_buffers(GROUP).is_err() {
            // The kernel may still hold on to them: leaking is the only safe thing left.
            std::mem::forget(self);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: both were allocated with these layouts, and `register` or `unregister` made sure that the kernel does
        // not know them.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), entries_layout(self.count));
            dealloc(self.memory.as_ptr(), memory_layout(self.count, self.bytes_each));
        }
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: both layouts have a size above zero.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

fn entries_layout(count: u16) -> Layout {
    let bytes = usize::from(count) * size_of::<BufRingEntry>();
    Layout::from_size_align(bytes, PAGE_BYTES).expect("a small layout")
}

fn memory_layout(count: u16, bytes_each: u32) -> Layout {
    let bytes = usize::from(count) * bytes_each as usize;
    Layout::from_size_align(bytes, PAGE_BYTES).expect("receive buffers fit the address space")
}
