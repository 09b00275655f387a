//! Rules of the house that the compiler does not check.
