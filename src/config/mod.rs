//! Flags, environment and the checked configuration.
