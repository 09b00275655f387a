//! `options`: the flags every command has.

use etcd_uring::client::cli::{Command, Matches, write_stdout};

use crate::UTILITY;

pub static COMMAND: Command = Command {
    name: "options",
    short: "Show the global command-line flags",
    group: UTILITY,
    run: Some(run),
    ..Command::EMPTY
};

fn run(matches: &Matches) -> u8 {
    let flags = matches.program.shared_flag_usages();
    write_stdout(format!("The following options can be passed to any command:\n\n{flags}").as_bytes());
    0
}
