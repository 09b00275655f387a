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
use std::collections::VecDeque;
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
    /// Most of them that were in memory at once.
    pub entries_held_max: usize,
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
            let log = wal::Writer::new(tail, &config.wal).with_canaries(config.canaries());
            let (member_id, mut history) = (config.member_id, History::new(Cluster::new(cluster_id)));
            for entry in entries {
                history.push(entry)?;
            }
            history.apply_to(hard_state.commit)?;
            let (entries, entries_held_max) = (history.last(), history.held_max);
            let replica = assemble(config, hard_state, history, log, now)?;
            Ok(Opened { replica, member_id, cluster_id, log_file, torn_bytes: 0, entries, entries_held_max })
        }
        Start::Restart => {
            let (wal, canaries) = (config.wal.clone(), config.canaries());
            let options = wal::Options { config: wal, first_file, canaries, ..wal::Options::default() };
            let mut replay = Replay::default();
            let recovered = wal::recover(disk, dir, &options, &mut |record| replay.take(record))?;
            if let Some(marker) = recovered.markers.iter().find(|m| m.index > 0) {
                return Err(OpenError::HasCheckpoint { index: marker.index });
            }
            let history = replay.finish(recovered.hard_state.commit)?;
            let metadata = walpb::Metadata::decode(recovered.metadata).map_err(|_| OpenError::NoIdentity)?;
            if metadata.node_id == 0 || metadata.cluster_id == 0 {
                return Err(OpenError::NoIdentity);
            }
            config.member_id = metadata.node_id;
            let (member_id, cluster_id) = (metadata.node_id, metadata.cluster_id);
            let (entries, entries_held_max) = (history.last(), history.held_max);
            let log_file = recovered.tail.file;
            let log = wal::Writer::new(recovered.tail, &config.wal).with_canaries(canaries);
            let replica = assemble(config, recovered.hard_state, history, log, now)?;
            let torn_bytes = recovered.torn_bytes;
            Ok(Opened { replica, member_id, cluster_id, log_file, torn_bytes, entries, entries_held_max })
        }
    }
}

/// A log as it is read: what is committed is applied on the way, so that memory holds the state, the newest applied entries
/// for slow followers, and what is not committed yet. Nothing here is true before recovery has found the log sound.
struct History {
    machine: Machine,
    /// Index and term of the entry before the first of `entries`.
    prev: (u64, u64),
    entries: VecDeque<raftpb::Entry>,
    applied_term: u64,
    /// Most entries held at once.
    held_max: usize,
}

impl History {
    fn new(cluster: Cluster) -> Self {
        let (machine, entries) = (Machine::new(cluster), VecDeque::new());
        Self { machine, prev: (0, 0), entries, applied_term: 0, held_max: 0 }
    }

    fn last(&self) -> u64 {
        self.prev.0 + self.entries.len() as u64
    }

    /// An entry whose index was there before replaces it and all after it.
    fn push(&mut self, entry: raftpb::Entry) -> Result<(), OpenError> {
        let expected = self.last() + 1;
        if entry.index <= self.machine.applied() || entry.index > expected {
            return Err(OpenError::Hole { expected, found: entry.index });
        }
        self.entries.truncate((entry.index - self.prev.0 - 1) as usize);
        self.entries.push_back(entry);
        self.held_max = self.held_max.max(self.entries.len());
        Ok(())
    }

    fn apply_to(&mut self, commit: u64) -> Result<(), OpenError> {
        while self.machine.applied() < commit.min(self.last()) {
            let entry = &self.entries[(self.machine.applied() - self.prev.0) as usize];
            self.machine.apply(entry, &|_| false).map_err(OpenError::Unapplicable)?;
            self.applied_term = entry.term;
            // Rows that a compaction in the log drops are given back on the way, not held until the end.
            self.machine.store.compact_step(COMPACTION_STEP_ROWS);
            if self.machine.applied() - self.prev.0 > LOG_CATCH_UP_ENTRIES {
                let dropped = self.entries.pop_front().expect("it was applied");
                self.prev = (dropped.index, dropped.term);
            }
        }
        Ok(())
    }
}

/// Takes the records of a log. The first thing that is wrong is kept, and nothing after it is looked at.
#[derive(Default)]
struct Replay {
    history: Option<History>,
    wrong: Option<OpenError>,
}

impl Replay {
    fn take(&mut self, record: wal::Replayed) {
        if self.wrong.is_none() {
            self.wrong = self.try_take(record).err();
        }
    }

    fn try_take(&mut self, record: wal::Replayed) -> Result<(), OpenError> {
        if let wal::Replayed::Metadata(metadata) = record {
            let metadata = walpb::Metadata::decode(metadata).map_err(|_| OpenError::NoIdentity)?;
            self.history = Some(History::new(Cluster::new(metadata.cluster_id)));
            return Ok(());
        }
        let history = self.history.as_mut().ok_or(OpenError::NoIdentity)?;
        match record {
            wal::Replayed::Metadata(_) => unreachable!("handled above"),
            wal::Replayed::Entry(entry) => history.push(entry),
            wal::Replayed::HardState(state) => history.apply_to(state.commit),
        }
    }

    fn finish(self, commit: u64) -> Result<History, OpenError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let mut history = self.history.ok_or(OpenError::NoIdentity)?;
        history.apply_to(commit)?;
        Ok(history)
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

/// Hands what was read to consensus: all that is committed is applied.
fn assemble(
    config: Config,
    mut hard_state: raftpb::HardState,
    mut history: History,
    log: wal::Writer,
    now: Now,
) -> Result<Replica, OpenError> {
    let applied = history.machine.applied();
    assert!(
        applied >= hard_state.commit,
        "recovery checks that the log reaches its commit index {}",
        hard_state.commit
    );
    // A log whose last hard state names an older commit than one before it: what was committed once stays it.
    hard_state.commit = applied;
    history.machine.store.set_canaries(config.canaries());
    history.machine.store.publish();
    let node = Node::new(consensus::Boot {
        id: config.member_id,
        election_ticks: config.election_ticks,
        heartbeat_ticks: 1,
        pre_vote: config.pre_vote,
        hard_state,
        applied,
        prev_index: history.prev.0,
        prev_term: history.prev.1,
        entries: history.entries.into(),
        conf_state: history.machine.cluster.conf_state(),
        seed: config.seed,
    })
    .map_err(OpenError::Consensus)?;
    Ok(Replica::assemble(config, node, log, history.machine, history.applied_term, now))
}
