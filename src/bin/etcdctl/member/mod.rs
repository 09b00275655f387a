//! `member`: who belongs to the cluster. Changing that is not available yet and says so.

mod list;

use etcd_uring::client::cli::{Command, Matches, write_stderr};

use crate::CLUSTER;

/// What the commands that are missing end with.
const EXIT_ABSENT: u8 = 1;

pub static COMMAND: Command = Command {
    name: "member",
    operands: "<subcommand>",
    short: "Membership related commands. Use `etcdctl member --help` to see subcommands",
    long: "Membership related commands",
    group: CLUSTER,
    children: &[&ADD, &REMOVE, &UPDATE, &list::COMMAND, &PROMOTE],
    ..Command::EMPTY
};

static ADD: Command = absent("add", "Adds a member into the cluster (not available yet)");
static REMOVE: Command = absent("remove", "Removes a member from the cluster (not available yet)");
static UPDATE: Command = absent("update", "Updates a member in the cluster (not available yet)");
static PROMOTE: Command = absent("promote", "Makes a learner a voting member (not available yet)");

const fn absent(name: &'static str, short: &'static str) -> Command {
    Command { name, short, run: Some(run_absent), raw: true, ..Command::EMPTY }
}

fn run_absent(matches: &Matches) -> u8 {
    let name = matches.path.last().expect("a command").name;
    write_stderr(format!("Error: etcdctl member {name} is not available in this version yet\n").as_bytes());
    EXIT_ABSENT
}
