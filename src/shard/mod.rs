//! The shard role: connections and the calls on them.
