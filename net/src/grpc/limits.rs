//! Every bound of the gRPC layer, with its unit and reason.

/// Bytes of unfinished requests one connection may make us hold, whatever its streams and their windows allow.
pub const MAX_BUFFERED_REQUEST_BYTES: usize = 64 << 20;

/// Bytes of request headers that calls without a complete request may make one connection hold, count of those that no other
/// call shares: 500 header lists as large as they may be, ten thousand as they usually are.
pub const MAX_UNFINISHED_HEAD_BYTES: usize = 8 << 20;

/// Bytes reserved at once for a message whose end is not here yet: its length prefix is only a claim.
pub const MAX_RESERVE_BYTES: usize = 64 << 10;

/// Bytes of a status message we send: several clients refuse header lists above 8 KiB, and escaping may triple it.
pub const MAX_STATUS_MESSAGE_BYTES: usize = 2048;

/// Bytes of a message up to which an answer is compressed for a client that compresses: about 10 ms of work. Larger ones
/// go as they are, which the protocol allows for each message.
pub const MAX_GZIP_BYTES: usize = 1 << 20;

/// Header blocks remembered per connection: a client alternates between a few methods, each with its own block.
pub const CACHED_BLOCKS: usize = 4;

/// Bytes of a header block worth remembering; longer ones are rare and would pin memory on every idle connection.
pub const MAX_CACHED_BLOCK_BYTES: usize = 1024;

/// Calls a client holds back while the server's stream limit is reached; further ones fail at once.
pub const MAX_PARKED_CALLS: usize = 100_000;
