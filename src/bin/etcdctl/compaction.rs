//! `compaction`: forgets what the keys were before a revision.

use etcd_uring::client::cli::{Command, Flag, Kind, Matches, parse_int};

use crate::failure::Failure;
use crate::print::Output;
use crate::{KEY_VALUE, finish, globals};

pub static COMMAND: Command = Command {
    name: "compaction",
    operands: "[options] <revision>",
    short: "Compacts the event history in etcd",
    long: "Forgets what the keys were before a revision. Afterwards they can be read at that revision and later ones\n\
           only. The newest pair of each key stays, however old it is.",
    example: "  etcdctl compaction 1234\n  \
              etcdctl compaction 1234 --physical    # return when the old pairs are removed from the storage\n",
    group: KEY_VALUE,
    flags: &[Flag::new("physical", Kind::Bool, "false", "wait until the old revisions are removed from the storage")],
    run: Some(run),
    ..Command::EMPTY
};

fn run(matches: &Matches) -> u8 {
    finish(compaction(matches))
}

fn compaction(matches: &Matches) -> Result<Output, Failure> {
    let revision = revision(matches)?;
    let globals = globals(matches)?;
    let mut client = globals.client()?;
    match matches.bool("physical") {
        true => client.compact_physical(revision, globals.deadline())?,
        false => client.compact(revision, globals.deadline())?,
    };
    Ok(Output { stdout: format!("compacted revision {revision}\n").into_bytes(), ..Output::default() })
}

fn revision(matches: &Matches) -> Result<i64, Failure> {
    let [revision] = matches.args.as_slice() else {
        return Err(Failure::bad_args("compaction command needs 1 argument"));
    };
    parse_int(&String::from_utf8_lossy(revision), 10).map_err(Failure::error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    #[test]
    fn operands() {
        let check = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            revision(&PROGRAM.matches(&words)).map_err(|f| (f.code, f.message))
        };
        let wrong = |code, text: &str| Err((code, text.to_string()));
        assert_eq!(check("compaction 12 --physical"), Ok(12));
        assert_eq!(check("compaction"), wrong(128, "compaction command needs 1 argument"));
        assert_eq!(check("compaction 1 2"), wrong(128, "compaction command needs 1 argument"));
        assert_eq!(check("compaction 0x1"), wrong(1, "strconv.ParseInt: parsing \"0x1\": invalid syntax"));
    }
}
