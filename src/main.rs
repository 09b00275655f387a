//! `etcd`: the server. Reads the configuration, starts the roles, waits for a signal, ends in order.

use etcd_uring::boot::start::start;
use etcd_uring::config::{self, Config};
use etcd_uring::ops::{log, notify};
use etcd_uring::signals;
use std::io::Write;
use std::process::ExitCode;

/// Memory is allocated and freed on different threads all the time (a shard's request becomes the raft role's row);
/// mimalloc does that without locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config = match config::load_process() {
        Ok(config) => config,
        Err(exit) => {
            // A closed pipe is the reader's choice.
            let _ = std::io::stdout().write_all(exit.stdout.as_bytes());
            let _ = std::io::stderr().write_all(exit.stderr.as_bytes());
            return ExitCode::from(exit.code);
        }
    };
    match serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!(error = why, "cannot start etcd");
            log::flush();
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config) -> Result<(), String> {
    tuning::open_files::raise();
    signals::block().map_err(|e| format!("cannot set signals up: {e}"))?;
    log::init(config).map_err(|e| format!("cannot open the log: {e}"))?;
    let running = start(config)?;
    if let Some(banner) = log::banner(config, &running.plan) {
        let _ = std::io::stderr().write_all(banner.as_bytes());
    }
    let signal = signals::wait().map_err(|e| format!("cannot wait for signals: {e}"))?;
    notify::notify(notify::State::Stopping);
    tracing::info!(signal = signals::describe(signal), "received signal; shutting down");
    let (name, data_dir) = (&config.name, config.data_dir.display().to_string());
    tracing::info!(name, "data-dir" = data_dir, "closing etcd server");
    running.stop();
    tracing::info!(name, "data-dir" = data_dir, "closed etcd server");
    log::flush();
    signals::end_by(signal).map_err(|e| format!("cannot end by signal: {e}"))
}
