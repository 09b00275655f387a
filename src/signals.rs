//! Door: the signals that end the process. They are blocked in every thread and taken one at a time by the main thread.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

fn ending() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set
}

/// Call before any thread starts: threads inherit the mask. A peer that closes while we write must not end the process
/// either, so SIGPIPE is ignored.
pub fn block() -> nix::Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring a signal installs no handler code.
    unsafe { sigaction(Signal::SIGPIPE, &ignore) }?;
    ending().thread_block()
}

/// Waits for SIGTERM or SIGINT.
pub fn wait() -> nix::Result<Signal> {
    ending().wait()
}

/// Ends the process by the signal that asked for it, as etcd does, so that the parent sees 143 or 130. As process 1, which
/// has no default action for signals, this returns and the caller exits with 0.
pub fn end_by(signal: Signal) -> nix::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action installs no handler code.
    unsafe { sigaction(signal, &default) }?;
    ending().thread_unblock()?;
    raise(signal)
}

/// Go's word for a signal, which tools look for in the log.
pub fn describe(signal: Signal) -> &'static str {
    if signal == Signal::SIGINT { "interrupt" } else { "terminated" }
}
