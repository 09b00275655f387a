//! Named limits of the engine: each with its unit and its reason. Anything that can grow is bounded by a row here.

/// Size of a WAL segment in bytes: etcd's, decimal. Go cuts to the next segment after a save passes it.
pub const WAL_SEGMENT_BYTES: u64 = 64_000_000;

/// Unit of O_DIRECT writes to the log, in bytes. Covers every logical block size of disks in use (512 and 4096).
pub const WAL_BLOCK_BYTES: usize = 4096;

/// Most bytes of records that one WAL write carries. A batch above this is written in the next one: a single write must
/// stay well below the disk's own stall limits, and 1 MiB already saturates SSDs.
pub const WAL_BATCH_BYTES_MAX: usize = 1 << 20;

/// Largest log record accepted by recovery, in bytes. Guards against absurd lengths from a damaged frame; ten times etcd's
/// largest sensible `--max-request-bytes` (10 MiB plus overhead).
pub const WAL_RECORD_BYTES_MAX: u64 = 100 << 20;

/// Entries kept in memory below the applied index for slow followers (etcd's snapshot-catchup-entries default).
pub const LOG_CATCH_UP_ENTRIES: u64 = 5000;

/// Proposals waiting for their entry to be applied, count. etcd refuses new ones at this backlog of unapplied entries.
pub const PROPOSALS_PENDING_MAX: usize = 5000;

/// Bytes of proposals waiting for their entry to be applied: 5000 small ones fit, 40 of the largest default size too.
pub const PROPOSALS_PENDING_BYTES_MAX: usize = 64 << 20;

/// Bytes of records that wait to be handed to the disk, above which proposals are refused: a disk that stands still must not
/// collect the requests of clients that gave up and came again.
pub const LOG_PENDING_BYTES_MAX: u64 = PROPOSALS_PENDING_BYTES_MAX as u64;

/// How often a disk without room for the next log segment is tried again, in nanoseconds: soon enough after somebody made
/// room, rare enough that trying costs nothing.
pub const LOG_SPACE_RETRY_NS: u64 = 1_000_000_000;

/// Committed entries not yet applied at which proposals are refused, count: etcd's maxGapBetweenApplyAndCommitIndex.
pub const APPLY_BACKLOG_ENTRIES_MAX: u64 = 5000;

/// Committed entries taken from consensus and waiting to be applied, count. The rest stays in the log in memory; a batch of
/// all pending proposals fits, so that the queue is empty again after one step in the usual case.
pub const APPLY_QUEUE_ENTRIES_MAX: usize = PROPOSALS_PENDING_MAX;

/// Bytes of committed entries waiting to be applied above which no more are taken from consensus. One take adds 4 MiB at
/// most (or one entry).
pub const APPLY_QUEUE_BYTES_MAX: usize = 16 << 20;

/// Work of one apply step, in rows touched or entries looked at: some 10 ms, a tenth of a heartbeat interval. Then ticks,
/// messages and completions get their turn.
pub const APPLY_STEP_ROWS: usize = 5_000;

/// Bytes of entries applied in one step.
pub const APPLY_STEP_BYTES_MAX: usize = 8 << 20;

/// Rows in one segment of the revision log, count: big enough that the segment table stays small (1 M rows: 245
/// segments), small enough that a compacted stretch is given back soon.
pub const REVISION_SEGMENT_ROWS: usize = 4096;

/// Entries dropped from the in-memory log at a time, count: dropping is cheap but not free, and lateness costs little.
pub const LOG_COMPACT_STRIDE_ENTRIES: u64 = 500;

/// Linearizable reads waiting for a quorum round or for apply, count. Shards answer "too many requests" above it; a round
/// serves all that wait, so only a lost leader lets this fill.
pub const READS_WAITING_MAX: usize = 50_000;

/// How long an unanswered read-index round waits before it is asked again, in nanoseconds (etcd's 500 ms).
pub const READ_INDEX_RETRY_NS: u64 = 500_000_000;

/// Rows that one step of a compaction looks at, count: some 100 us of work, between which ticks and requests get their turn.
pub const COMPACTION_STEP_ROWS: usize = 2_000;
/// Unit in which a torn write shows, in bytes: a disk keeps either the old or the new content of a sector, never a mix.
/// etcd judges a broken last record by the same unit.
pub const WAL_SECTOR_BYTES: usize = 512;

/// Bytes of zeros in one background write ahead of the log writer. Zeros written ahead spare each durable write the journal
/// commit that turns a fallocated extent into a written one; 256 KiB keeps a data write from queueing behind more than a
/// fraction of a millisecond of them, and a segment needs only 245.
pub const WAL_ZERO_PIECE_BYTES: usize = 256 << 10;

/// Distance in bytes that zeros written ahead keep from the end of the log: one full batch, so that a data write has to
/// wait for a piece in flight only if a whole batch went by while that piece was written.
pub const WAL_ZERO_GAP_BYTES: u64 = WAL_BATCH_BYTES_MAX as u64;

/// Bytes asked from the disk per read while the log is replayed: the size at which sequential reads stop getting faster.
pub const WAL_READ_BYTES: usize = 1 << 20;

/// Stretches of written data told apart in the last segment, count. A segment is written front to back and has one or two;
/// more are taken as one, which only costs reading zeros.
pub const WAL_TAIL_STRETCHES_MAX: usize = 64;

/// Capacity in bytes that the encoder keeps for the next batch after a larger backlog was written out.
pub const WAL_BATCH_KEEP_BYTES: usize = 2 * WAL_BATCH_BYTES_MAX;

/// Bytes at the end of a segment that are kept for raft's own records (a new leader's empty entry, hard states, publish,
/// conf changes) while there is no next segment: with 150 bytes a record that is some 400 of them, more than the elections
/// of a bad hour. Segments of tests keep the share below.
pub const WAL_RESERVE_BYTES: u64 = 64 << 10;

/// Largest share (1/n) of a segment that the reserve takes.
pub const WAL_RESERVE_SHARE: u64 = 8;

/// Bytes that an entry may take in the log beside its payload: frame, checksum, padding, term and index (70), and the hard
/// state that goes with its batch (50). Counted high: what is let in must fit.
pub const WAL_ENTRY_OVERHEAD_BYTES: u64 = 128;

/// Steps of consensus whose messages wait for the disk, count. Beyond it the messages of the newest join the one before,
/// and what is more than `WAITING_MESSAGES_MAX` is dropped, which raft takes for a loss on the way.
pub const UNPERSISTED_READYS_MAX: usize = 1024;

/// Messages of one member that wait for its disk, count: an hour of heartbeat answers at ten a second would be 36,000.
pub const WAITING_MESSAGES_MAX: usize = 4096;

const _: () = assert!(WAL_RESERVE_BYTES * WAL_RESERVE_SHARE <= WAL_SEGMENT_BYTES);
const _: () = assert!(WAL_SEGMENT_BYTES.is_multiple_of(WAL_BLOCK_BYTES as u64));
const _: () = assert!(WAL_BATCH_BYTES_MAX.is_multiple_of(WAL_BLOCK_BYTES));
const _: () = assert!(WAL_ZERO_PIECE_BYTES.is_multiple_of(WAL_BLOCK_BYTES));
const _: () = assert!(WAL_BLOCK_BYTES.is_multiple_of(WAL_SECTOR_BYTES));
