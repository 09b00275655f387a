//! `del`: removes keys.

use std::time::Duration;

use engine::pb::etcdserverpb::DeleteRangeRequest;
use etcd_uring::client::cli::{Command, Flag, Kind, Matches, write_stderr};
use etcd_uring::client::gotext::quote;

use crate::failure::Failure;
use crate::print::Output;
use crate::range::{check_exclusive, key_range};
use crate::{KEY_VALUE, finish, globals};

/// Time to change one's mind before a range is deleted that was not asked for with `--range`.
const REGRET: Duration = Duration::from_secs(2);

pub static COMMAND: Command = Command {
    name: "del",
    operands: "[options] <key> [range_end]",
    short: "Removes the specified key or range of keys [key, range_end)",
    example: "  etcdctl del greeting\n  \
              etcdctl del --prefix config/\n  \
              etcdctl del --range a c          # a and b, and all between, but not c\n",
    group: KEY_VALUE,
    flags: &[
        Flag::new("prefix", Kind::Bool, "false", "delete all keys that begin with <key>"),
        Flag::new("prev-kv", Kind::Bool, "false", "print the deleted pairs"),
        Flag::new("from-key", Kind::Bool, "false", "delete <key> and all keys after it, in byte order"),
        Flag::new("range", Kind::Bool, "false", "delete a range without the pause for second thoughts"),
    ],
    run: Some(run),
    ..Command::EMPTY
};

fn run(matches: &Matches) -> u8 {
    finish(del(matches))
}

fn del(matches: &Matches) -> Result<Output, Failure> {
    let request = request(matches)?;
    time_for_regret(matches);
    let globals = globals(matches)?;
    let response = globals.client()?.delete_range(&request, globals.deadline())?;
    globals.printer.del(&response)
}

/// Announces the deletion of a range and waits, unless `--range` says that it is meant.
pub fn time_for_regret(matches: &Matches) {
    if let Some(warning) = warning(matches) {
        write_stderr(warning.as_bytes());
        std::thread::sleep(REGRET);
    }
}

fn warning(matches: &Matches) -> Option<String> {
    let [key, end] = matches.args.as_slice() else { return None };
    if matches.bool("range") {
        return None;
    }
    let (key, end) = (quote(key), quote(end));
    Some(format!(
        "Warning: Keys between {key} and {end} will be deleted. Please interrupt the command within next 2 seconds to \
         cancel. You can provide `--range` flag to avoid the delay.\n"
    ))
}

pub fn request(matches: &Matches) -> Result<DeleteRangeRequest, Failure> {
    if matches.args.is_empty() || matches.args.len() > 2 {
        let text = "del command needs one argument as key and an optional argument as range_end";
        return Err(Failure::bad_args(text));
    }
    let (prefix, from_key) = (matches.bool("prefix"), matches.bool("from-key"));
    check_exclusive(prefix, from_key)?;
    let (key, range_end) = key_range(&matches.args, prefix, from_key)?;
    Ok(DeleteRangeRequest { key, range_end, prev_kv: matches.bool("prev-kv") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    #[test]
    fn a_range_is_announced() {
        let matches = PROGRAM.matches(&["del", "a", "c"]);
        assert!(warning(&matches).unwrap().starts_with("Warning: Keys between \"a\" and \"c\" will be deleted."));
        assert_eq!(warning(&PROGRAM.matches(&["del", "a", "c", "--range"])), None);
        assert_eq!(warning(&PROGRAM.matches(&["del", "a"])), None);
    }

    #[test]
    fn operands() {
        let code = |args: &[&str]| request(&PROGRAM.matches(args)).map_err(|f| f.code);
        assert_eq!(code(&["del"]).unwrap_err(), 128);
        assert_eq!(code(&["del", "a", "b", "c"]).unwrap_err(), 128);
        assert_eq!(code(&["del", "a", "--prefix", "--from-key"]).unwrap_err(), 128);
        assert_eq!(code(&["del", "a", "--prefix"]).unwrap().range_end, "b");
    }
}
