//! The only cross-core primitive: a bounded queue and a wake.
