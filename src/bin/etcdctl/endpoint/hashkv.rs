//! `endpoint hashkv`: the hash of the key history of each endpoint; equal revisions must have equal hashes.

use etcd_uring::client::cli::{Command, Flag, Kind, Matches, write_stderr};

use super::endpoints;
use crate::failure::Failure;
use crate::print::{Answer, Output};
use crate::{finish, globals, show};

pub static COMMAND: Command = Command {
    name: "hashkv",
    short: "Prints the KV history hash for each endpoint in --endpoints",
    shared_flags: &[Flag::new("rev", Kind::Int, "0", "last revision to hash (0: the newest)")],
    run: Some(run),
    ..Command::EMPTY
};

fn run(matches: &Matches) -> u8 {
    finish(hashkv(matches))
}

fn hashkv(matches: &Matches) -> Result<Output, Failure> {
    let globals = globals(matches)?;
    let mut list = Vec::new();
    let mut failure = None;
    for endpoint in endpoints(matches, &globals, globals.deadline())? {
        let mut client = globals.client_of(&endpoint)?;
        match client.hash_kv(matches.int("rev"), globals.deadline()) {
            Ok(response) => list.push(Answer { endpoint, response }),
            Err(status) => {
                write_stderr(format!("Failed to get the hash of endpoint {endpoint} ({status})\n").as_bytes());
                failure = Some(Failure::from(status));
            }
        }
    }
    let output = globals.printer.endpoint_hashkv(&list)?;
    match failure {
        None => Ok(output),
        Some(failure) => {
            show(&output);
            Err(failure)
        }
    }
}
