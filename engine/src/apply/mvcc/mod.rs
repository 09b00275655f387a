//! The multi-version store, served from memory: a revision log of rows and an index from key to newest row.
//! `Store` is the one writer, owned by apply; `publish` shows its work to `Reader`s, of which each shard has one. A `View`
//! is the whole store at one moment and never changes. Nothing here knows leases, users or the wire.

mod compact;
mod hash;
pub mod limits;
mod log;
mod range;
mod reader;
mod row;
mod state;
mod store;
mod tree;

pub use hash::{HashScan, KvHash};
pub use range::{Projection, RangeResult, has_revision_filters, is_default_order};
pub use reader::{Reader, View};
pub use row::{Fields, Kv, RowKey};
pub use state::Keys;
pub use store::{Census, Counts, Paused, Store, Txn};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The revision asked for was compacted.
    Compacted,
    /// The revision asked for is not there yet.
    FutureRev,
}

/// Why a row of a db file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    Malformed,
    /// The message decodes but is not what any etcd writes; hashing it as it is would set this member apart.
    NotCanonical,
    OutOfOrder,
}

/// A key was attached to another lease than before; 0 is none. In the order of the changes.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseChange {
    /// The row that did it, which names the key.
    pub row: Kv,
    pub from: i64,
    pub to: i64,
}
