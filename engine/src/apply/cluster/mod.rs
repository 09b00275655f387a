//! The members of the cluster as the log has made them.
