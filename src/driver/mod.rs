//! The raft role's loop: drains inputs, executes effects, decides nothing.
