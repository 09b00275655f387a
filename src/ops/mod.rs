//! Health, metrics and logs.
