//! The disk as the engine sees it. After recovery, file operations leave as effects (`effect::FileOp`) and run on the
//! reactor; this module is for what happens before (recovery) and beside (tools), and for the simulated disk.

mod buf;

pub use buf::AlignedBuf;
