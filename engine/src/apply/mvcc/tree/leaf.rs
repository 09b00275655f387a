//! A leaf of the key index: plain data, so that copying one for a new root is a memcpy and touches no reference count.
//! Of each key an eight-byte fragment is kept, taken after the prefix that all keys of the leaf share; most searches look
//! at a single row's key, to verify.

use super::inner::Separator;
use super::{Head, Log, LogWriter};
use crate::apply::mvcc::limits::{LEAF_ENTRIES_MAX, LEAF_GROWTH_ENTRIES};
use std::cmp::Ordering;

#[derive(Clone, Copy)]
struct Entry {
    /// Position of the newest row, shifted left once; the lowest bit says that the key is live.
    packed: u64,
    main: i64,
    fragment: u64,
}

impl Entry {
    fn new(head: Head, fragment: u64) -> Entry {
        Entry { packed: head.position << 1 | u64::from(head.live), main: head.main, fragment }
    }

    fn head(&self) -> Head {
        Head { position: self.packed >> 1, main: self.main, live: self.packed & 1 == 1 }
    }

    fn key<'a>(&self, log: &'a Log) -> &'a [u8] {
        log.row(self.packed >> 1).key()
    }
}

pub(super) struct Leaf {
    /// Length of the prefix that all keys here share; fragments are taken after it.
    skip: usize,
    live: u32,
    entries: Vec<Entry>,
}

impl Clone for Leaf {
    /// With room for an insertion, which is what a leaf is often copied for, and in few different sizes, which spares the
    /// allocator's free lists.
    fn clone(&self) -> Leaf {
        let capacity = (self.entries.len() + 1).next_multiple_of(LEAF_GROWTH_ENTRIES).min(LEAF_ENTRIES_MAX);
        let mut entries = Vec::with_capacity(capacity.max(self.entries.len()));
        entries.extend_from_slice(&self.entries);
        Leaf { skip: self.skip, live: self.live, entries }
    }
}

fn fragment(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or(&[]);
    let mut bytes = [0; 8];
    let len = rest.len().min(8);
    bytes[..len].copy_from_slice(&rest[..len]);
    u64::from_be_bytes(bytes)
}

pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Leaf {
    pub fn empty() -> Leaf {
        Leaf { skip: 0, live: 0, entries: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn live(&self) -> u64 {
        u64::from(self.live)
    }

    pub fn head(&self, index: usize) -> Head {
        self.entries[index].head()
    }

    pub fn first_key<'a>(&self, log: &'a Log) -> &'a [u8] {
        self.entries[0].key(log)
    }

    /// Where `key` is, or where it would be inserted.
    pub fn search(&self, log: &Log, key: &[u8]) -> Result<usize, usize> {
        let Some(last) = self.entries.len().checked_sub(1) else { return Err(0) };
        let wanted = fragment(key, self.skip);
        let mut low = self.entries.partition_point(|entry| entry.fragment < wanted);
        let mut high = low + self.entries[low..].partition_point(|entry| entry.fragment == wanted);
        // Fragments only order keys that share the prefix: one look at any key here tells whether this one does.
        let probe = low.midpoint(high).min(last);
        let probed = self.entries[probe].key(log);
        if self.skip > 0 && key.get(..self.skip) != Some(&probed[..self.skip]) {
            return Err(if key < probed { 0 } else { self.entries.len() });
        }
        if low < high {
            match probed.cmp(key) {
                Ordering::Equal => return Ok(probe),
                Ordering::Less => low = probe + 1,
                Ordering::Greater => high = probe,
            }
        }
        while low < high {
            let middle = low.midpoint(high);
            match self.entries[middle].key(log).cmp(key) {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub fn rank(&self, log: &Log, key: &[u8]) -> u64 {
        let index = self.search(log, key).unwrap_or_else(|index| index);
        self.entries[..index].iter().map(|entry| entry.packed & 1).sum()
    }

    pub fn upsert<F>(&mut self, log: &mut LogWriter, key: &[u8], make: F) -> (i64, Option<(Separator, Leaf)>)
    where
        F: FnOnce(&mut LogWriter, Option<Head>) -> Head,
    {
        match self.search(log.log(), key) {
            Ok(index) => {
                let old = self.entries[index].head();
                let head = make(log, Some(old));
                self.entries[index] = Entry::new(head, self.entries[index].fragment);
                let live_delta = i64::from(head.live) - i64::from(old.live);
                self.live = self.live.checked_add_signed(live_delta as i32).expect("live count");
                (live_delta, None)
            }
            Err(index) => {
                self.narrow(log.log(), key);
                let head = make(log, None);
                let entry = Entry::new(head, fragment(key, self.skip));
                (i64::from(head.live), self.insert(log.log(), index, entry))
            }
        }
    }

    pub fn remove(&mut self, index: usize) -> Head {
        let head = self.entries.remove(index).head();
        self.live -= u32::from(head.live);
        head
    }

    /// Takes over the entries of the right neighbour.
    pub fn merge(&mut self, log: &Log, right: &Leaf) {
        self.entries.extend_from_slice(&right.entries);
        self.live += right.live;
        self.refit(log, true);
    }

    /// Makes sure that `key` shares the skipped prefix.
    fn narrow(&mut self, log: &Log, key: &[u8]) {
        let Some(first) = self.entries.first() else { return };
        let shared = common_prefix(&first.key(log)[..self.skip], key);
        if shared < self.skip {
            self.skip = shared;
            self.refragment(log);
        }
    }

    /// Skips as much as all keys share now.
    fn refit(&mut self, log: &Log, force: bool) {
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) else { return };
        let shared = common_prefix(first.key(log), last.key(log));
        if force || shared != self.skip {
            self.skip = shared;
            self.refragment(log);
        }
    }

    fn refragment(&mut self, log: &Log) {
        for entry in &mut self.entries {
            entry.fragment = fragment(entry.key(log), self.skip);
        }
    }

    fn insert(&mut self, log: &Log, index: usize, entry: Entry) -> Option<(Separator, Leaf)> {
        self.live += (entry.packed & 1) as u32;
        if self.entries.len() < LEAF_ENTRIES_MAX {
            if self.entries.len() == self.entries.capacity() {
                self.entries.reserve_exact(LEAF_GROWTH_ENTRIES.min(LEAF_ENTRIES_MAX - self.entries.len()));
            }
            self.entries.insert(index, entry);
            return None;
        }
        // Keys that come in ascending order leave full leaves behind.
        let at = if index == self.entries.len() { index } else { self.entries.len() / 2 };
        let mut right = Leaf { skip: self.skip, live: 0, entries: self.entries.split_off(at) };
        self.entries.shrink_to(at + LEAF_GROWTH_ENTRIES.min(LEAF_ENTRIES_MAX - at));
        if index < at {
            self.entries.insert(index, entry);
        } else {
            right.entries.reserve_exact(LEAF_GROWTH_ENTRIES);
            right.entries.insert(index - at, entry);
        }
        right.live = right.entries.iter().map(|entry| (entry.packed & 1) as u32).sum();
        self.live -= right.live;
        self.refit(log, false);
        right.refit(log, false);
        let last = self.entries.last().expect("the left half").key(log);
        let first = right.first_key(log);
        // The shortest key above everything on the left.
        let separator = Separator::new(&first[..common_prefix(last, first) + 1]);
        Some((separator, right))
    }

    pub fn check(&self, log: &Log, last: &mut Option<Vec<u8>>) {
        assert!(self.entries.len() <= LEAF_ENTRIES_MAX);
        for entry in &self.entries {
            let key = entry.key(log);
            assert!(last.as_deref().is_none_or(|last| last < key), "keys ascend");
            assert_eq!(entry.fragment, fragment(key, self.skip));
            assert!(key.starts_with(&self.first_key(log)[..self.skip]));
            *last = Some(key.to_vec());
        }
        assert_eq!(u64::from(self.live), self.entries.iter().map(|entry| entry.packed & 1).sum::<u64>());
    }
}
