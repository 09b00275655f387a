//! `endpoint`: questions to each endpoint on its own.

mod hashkv;
mod health;
mod status;

use std::time::Instant;

use etcd_uring::client::cli::{Command, Flag, Kind, Matches};

use crate::CLUSTER;
use crate::failure::Failure;
use crate::globals::Globals;

pub static COMMAND: Command = Command {
    name: "endpoint",
    operands: "<subcommand>",
    short: "Endpoint related commands. Use `etcdctl endpoint --help` to see subcommands",
    long: "Endpoint related commands",
    group: CLUSTER,
    shared_flags: &[Flag::new("cluster", Kind::Bool, "false", "ask all members of the cluster, not only --endpoints")],
    children: &[&health::COMMAND, &status::COMMAND, &hashkv::COMMAND],
    ..Command::EMPTY
};

/// The endpoints to ask: those given, or with `--cluster` the client URLs of all members.
fn endpoints(matches: &Matches, globals: &Globals, deadline: Instant) -> Result<Vec<String>, Failure> {
    if !matches.bool("cluster") {
        return Ok(globals.endpoints.clone());
    }
    let members = globals.client()?.member_list(deadline).map_err(|status| {
        Failure::error(format!("failed to fetch endpoints from etcd cluster member list: {status}"))
    })?;
    Ok(members.members.into_iter().flat_map(|m| m.client_urls).collect())
}
