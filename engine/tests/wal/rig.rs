//! A log on a simulated disk, and a ledger of everything that was ever put into it. Owned by one test at a time.
//! What recovery gives back must be a stretch of the ledger that covers everything acknowledged.

use bytes::Bytes;
use engine::disk::{AlignedBuf, SimDisk};
use engine::effect::{FileId, FileOp, FileResult, OpId};
use engine::pb::raftpb::{Entry, HardState};
use engine::pb::walpb;
use engine::wal::{Config, Options, RecoverError, Recovered, Replayed, Seq, Writer, create, recover};
use std::path::Path;

pub type Found = (Recovered, Vec<Entry>);

pub const METADATA: &[u8] = b"\x08\x01\x10\x02";

pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

pub fn tiny() -> Config {
    Config { segment_bytes: 8192, batch_bytes_max: 4096, zero_piece_bytes: 4096, zero_gap_bytes: 4096 }
}

pub fn options(config: &Config) -> Options {
    Options { config: config.clone(), ..Options::default() }
}

pub fn entry(term: u64, index: u64, data: Vec<u8>) -> Entry {
    Entry { r#type: 0, term, index, data: Bytes::from(data) }
}

pub fn state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit }
}

/// A new log in `wal` on a fresh disk.
pub fn fresh(seed: u64, config: &Config) -> (SimDisk, Writer) {
    let mut disk = SimDisk::new(seed, "wal");
    let tail = create(&mut disk, Path::new("wal"), Bytes::from_static(METADATA), config, FileId(0)).expect("create");
    (disk, Writer::new(tail, config))
}

/// Recovers the log in `wal`; its entries in the order written.
pub fn reopen(disk: &mut SimDisk, options: &Options) -> Result<(Recovered, Vec<Entry>), RecoverError> {
    let mut entries = Vec::new();
    let recovered = recover(disk, Path::new("wal"), options, &mut |record| {
        if let Replayed::Entry(entry) = record {
            entries.push(entry);
        }
    })?;
    Ok((recovered, entries))
}

/// Hands every effect there is to the disk; how many.
pub fn submit_all(disk: &mut SimDisk, writer: &mut Writer) -> usize {
    let mut count = 0;
    while let Some((id, op)) = writer.poll_effect() {
        disk.submit(id, op);
        count += 1;
    }
    count
}

/// Runs until there is nothing left to do.
pub fn settle(disk: &mut SimDisk, writer: &mut Writer) {
    loop {
        submit_all(disk, writer);
        let Some((id, result, buf)) = disk.complete() else { return };
        writer.handle(id, result, buf).expect("no faults were asked for");
    }
}

pub fn close(disk: &mut SimDisk, mut writer: Writer) {
    writer.close();
    settle(disk, &mut writer);
    assert!(writer.is_closed());
}

/// Completes an operation as a disk without faults would.
pub fn complete(writer: &mut Writer, id: OpId, op: FileOp) {
    let (result, buf): (FileResult, Option<AlignedBuf>) = match op {
        FileOp::Write { buf, .. } => (Ok(buf.len()), Some(buf)),
        _ => (Ok(0), None),
    };
    writer.handle(id, result, buf).expect("a success");
}

/// Everything ever put into a log, and what of it must survive.
pub struct Ledger {
    rng: Rng,
    /// Entries in the order they were put in, over the life of the log.
    pub entries: Vec<Entry>,
    /// Hard states in the order they were put in; the first is the one that is surely durable.
    states: Vec<HardState>,
    markers: Vec<u64>,
    /// For appends not known durable: number, entries, states and markers put in so far.
    open: Vec<(Seq, usize, usize, usize)>,
    durable_entries: usize,
    durable_markers: usize,
    removed_below: u64,
    /// Entries of the log as raft sees it: the last index.
    last_index: u64,
    unique: u64,
}

