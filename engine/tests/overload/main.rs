//! What a member does when the disk is full or slow and when more is asked than it can do: whole replicas on simulated
//! disks, one thread, time that only moves when a test moves it.

mod backlog;
mod full_disk;
mod rig;
mod stall;
