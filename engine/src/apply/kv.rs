//! KV requests against the store: range, put, delete, txn, compaction.
