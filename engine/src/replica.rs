//! The replica: consensus, log writer and apply composed; inputs in, effects out.
