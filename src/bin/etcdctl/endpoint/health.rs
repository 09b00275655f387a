//! `endpoint health`: whether each endpoint can take part in a read that needs a quorum.

use std::time::Instant;

use bytes::Bytes;
use engine::pb::etcdserverpb::{AlarmType, RangeRequest};
use etcd_uring::client::cli::{Command, Matches};
use etcd_uring::client::{Status, gotext};

use super::endpoints;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::print::{Health, Output};
use crate::{finish, globals, show};

/// The key that is read. It need not exist, and a client that may not read it has its answer all the same.
const KEY: &[u8] = b"health";

pub static COMMAND: Command = Command {
    name: "health",
    short: "Checks the healthiness of endpoints specified in `--endpoints` flag",
    example: "  etcdctl endpoint health --endpoints=10.0.0.1:2379,10.0.0.2:2379\n  \
              etcdctl endpoint health --cluster -w table\n",
    run: Some(run),
    ..Command::EMPTY
};

fn run(matches: &Matches) -> u8 {
    finish(health(matches))
}

fn health(matches: &Matches) -> Result<Output, Failure> {
    let globals = globals(matches)?;
    let endpoints = endpoints(matches, &globals, globals.deadline())?;
    // All at once: one dead endpoint must not delay the news about the others.
    let list: Vec<Health> = std::thread::scope(|scope| {
        let ask = |endpoint: &'_ String| {
            let (endpoint, globals) = (endpoint.clone(), &globals);
            scope.spawn(move || check(globals, endpoint))
        };
        let threads: Vec<_> = endpoints.iter().map(ask).collect();
        threads.into_iter().map(|thread| thread.join().expect("a check does not panic")).collect()
    });
    let unhealthy = list.iter().any(|h| !h.error.is_empty());
    let output = globals.printer.endpoint_health(&list)?;
    if unhealthy {
        show(&output);
        return Err(Failure::error("unhealthy cluster"));
    }
    Ok(output)
}

fn check(globals: &Globals, endpoint: String) -> Health {
    let start = Instant::now();
    let result = ask(globals, &endpoint);
    let (took_ns, error) = match result {
        Ok(took_ns) => (took_ns, String::new()),
        Err(error) => (start.elapsed().as_nanos(), error),
    };
    Health { endpoint, healthy: error.is_empty(), took: gotext::duration(took_ns as i64), error }
}

/// How long the read took, or why the endpoint is not healthy.
fn ask(globals: &Globals, endpoint: &str) -> Result<u128, String> {
    let mut client = globals.client_of(endpoint).map_err(|failure| failure.message)?;
    let deadline = globals.deadline();
    let start = Instant::now();
    let request = RangeRequest { key: Bytes::from_static(KEY), ..RangeRequest::default() };
    match client.range(&request, deadline) {
        Ok(_) => {}
        // The refusal went through consensus.
        Err(status) if status.code == Status::PERMISSION_DENIED => {}
        Err(status) => return Err(status.to_string()),
    }
    let took_ns = start.elapsed().as_nanos();
    let alarms = client.alarm_list(deadline).map_err(|_| "Unable to fetch the alarm list".to_string())?.alarms;
    if alarms.is_empty() {
        return Ok(took_ns);
    }
    let mut error = "Active Alarm(s): ".to_string();
    for alarm in alarms {
        error += match AlarmType::try_from(alarm.alarm) {
            Ok(AlarmType::Nospace) => "NOSPACE ",
            Ok(AlarmType::Corrupt) => "CORRUPT ",
            _ => "UNKNOWN ",
        };
    }
    Err(error)
}
