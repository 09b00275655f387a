//! One thread's loop over the roles it was given.
