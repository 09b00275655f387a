//! Which protocol a fresh connection speaks.
