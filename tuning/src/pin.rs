//! Pins threads to CPUs.
