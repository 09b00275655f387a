//! The limit of open files. Changed once, at start, for the whole process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, as Go programs do at start: 1024, the default of shells and units, is there for
/// programs that use select(2), and would be the end of new connections.
pub fn raise() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Refused: the limit stays what it was, and accepting pauses whenever it is reached.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
