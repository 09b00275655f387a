//! `benchmark`: a load generator with the flags and the report of etcd's tool of the same name. One file per command;
//! this file is the table of them.

mod absent;
mod generator;
mod keys;
mod link;
mod mvcc;
mod perfdash;
mod progress;
mod put;
mod range;
mod report;
mod settings;
#[cfg(test)]
mod spec_test;
mod txn_mixed;
mod txn_put;

use std::process::ExitCode;

use etcd_uring::client::cli::{Command, Program, write_stderr};

/// What etcd's tool ends with when the command line is wrong.
const EXIT_USAGE: u8 = 255;

pub static ROOT: Command = Command {
    name: "benchmark",
    short: "A load generator for etcd",
    long: "benchmark measures an etcd server from outside, over its gRPC API.\n\
           It keeps --clients requests in flight on --conns connections and reports rate and latencies.",
    example: "  benchmark --conns=1 --clients=1 put --key-size=8 --sequential-keys --total=10000 --val-size=256\n  \
              benchmark --conns=100 --clients=1000 range YOUR_KEY --consistency=s --total=100000\n  \
              benchmark --conns=100 --clients=1000 range YOUR_KEY --rate=20000 --total=200000\n",
    shared_flags: &settings::FLAGS,
    children: &[
        &absent::LEASE_KEEPALIVE,
        &mvcc::COMMAND,
        &put::COMMAND,
        &range::COMMAND,
        &absent::STM,
        &txn_mixed::COMMAND,
        &txn_put::COMMAND,
        &absent::WATCH,
        &absent::WATCH_GET,
        &absent::WATCH_LATENCY,
    ],
    ..Command::EMPTY
};

static PROGRAM: Program = Program {
    root: &ROOT,
    groups: &[],
    help_group: "",
    prefix_matching: false,
    list_shared_flags: true,
    footer: "",
    exit_usage: EXIT_USAGE,
};

/// Turns the end of a command into an exit code.
fn exit(result: Result<(), String>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(message) => {
            write_stderr(format!("{message}\n").as_bytes());
            1
        }
    }
}

fn main() -> ExitCode {
    ExitCode::from(PROGRAM.main())
}
