//! Named limits of the store: each with its unit and its reason.

/// Entries of a full index leaf, count. A leaf is plain words (24 bytes an entry), so copying one costs a memcpy of at most
/// 1.5 KiB. Measured against 32 and 48: less memory a key and faster lookups at 1 M keys, no dearer updates.
pub const LEAF_ENTRIES_MAX: usize = 64;

/// Children of a full inner index node, count. Copying an inner node touches the reference count of every child,
/// which is a cache miss each: hence much less than a leaf holds.
pub const INNER_CHILDREN_MAX: usize = 16;

/// Segments in one chunk of the segment table, count. A new segment copies one chunk: 256 x 16 bytes.
pub const CHUNK_SEGMENTS: usize = 256;

/// Bytes of rows after which the open segment of the revision log is sealed before it is full. Rows can only be given
/// back from a sealed segment, so an open one must not be able to hold 4096 values of 1.5 MiB.
pub const SEGMENT_BYTES_MAX: usize = 8 << 20;

/// A segment is rewritten without its compacted rows when they are at least this share (1/n) of its rows. Rewriting costs a
/// reference count per surviving row; 1/8 bounds the waste at 12.5 % and the work at 8 moves a row.
pub const RECLAIM_ROWS_SHARE: usize = 8;

/// A segment is also rewritten when its compacted rows hold this many bytes, whatever their number: large values.
pub const RECLAIM_BYTES: usize = 256 << 10;

/// Compacted rows in the open segment that seal it early, count. Fewer are not worth a segment of their own.
pub const RECLAIM_OPEN_ROWS: usize = 512;

/// Share (1/n) of a rewritten segment's rows that counts against the budget of a compaction step: moving a reference count is
/// that much cheaper than looking at a row.
pub const RECLAIM_COST_SHARE: usize = 4;

/// Old roots one reader keeps for paged LISTs, count. A root costs at most one copy of the index (some 35 bytes a key).
pub const KEPT_ROOTS_MAX: usize = 4;

/// Revisions after which a kept root is dropped: a pager that slow pays with a scan for its count.
pub const KEPT_ROOT_AGE_REVISIONS: i64 = 100_000;

/// Hashes of finished compactions that are remembered, count: etcd's.
pub const COMPACTION_HASHES_MAX: usize = 10;
