//! `version`: which etcd this client belongs to.

use etcd_uring::client::cli::{Command, Matches, write_stdout};

use crate::UTILITY;

pub static COMMAND: Command = Command {
    name: "version",
    short: "Prints the version of etcdctl",
    group: UTILITY,
    run: Some(run),
    ..Command::EMPTY
};

fn run(_: &Matches) -> u8 {
    let version = env!("CARGO_PKG_VERSION");
    let (api, _) = version.rsplit_once('.').expect("major.minor.patch");
    write_stdout(format!("etcdctl version: {version}\nAPI version: {api}\n").as_bytes());
    0
}
