//! `etcdctl`: the command line client. One file per verb, named as typed; this file is the table of them.
//!
//! A command returns a `Failure` or `Output`; only this file turns them into stderr lines and exit codes.

mod absent;
mod compaction;
mod del;
mod endpoint;
mod failure;
mod get;
mod globals;
mod member;
mod options;
mod print;
mod put;
mod range;
#[cfg(test)]
mod spec_test;
mod txn;
mod version;

use std::process::ExitCode;

use etcd_uring::client::cli::{Command, Matches, Program, write_stderr, write_stdout};

use failure::Failure;
use globals::Globals;
use print::Output;

const KEY_VALUE: &str = "Key-value commands";
const CLUSTER: &str = "Cluster maintenance commands";
const CONCURRENCY: &str = "Concurrency commands";
const AUTHENTICATION: &str = "Authentication commands";
const UTILITY: &str = "Utility commands";

/// In the order in which suggestions are made.
pub static ROOT: Command = Command {
    name: "etcdctl",
    short: "A command line client for etcd, API 3.",
    shared_flags: &globals::FLAGS,
    children: &[
        &get::COMMAND,
        &put::COMMAND,
        &del::COMMAND,
        &txn::COMMAND,
        &compaction::COMMAND,
        &absent::ALARM,
        &absent::DEFRAG,
        &endpoint::COMMAND,
        &absent::MOVE_LEADER,
        &absent::WATCH,
        &version::COMMAND,
        &absent::LEASE,
        &member::COMMAND,
        &absent::SNAPSHOT,
        &absent::MAKE_MIRROR,
        &absent::LOCK,
        &absent::ELECT,
        &absent::AUTH,
        &absent::USER,
        &absent::ROLE,
        &absent::CHECK,
        &absent::COMPLETION,
        &absent::DOWNGRADE,
        &options::COMMAND,
        &absent::BACKUP,
        &absent::MIGRATE,
    ],
    ..Command::EMPTY
};

static PROGRAM: Program = Program {
    root: &ROOT,
    groups: &[KEY_VALUE, CLUSTER, CONCURRENCY, AUTHENTICATION, UTILITY],
    help_group: UTILITY,
    prefix_matching: true,
    list_shared_flags: false,
    footer: "Use \"etcdctl options\" for a list of global command-line options (applies to all commands).",
    exit_usage: 1,
};

fn main() -> ExitCode {
    ExitCode::from(PROGRAM.main())
}

/// Prints what a command has to say and turns its end into an exit code.
fn finish(result: Result<Output, Failure>) -> u8 {
    match result {
        Ok(output) => {
            write_stderr(&output.stderr);
            write_stdout(&output.stdout);
            0
        }
        Err(failure) => {
            if !failure.message.is_empty() {
                write_stderr(format!("Error: {}\n", failure.message).as_bytes());
            }
            failure.code
        }
    }
}

/// Prints early: for commands that have something to show and fail all the same.
fn show(output: &Output) {
    write_stderr(&output.stderr);
    write_stdout(&output.stdout);
}

/// Settings for a command that talks to a server.
fn globals(matches: &Matches) -> Result<Globals, Failure> {
    Globals::new(&mut matches.clone())
}
