//! HPACK's two tables: the static one (RFC 7541, appendix A) and one connection's dynamic one.
//! `generation` changes with every change of the dynamic table: whoever remembers a decoded block checks it.

use std::collections::VecDeque;

/// Bytes an entry costs beyond its name and value (RFC 7541, 4.1).
pub const ENTRY_OVERHEAD_BYTES: usize = 32;

/// Evicted entries whose memory waits for the next insertion.
const MAX_SPARE_ENTRIES: usize = 4;

#[rustfmt::skip]
pub const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

#[derive(Debug, Default)]
struct Entry {
    bytes: Vec<u8>,
    name_len: usize,
}

impl Entry {
    fn size(&self) -> usize {
        self.bytes.len() + ENTRY_OVERHEAD_BYTES
    }
}

/// The dynamic table, newest entry first.
#[derive(Debug)]
pub struct DynamicTable {
    entries: VecDeque<Entry>,
    spare: Vec<Entry>,
    size: usize,
    max_size: usize,
    generation: u64,
}

impl DynamicTable {
    pub fn new(max_size: usize) -> Self {
        DynamicTable { entries: VecDeque::new(), spare: Vec::new(), size: 0, max_size, generation: 0 }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sum of the entries' sizes, overhead included.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn set_max_size(&mut self, max_size: usize) {
        self.generation += 1;
        self.max_size = max_size;
        self.evict_to(max_size);
    }

    /// An entry larger than the table empties it and is not kept; that is no error (RFC 7541, 4.4).
    pub fn insert(&mut self, name: &[u8], value: &[u8]) {
        self.generation += 1;
        let size = name.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        if size > self.max_size {
            self.evict_to(0);
            return;
        }
        self.evict_to(self.max_size - size);
        let mut entry = self.spare.pop().unwrap_or_default();
        entry.bytes.clear();
        entry.bytes.extend_from_slice(name);
        entry.bytes.extend_from_slice(value);
        entry.name_len = name.len();
        self.size += size;
        self.entries.push_front(entry);
        assert!(self.size <= self.max_size);
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size {
            let entry = self.entries.pop_back().expect("size counts the entries");
            self.size -= entry.size();
            if self.spare.len() < MAX_SPARE_ENTRIES {
                self.spare.push(entry);
            }
        }
    }

    /// Name and value at an HPACK index: 1..=61 static, then dynamic.
    pub fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        if index <= STATIC.len() {
            return STATIC.get(index.checked_sub(1)?).copied();
        }
        let entry = self.entries.get(index - STATIC.len() - 1)?;
        Some(entry.bytes.split_at(entry.name_len))
    }
}
