//! A leaf of the key index: plain words, so that copying one for a new root is a memcpy and touches no reference count.
//! Of each key an eight-byte fragment is kept, taken after the prefix that all keys of the leaf share; most searches look
//! at a single row's key, to verify.

use super::inner::Separator;
use super::{Head, Log, LogWriter};
use crate::apply::mvcc::limits::LEAF_ENTRIES_MAX;
use std::cmp::Ordering;
use std::sync::Arc;

#[derive(Clone, Copy)]
struct Entry {
    fragment: u64,
    /// Position of the newest row, shifted left once; the lowest bit says that the key is live.
    packed: u64,
    main: i64,
}

impl Entry {
    fn new(head: Head, fragment: u64) -> Entry {
        Entry { packed: pack(head), main: head.main, fragment }
    }

    fn key<'a>(&self, log: &'a Log) -> &'a [u8] {
        log.row(self.packed >> 1).key()
    }
}

fn pack(head: Head) -> u64 {
    head.position << 1 | u64::from(head.live)
}

/// Cloning counts a reference; a change copies the words if somebody else holds them too.
#[derive(Clone)]
pub(super) struct Leaf {
    /// Length of the prefix that all keys here share; fragments are taken after it.
    skip: u32,
    live: u32,
    /// All fragments, then all packed positions, then all main revisions: a search stays within few cache lines.
    words: Arc<[u64]>,
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
        Leaf { skip: 0, live: 0, words: Arc::default() }
    }

    /// `entries` may be fragmented after a shorter prefix than they share.
    fn new(log: &Log, entries: &mut [Entry], skip: usize) -> Leaf {
        let mut fitting = skip;
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            fitting = common_prefix(first.key(log), last.key(log));
        }
        if fitting != skip {
            refragment(log, entries, fitting);
        }
        Leaf::assemble(entries, fitting)
    }

    fn assemble(entries: &[Entry], skip: usize) -> Leaf {
        let fragments = entries.iter().map(|entry| entry.fragment);
        let packed = entries.iter().map(|entry| entry.packed);
        let mains = entries.iter().map(|entry| entry.main as u64);
        let live = entries.iter().map(|entry| (entry.packed & 1) as u32).sum();
        let skip = u32::try_from(skip).expect("a key of 4 GiB");
        Leaf { skip, live, words: fragments.chain(packed).chain(mains).collect() }
    }

    pub fn len(&self) -> usize {
        self.words.len() / 3
    }

    pub fn live(&self) -> u64 {
        u64::from(self.live)
    }

    pub fn head(&self, index: usize) -> Head {
        let (packed, main) = (self.words[self.len() + index], self.words[2 * self.len() + index]);
        Head { position: packed >> 1, main: main as i64, live: packed & 1 == 1 }
    }

    fn key<'a>(&self, log: &'a Log, index: usize) -> &'a [u8] {
        log.row(self.words[self.len() + index] >> 1).key()
    }

    fn entries(&self) -> Vec<Entry> {
        let len = self.len();
        let entry = |index: usize| Entry {
            fragment: self.words[index],
            packed: self.words[len + index],
            main: self.words[2 * len + index] as i64,
        };
        // Room for the one that is about to be inserted.
        let mut entries = Vec::with_capacity(len + 1);
        entries.extend((0..len).map(entry));
        entries
    }

    fn skip(&self) -> usize {
        self.skip as usize
    }

    /// Where `key` is, or where it would be inserted.
    pub fn search(&self, log: &Log, key: &[u8]) -> Result<usize, usize> {
        let Some(last) = self.len().checked_sub(1) else { return Err(0) };
        let fragments = &self.words[..=last];
        let wanted = fragment(key, self.skip());
        let mut low = fragments.partition_point(|&fragment| fragment < wanted);
        let mut high = low + fragments[low..].partition_point(|&fragment| fragment == wanted);
        // Fragments only order keys that share the prefix: one look at any key here tells whether this one does.
        let probe = low.midpoint(high).min(last);
        let probed = self.key(log, probe);
        if self.skip > 0 && key.get(..self.skip()) != Some(&probed[..self.skip()]) {
            return Err(if key < probed { 0 } else { self.len() });
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
            match self.key(log, middle).cmp(key) {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub fn rank(&self, log: &Log, key: &[u8]) -> u64 {
        let index = self.search(log, key).unwrap_or_else(|index| index);
        self.words[self.len()..][..index].iter().map(|packed| packed & 1).sum()
    }

    pub fn upsert<F>(&mut self, log: &mut LogWriter, key: &[u8], make: F) -> (i64, Option<(Separator, Leaf)>)
    where
        F: FnOnce(&mut LogWriter, Option<Head>) -> Head,
    {
        match self.search(log.log(), key) {
            Ok(index) => {
                let old = self.head(index);
                let head = make(log, Some(old));
                let len = self.len();
                let words = Arc::make_mut(&mut self.words);
                words[len + index] = pack(head);
                words[2 * len + index] = head.main as u64;
                let live_delta = i64::from(head.live) - i64::from(old.live);
                self.live = self.live.checked_add_signed(live_delta as i32).expect("live count");
                (live_delta, None)
            }
            Err(index) => {
                let mut entries = self.entries();
                let skip = self.narrowed(log.log(), key);
                if skip != self.skip() {
                    refragment(log.log(), &mut entries, skip);
                }
                let head = make(log, None);
                entries.insert(index, Entry::new(head, fragment(key, skip)));
                let right = if entries.len() > LEAF_ENTRIES_MAX {
                    Some(self.split(log.log(), &mut entries, index, skip))
                } else {
                    *self = Leaf::assemble(&entries, skip);
                    None
                };
                (i64::from(head.live), right)
            }
        }
    }

    pub fn remove(&mut self, index: usize) -> Head {
        let head = self.head(index);
        let mut entries = self.entries();
        entries.remove(index);
        *self = Leaf::assemble(&entries, self.skip());
        head
    }

    /// Takes over the entries of the right neighbour.
    pub fn merge(&mut self, log: &Log, right: &Leaf) {
        let mut entries = self.entries();
        entries.append(&mut right.entries());
        let skip = self.skip.min(right.skip) as usize;
        // The two are fragmented after different prefixes: an impossible length makes all of it be done again.
        *self = Leaf::new(log, &mut entries, if self.skip == right.skip { skip } else { usize::MAX });
    }

    /// How much of the skipped prefix is left when `key` joins.
    fn narrowed(&self, log: &Log, key: &[u8]) -> usize {
        if self.len() == 0 { 0 } else { common_prefix(&self.key(log, 0)[..self.skip()], key) }
    }

    /// Keeps the left part of too many entries and answers the right one; the one at `inserted` is new.
    fn split(&mut self, log: &Log, entries: &mut [Entry], inserted: usize, skip: usize) -> (Separator, Leaf) {
        // Keys that come in ascending order leave full leaves behind.
        let at = if inserted + 1 == entries.len() { inserted } else { entries.len() / 2 };
        let (left, right) = entries.split_at_mut(at);
        let (last, first) = (left[at - 1].key(log), right[0].key(log));
        // The shortest key above everything on the left.
        let separator = Separator::new(&first[..common_prefix(last, first) + 1]);
        *self = Leaf::new(log, left, skip);
        (separator, Leaf::new(log, right, skip))
    }

    pub fn check(&self, log: &Log, last: &mut Option<Vec<u8>>) {
        assert!(self.len() <= LEAF_ENTRIES_MAX);
        for entry in self.entries() {
            let key = entry.key(log);
            assert!(last.as_deref().is_none_or(|last| last < key), "keys ascend");
            assert_eq!(entry.fragment, fragment(key, self.skip()));
            assert!(key.starts_with(&self.key(log, 0)[..self.skip()]));
            *last = Some(key.to_vec());
        }
        assert_eq!(u64::from(self.live), self.entries().iter().map(|entry| entry.packed & 1).sum::<u64>());
    }
}

fn refragment(log: &Log, entries: &mut [Entry], skip: usize) {
    for entry in entries {
        entry.fragment = fragment(entry.key(log), skip);
    }
}
