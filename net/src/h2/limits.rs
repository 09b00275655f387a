//! Every bound of the HTTP/2 layer, with its unit and reason. A peer must never be able to make us exceed one of them.

/// Bytes a peer may have in flight on one stream. A message of 1.5 MiB needs one update on the way.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// Bytes a peer may have in flight on one connection: eight full streams before one waits for another.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Bytes of one frame's payload, both ways: the protocol's minimum. Keeps the cut-frame buffer small and streams interleaved.
pub const MAX_FRAME_BYTES: usize = 16_384;

/// Bytes of a decoded header list (name + value + 32 each). Tokens are under 2 KiB; this is what we advertise.
pub const MAX_HEADER_LIST_BYTES: usize = 16 << 10;

/// Bytes of a decoded header list at which the connection ends instead of the call: references to one table entry unfold to
/// a thousand times their size, and no client has a reason to be this far off what we advertise.
pub const MAX_BOMB_BYTES: usize = 16 * MAX_HEADER_LIST_BYTES;

/// Bytes of one encoded header block. Above the list limit only because padding and size updates count here and not there.
pub const MAX_HEADER_BLOCK_BYTES: usize = 32 << 10;

/// CONTINUATION frames of one header block: a legal block needs 2, the rest is slack for odd splitters (CVE-2024-27316).
pub const MAX_CONTINUATIONS_PER_BLOCK: u32 = 64;

/// Bytes of our HPACK dynamic table for what the peer sends: the protocol's default, so no setting has to be acknowledged.
pub const HPACK_TABLE_BYTES: usize = 4096;

/// Peer resets of calls not answered yet, and stream errors the peer provoked, within one flood window (CVE-2023-44487).
/// Generous: a client whose 1000 calls time out together must not lose its connection for it.
pub const MAX_UNANSWERED_RESETS: u32 = 4_000;

/// PING frames within one flood window. grpc clients probe bandwidth with one PING per burst of data.
pub const MAX_PINGS: u32 = 10_000;

/// SETTINGS frames within one flood window: each may touch every stream's window. Clients send one or two in a lifetime.
pub const MAX_SETTINGS: u32 = 200;

/// Empty DATA frames without END_STREAM within one flood window: no client has a reason for many.
pub const MAX_EMPTY_DATA: u32 = 1_000;

/// Milliseconds of one flood window, for owners that pass the time; without it only answered calls refill the budgets.
pub const FLOOD_WINDOW_MS: u64 = 1_000;

/// Milliseconds from the first bytes of a connection to its SETTINGS. Every client sends them with its preface.
pub const SETTINGS_MS_MAX: u64 = 10_000;

/// Milliseconds a frame or header block may take from its first byte to its last: 16 KiB on a link of half a KiB a second.
/// What a peer that vanished mid-frame made us hold is given back then.
pub const FRAME_MS_MAX: u64 = 30_000;

/// Bytes of control frames (acks, resets) waiting to leave. A peer that makes us write them and does not read is cut off.
pub const MAX_QUEUED_CONTROL_BYTES: usize = 64 << 10;

/// Bytes of a body copied straight into the outgoing buffer; larger ones wait as reference-counted chunks until polled.
pub const INLINE_BODY_BYTES: usize = MAX_FRAME_BYTES;

/// Bytes of memory that answers of one connection may hold while its windows keep them back; above it new streams are
/// refused, to be tried again. Large answers are formed as they leave and hold a fraction of their size.
pub const MAX_HELD_ANSWER_BYTES: usize = 64 << 20;

/// Bytes of connection window kept for streams already waiting in line when a small answer wants to overtake them.
pub const FAIR_RESERVE_BYTES: i64 = 64 << 10;

/// Bytes of formed frames above which streams report no send capacity and the owner should stop reading requests.
pub const OUTGOING_HIGH_WATER_BYTES: usize = 256 << 10;

/// Bytes of capacity an emptied buffer may keep: one burst must not pin its memory for the connection's life.
pub const MAX_IDLE_BUFFER_BYTES: usize = 64 << 10;

/// Largest legal flow-control window, bytes (RFC 9113, 6.9.1).
pub const MAX_WINDOW_BYTES: i64 = (1 << 31) - 1;

/// Streams a client opens before the server's SETTINGS arrive; the number Go's client assumes.
pub const STREAMS_BEFORE_SETTINGS: u32 = 100;

const _: () = assert!(MAX_HEADER_BLOCK_BYTES >= MAX_HEADER_LIST_BYTES);
const _: () = assert!(INLINE_BODY_BYTES <= MAX_FRAME_BYTES);
const _: () = assert!(STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES);
const _: () = assert!(CONNECTION_WINDOW_BYTES as i64 <= MAX_WINDOW_BYTES);
