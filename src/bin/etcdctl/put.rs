//! `put`: writes one key. The value is an operand or standard input.

use std::io::Read;

use bytes::Bytes;
use engine::pb::etcdserverpb::PutRequest;
use etcd_uring::client::cli::{Command, Flag, Kind, Matches, parse_int};

use crate::failure::Failure;
use crate::print::Output;
use crate::{KEY_VALUE, finish, globals};

pub static COMMAND: Command = Command {
    name: "put",
    operands: "[options] <key> <value> (<value> can also be given from stdin)",
    short: "Puts the given key into the store",
    long: "Puts the given key into the store.\n\n\
           Without <value>, and without --ignore-value, the value is read from standard input, to its end and as it is.\n\
           A key or value that begins with '-' would be taken for a flag: write '--' before it.",
    example: "  etcdctl put greeting hello\n  \
              etcdctl put config < config.json\n  \
              etcdctl put greeting -- -hello-\n  \
              etcdctl put -- -key -value\n",
    group: KEY_VALUE,
    flags: &[
        Flag::new("lease", Kind::Text, "0", "ID of the lease to attach to the key, in hexadecimal"),
        Flag::new("prev-kv", Kind::Bool, "false", "print the pair as it was before"),
        Flag::new("ignore-value", Kind::Bool, "false", "keep the value the key has"),
        Flag::new("ignore-lease", Kind::Bool, "false", "keep the lease the key has"),
    ],
    run: Some(run),
    ..Command::EMPTY
};

fn run(matches: &Matches) -> u8 {
    finish(put(matches))
}

fn put(matches: &Matches) -> Result<Output, Failure> {
    let request = request(matches, &mut std::io::stdin().lock())?;
    let globals = globals(matches)?;
    let response = globals.client()?.put(&request, globals.deadline())?;
    globals.printer.put(&response)
}

pub fn request(matches: &Matches, stdin: &mut impl Read) -> Result<PutRequest, Failure> {
    let missing = || Failure::bad_args("put command needs 1 argument and input from stdin or 2 arguments");
    let key = matches.args.first().ok_or_else(missing)?;
    let ignore_value = matches.bool("ignore-value");
    if ignore_value && matches.args.len() > 1 {
        return Err(Failure::bad_args("put command needs only 1 argument when 'ignore-value' is set"));
    }
    let value = match matches.args.get(1) {
        _ if ignore_value => Vec::new(),
        Some(value) => value.clone(),
        None => {
            let mut value = Vec::new();
            stdin.read_to_end(&mut value).map_err(|_| missing())?;
            if value.is_empty() {
                return Err(missing());
            }
            value
        }
    };
    let lease = parse_int(matches.text("lease"), 16)
        .map_err(|cause| Failure::bad_args(format!("bad lease ID ({cause}), expecting ID in Hex")))?;
    Ok(PutRequest {
        key: Bytes::copy_from_slice(key),
        value: Bytes::from(value),
        lease,
        prev_kv: matches.bool("prev-kv"),
        ignore_value,
        ignore_lease: matches.bool("ignore-lease"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    fn parse(args: &[&str], stdin: &str) -> Result<PutRequest, String> {
        request(&PROGRAM.matches(args), &mut stdin.as_bytes()).map_err(|f| format!("{} {}", f.code, f.message))
    }

    #[test]
    fn value_from_operand_or_stdin() {
        assert_eq!(parse(&["put", "k", "v"], "x").unwrap().value, "v");
        assert_eq!(parse(&["put", "k"], "x\n").unwrap().value, "x\n");
        assert_eq!(parse(&["put", "--", "-k", "-v"], "").unwrap().key, "-k");
        assert_eq!(parse(&["put", "k", ""], "x").unwrap().value, "");
        let missing = "128 put command needs 1 argument and input from stdin or 2 arguments";
        assert_eq!(parse(&["put", "k"], "").unwrap_err(), missing);
        assert_eq!(parse(&["put"], "x").unwrap_err(), missing);
        let only = "128 put command needs only 1 argument when 'ignore-value' is set";
        assert_eq!(parse(&["put", "k", "v", "--ignore-value"], "").unwrap_err(), only);
        assert!(parse(&["put", "k", "--ignore-value"], "").unwrap().ignore_value);
    }

    #[test]
    fn lease_in_hex() {
        assert_eq!(parse(&["put", "k", "v", "--lease=1f"], "").unwrap().lease, 0x1f);
        let bad = "128 bad lease ID (strconv.ParseInt: parsing \"zz\": invalid syntax), expecting ID in Hex";
        assert_eq!(parse(&["put", "k", "v", "--lease", "zz"], "").unwrap_err(), bad);
    }
}
