//! What shards and the raft role say to each other. The same values travel through a mailbox between threads, or straight
//! across when one thread has both roles.

use bytes::Bytes;
use engine::apply::kv::Answer;
use engine::replica::Error;

/// From a shard to the raft role. Each ends in exactly one `FromRaft` with the same id; the id's lane says which shard.
#[derive(Debug)]
pub enum ToRaft {
    /// A whole encoded InternalRaftRequest.
    Propose { id: u64, request: Bytes },
    /// Tell me when a linearizable read may be answered from the store.
    Read { id: u64 },
}

/// From the raft role to the shard that asked.
#[derive(Debug)]
pub enum FromRaft {
    Answer { id: u64, result: Result<Answer, Error> },
    ReadReady { id: u64, result: Result<(), Error> },
}

impl FromRaft {
    pub fn id(&self) -> u64 {
        match self {
            Self::Answer { id, .. } | Self::ReadReady { id, .. } => *id,
        }
    }
}
