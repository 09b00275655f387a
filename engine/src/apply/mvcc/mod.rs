//! Multi-version keys: a key index and a revision log, one writer, many readers.
