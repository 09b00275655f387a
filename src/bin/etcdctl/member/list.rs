//! `member list`: the members of the cluster.

use etcd_uring::client::cli::{Command, Flag, Kind, Matches};

use crate::failure::Failure;
use crate::print::Output;
use crate::range::is_serializable;
use crate::{finish, globals};

pub static COMMAND: Command = Command {
    name: "list",
    short: "Lists all members in the cluster",
    long: "Lists all members in the cluster. In the simple format there is one line per member:\n\
           ID, status, name, peer addresses, client addresses, is learner. Unstarted members have no name yet.",
    example: "  etcdctl member list -w table\n  \
              etcdctl member list -w json --hex          # IDs as other commands take them\n  \
              etcdctl member list --consistency=s        # as one server knows them, without a quorum\n",
    flags: &[Flag::new("consistency", Kind::Text, "l", "Linearizable(l) or Serializable(s)")],
    run: Some(run),
    ..Command::EMPTY
};

fn run(matches: &Matches) -> u8 {
    finish(list(matches))
}

fn list(matches: &Matches) -> Result<Output, Failure> {
    let serializable = is_serializable(matches.text("consistency"))?;
    let globals = globals(matches)?;
    let mut client = globals.client()?;
    let response = match serializable {
        true => client.member_list_serializable(globals.deadline())?,
        false => client.member_list(globals.deadline())?,
    };
    globals.printer.member_list(&response)
}