impl Ledger {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            entries: Vec::new(),
            states: vec![HardState::default()],
            markers: Vec::new(),
            open: Vec::new(),
            durable_entries: 0,
            durable_markers: 0,
            removed_below: 0,
            last_index: 0,
            unique: 0,
        }
    }

    fn state(&self) -> HardState {
        *self.states.last().expect("there is always one")
    }

    fn data(&mut self) -> Vec<u8> {
        self.unique += 1;
        let mut data = self.unique.to_le_bytes().to_vec();
        let len = match self.rng.below(10) {
            0 => 0,
            1 => 1500,
            2 => self.rng.below(6000),
            _ => self.rng.below(200),
        };
        let zeros = self.rng.below(4) == 0;
        data.extend((0..len).map(|_| if zeros { 0 } else { self.rng.below(256) as u8 }));
        data
    }

    /// One random append, as a raft node might make it.
    pub fn append(&mut self, writer: &mut Writer) {
        let mut state = self.state();
        let mut entries = Vec::new();
        match self.rng.below(10) {
            0 => (state.term, state.vote) = (state.term + 1, self.rng.below(3)),
            1 => state.commit += self.rng.below(self.last_index - state.commit + 1),
            2 if self.last_index > 0 => return self.append_marker(writer),
            _ => {
                state.term = state.term.max(1);
                // Now and then a new leader replaces what is not committed.
                if self.rng.below(6) == 0 {
                    self.last_index -= self.rng.below(self.last_index - state.commit + 1);
                }
                for _ in 0..1 + self.rng.below(4) {
                    self.last_index += 1;
                    let data = self.data();
                    entries.push(entry(state.term, self.last_index, data));
                }
                state.commit += self.rng.below(self.last_index - state.commit + 1);
            }
        }
        self.entries.extend_from_slice(&entries);
        self.states.push(state);
        let seq = writer.append(Some(state), &entries);
        self.promise(seq, writer);
    }

    pub fn flush(&mut self, writer: &mut Writer) {
        let seq = writer.flush();
        self.promise(seq, writer);
    }

    /// A commit alone comes back with the number of the append before: nothing is promised for it.
    fn promise(&mut self, seq: Seq, writer: &Writer) {
        if self.open.last().is_none_or(|(last, ..)| *last < seq) && seq > writer.durable() {
            self.open.push((seq, self.entries.len(), self.states.len() - 1, self.markers.len()));
        }
    }

    fn append_marker(&mut self, writer: &mut Writer) {
        let index = self.state().commit;
        let conf_state = Some(engine::pb::raftpb::ConfState { voters: vec![1, 2, 3], ..Default::default() });
        let seq = writer.append_marker(&walpb::Snapshot { index, term: self.state().term, conf_state });
        self.markers.push(index);
        self.promise(seq, writer);
        if self.rng.below(2) == 0 {
            writer.remove_before(index);
            self.removed_below = self.removed_below.max(index);
        }
    }

    /// Notes what the writer says is durable.
    pub fn acknowledge(&mut self, writer: &Writer) {
        while self.open.first().is_some_and(|(seq, ..)| *seq <= writer.durable()) {
            let (_, entries, state, markers) = self.open.remove(0);
            (self.durable_entries, self.durable_markers) = (entries, markers);
            self.states.drain(..state);
            for (_, _, later, _) in &mut self.open {
                *later -= state;
            }
        }
    }

    /// Checks what recovery found and goes on from it.
    pub fn check(&mut self, recovered: &Recovered, entries: &[Entry]) {
        let start = match entries.first() {
            Some(first) => self.entries.iter().position(|entry| entry == first).expect("nothing is invented"),
            None => self.durable_entries,
        };
        let end = start + entries.len();
        assert_eq!(&self.entries[start..end.min(self.entries.len())], entries, "order is kept");
        assert!(end >= self.durable_entries, "{} entries are durable, {end} came back", self.durable_entries);
        // Of what is missing in front, the last entry tells how far it reached: later entries replace earlier ones.
        let missing_last = start.checked_sub(1).map_or(0, |last| self.entries[last].index);
        let missing_last = missing_last.min(entries.first().map_or(u64::MAX, |first| first.index - 1));
        assert!(
            start == 0 || entries.is_empty() || missing_last < self.removed_below,
            "only what was removed is missing"
        );
        let state = &recovered.hard_state;
        assert!(self.states.contains(state), "{state:?} was written, and none older is left: {:?}", self.states);
        let last = entries.last().map_or(recovered.tail.last_index, |entry| entry.index);
        assert!(recovered.hard_state.commit <= last.max(recovered.tail.last_index));
        let markers: Vec<u64> = recovered.markers.iter().map(|marker| marker.index).collect();
        assert!(
            (self.durable_markers..=self.markers.len()).any(|end| self.is_tail_of(&markers, end)),
            "markers {markers:?} of {:?}, {} durable",
            self.markers,
            self.durable_markers
        );
        assert_eq!(&recovered.metadata[..], METADATA);
        self.entries.truncate(end);
        self.states = vec![recovered.hard_state];
        self.open.clear();
        self.durable_entries = end;
        self.markers = markers;
        self.durable_markers = self.markers.len();
        self.last_index = recovered.tail.last_index;
    }

    /// Markers in front may have been removed with their segments; the one at 0 is put in by `create`.
    fn is_tail_of(&self, markers: &[u64], end: usize) -> bool {
        let mut all = vec![0];
        all.extend_from_slice(&self.markers[..end]);
        all.ends_with(markers) || self.markers[..end].ends_with(markers)
    }
}
