//! A small blocking gRPC client for the tools.
