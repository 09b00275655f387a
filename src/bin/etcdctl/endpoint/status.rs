//! `endpoint status`: version, sizes and raft position of each endpoint.

use etcd_uring::client::cli::{Command, Matches, write_stderr};

use super::endpoints;
use crate::failure::Failure;
use crate::print::{Answer, Output};
use crate::{finish, globals, show};

pub static COMMAND: Command = Command {
    name: "status",
    short: "Prints out the status of endpoints specified in `--endpoints` flag",
    long: "Prints out the status of the endpoints. In the simple format there is one line per endpoint:\n\
           endpoint, ID, version, storage version, db size, size in use, percentage not in use, quota, is leader,\n\
           is learner, raft term, raft index, raft applied index, errors, downgrade target version, downgrade enabled.",
    example: "  etcdctl endpoint status -w table\n  \
              etcdctl endpoint status --cluster -w json\n",
    run: Some(run),
    ..Command::EMPTY
};

fn run(matches: &Matches) -> u8 {
    finish(status(matches))
}

fn status(matches: &Matches) -> Result<Output, Failure> {
    let globals = globals(matches)?;
    let mut list = Vec::new();
    let mut failed = false;
    for endpoint in endpoints(matches, &globals, globals.deadline())? {
        let mut client = globals.client_of(&endpoint)?;
        match client.status(globals.deadline()) {
            Ok(response) => list.push(Answer { endpoint, response }),
            Err(status) => {
                write_stderr(format!("Failed to get the status of endpoint {endpoint} ({status})\n").as_bytes());
                failed = true;
            }
        }
    }
    let output = globals.printer.endpoint_status(&list)?;
    if failed {
        show(&output);
        return Err(Failure::silent());
    }
    Ok(output)
}
