//! Opens a replica: makes a new log, or replays an old one into the state machine. Blocking, before the server runs.
//! Until there is a db file the log alone is the state: a log that says otherwise (a marker above 0) is refused.

use super::{Config, Replica};
use crate::apply::Machine;
use crate::apply::cluster::{Cluster, Member};
use crate::consensus::{self, Node};
use crate::disk::Disk;
use crate::effect::{FileId, Now};
use crate::limits::{COMPACTION_STEP_ROWS, LOG_CATCH_UP_ENTRIES};
use crate::pb::{raftpb, walpb};
use crate::wal;
use prost::Message as _;
use std::fmt;
use std::path::Path;

/// What a start needs besides the configuration.
pub enum Start<'a> {
    /// A new member of a new cluster of these members.
    New { cluster_id: u64, members: &'a [Member] },
    /// Whatever the log says.
    Restart,
}

pub struct Opened {
    pub replica: Replica,
    pub member_id: u64,
    pub cluster_id: u64,
    /// The log file that is open on the disk and must be handed to whoever executes file operations.
    pub log_file: FileId,
    /// Bytes of a torn write that were cut off the log's end.
    pub torn_bytes: u64,
    /// Entries the log held.
    pub entries: u64,
}

#[derive(Debug)]
pub enum OpenError {
    Log(wal::RecoverError),
    /// The log belongs to a member whose state is partly in a db file.
    HasCheckpoint {
        index: u64,
    },
    /// The log's metadata does not name a member and a cluster.
    NoIdentity,
    /// An entry is missing between two others, or the first is not 1.
    Hole {
        expected: u64,
        found: u64,
    },
    Unapplicable(crate::apply::Unapplicable),
    Consensus(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::HasCheckpoint { index } => write!(
                f,
                "the write-ahead log has a snapshot marker at index {index}: part of the state is in a db file, which this \
                 version cannot read yet; start the etcd version that wrote it"
            ),
            Self::NoIdentity => f.write_str("the write-ahead log does not say which member and cluster it belongs to"),
            Self::Hole { expected, found } => {
                write!(f, "the write-ahead log goes on with entry {found} where entry {expected} belongs")
            }
            Self::Unapplicable(what) => what.fmt(f),
            Self::Consensus(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<wal::RecoverError> for OpenError {
    fn from(error: wal::RecoverError) -> Self {
        Self::Log(error)
    }
}

/// Opens the log in `dir` on `disk`. On a restart the member and cluster ids in the log win over the configured ones.
pub fn open(
    mut config: Config,
    disk: &mut dyn Disk,
    dir: &Path,
    start: Start<'_>,
    now: Now,
) -> Result<Opened, OpenError> {
    let first_file = FileId(0);
    match start {
        Start::New { cluster_id, members } => {
            let metadata = walpb::Metadata { node_id: config.member_id, cluster_id }.encode_to_vec().into();
            let (hard_state, entries) = bootstrap(members);
            let tail = wal::create_with(disk, dir, metadata, (hard_state, &entries), &config.wal, first_file)?;
            let log_file = tail.file;
            let log = wal::Writer::new(tail, &config.wal);
            let (member_id, count) = (config.member_id, entries.len() as u64);
            let replica = assemble(config, Cluster::new(cluster_id), hard_state, entries, log, now)?;
            Ok(Opened { replica, member_id, cluster_id, log_file, torn_bytes: 0, entries: count })
        }
        Start::Restart => {
            let options = wal::Options { config: config.wal.clone(), first_file, ..wal::Options::default() };
            let mut entries = Tail::default();
            let recovered = wal::recover(disk, dir, &options, &mut |entry| entries.push(entry))?;
            if let Some(marker) = recovered.markers.iter().find(|m| m.index > 0) {
                return Err(OpenError::HasCheckpoint { index: marker.index });
            }
            let entries = entries.consecutive()?;
            let metadata = walpb::Metadata::decode(recovered.metadata).map_err(|_| OpenError::NoIdentity)?;
            if metadata.node_id == 0 || metadata.cluster_id == 0 {
                return Err(OpenError::NoIdentity);
            }
            config.member_id = metadata.node_id;
            let (member_id, cluster_id, count) = (metadata.node_id, metadata.cluster_id, entries.len() as u64);
            let log_file = recovered.tail.file;
            let log = wal::Writer::new(recovered.tail, &config.wal);
            let replica = assemble(config, Cluster::new(cluster_id), recovered.hard_state, entries, log, now)?;
            Ok(Opened { replica, member_id, cluster_id, log_file, torn_bytes: recovered.torn_bytes, entries: count })
        }
    }
}

/// Entries as they are read: one whose index was there before replaces it and all after it.
#[derive(Default)]
struct Tail {
    entries: Vec<raftpb::Entry>,
    hole: Option<(u64, u64)>,
}

impl Tail {
    fn push(&mut self, entry: raftpb::Entry) {
        let next = self.entries.len() as u64 + 1;
        if entry.index == 0 || entry.index > next {
            self.hole.get_or_insert((next, entry.index));
            return;
        }
        self.entries.truncate(entry.index as usize - 1);
        self.entries.push(entry);
    }

    fn consecutive(self) -> Result<Vec<raftpb::Entry>, OpenError> {
        match self.hole {
            Some((expected, found)) => Err(OpenError::Hole { expected, found }),
            None => Ok(self.entries),
        }
    }
}

/// The first entries of every log: one conf change a member, in the order of their ids, at term 1 and committed.
fn bootstrap(members: &[Member]) -> (raftpb::HardState, Vec<raftpb::Entry>) {
    let mut members: Vec<&Member> = members.iter().collect();
    members.sort_by_key(|m| m.id);
    let entry = |(i, member): (usize, &&Member)| {
        let change = raftpb::ConfChange {
            r#type: raftpb::ConfChangeType::AddNode as i32,
            node_id: member.id,
            context: member.to_json().into(),
            ..Default::default()
        };
        let data = change.encode_to_vec().into();
        raftpb::Entry { r#type: raftpb::EntryType::ConfChange as i32, term: 1, index: i as u64 + 1, data }
    };
    let entries: Vec<_> = members.iter().enumerate().map(entry).collect();
    (raftpb::HardState { term: 1, vote: 0, commit: entries.len() as u64 }, entries)
}

/// Applies what is committed and hands the rest to consensus.
fn assemble(
    config: Config,
    cluster: Cluster,
    hard_state: raftpb::HardState,
    mut entries: Vec<raftpb::Entry>,
    log: wal::Writer,
    now: Now,
) -> Result<Replica, OpenError> {
    let mut machine = Machine::new(cluster);
    let applied = hard_state.commit as usize;
    assert!(applied <= entries.len(), "recovery checks that the log reaches its commit index {applied}");
    for entry in &entries[..applied] {
        machine.apply(entry, &|_| false).map_err(OpenError::Unapplicable)?;
        // Rows that a compaction in the log drops are given back on the way, not held until the end.
        machine.store.compact_step(COMPACTION_STEP_ROWS);
    }
    machine.store.publish();
    let applied_term = entries[..applied].last().map_or(0, |e| e.term);
    let dropped = applied.saturating_sub(LOG_CATCH_UP_ENTRIES as usize);
    let prev_term = entries[..dropped].last().map_or(0, |e| e.term);
    let node = Node::new(consensus::Boot {
        id: config.member_id,
        election_ticks: config.election_ticks,
        heartbeat_ticks: 1,
        pre_vote: config.pre_vote,
        hard_state,
        applied: applied as u64,
        prev_index: dropped as u64,
        prev_term,
        entries: entries.split_off(dropped),
        conf_state: machine.cluster.conf_state(),
        seed: config.seed,
    })
    .map_err(OpenError::Consensus)?;
    Ok(Replica::assemble(config, node, log, machine, applied_term, now))
}
