//! `get`: reads keys.

use engine::pb::etcdserverpb::{RangeRequest, SortOrder, SortTarget};
use etcd_uring::client::cli::{Command, Flag, Kind, Matches};

use crate::failure::Failure;
use crate::print::{Format, Output};
use crate::range::{check_exclusive, is_serializable, key_range};
use crate::{KEY_VALUE, finish, globals};

pub static COMMAND: Command = Command {
    name: "get",
    operands: "[options] <key> [range_end]",
    short: "Gets the key or a range of keys",
    example: "  etcdctl get greeting\n  \
              etcdctl get --prefix config/ --keys-only\n  \
              etcdctl get a c                  # a and b, and all between, but not c\n  \
              etcdctl get greeting --rev=7 -w json\n",
    group: KEY_VALUE,
    flags: &[
        Flag::new("consistency", Kind::Text, "l", "Linearizable(l) or Serializable(s)"),
        Flag::new("order", Kind::Text, "", "order of the results: ASCEND or DESCEND"),
        Flag::new("sort-by", Kind::Text, "", "what to sort by: CREATE, KEY, MODIFY, VALUE or VERSION"),
        Flag::new("limit", Kind::Int, "0", "largest number of results (0: all)"),
        Flag::new("prefix", Kind::Bool, "false", "get all keys that begin with <key>"),
        Flag::new("from-key", Kind::Bool, "false", "get <key> and all keys after it, in byte order"),
        Flag::new("rev", Kind::Int, "0", "read the store as it was at this revision"),
        Flag::new("keys-only", Kind::Bool, "false", "get the keys without their values"),
        Flag::new("count-only", Kind::Bool, "false", "get only the number of keys (with --write-out=fields)"),
        Flag::new("print-value-only", Kind::Bool, "false", "print only the values (with --write-out=simple)"),
        Flag::new("min-create-rev", Kind::Int, "0", "leave out keys created before this revision"),
        Flag::new("max-create-rev", Kind::Int, "0", "leave out keys created after this revision"),
        Flag::new("min-mod-rev", Kind::Int, "0", "leave out keys last changed before this revision"),
        Flag::new("max-mod-rev", Kind::Int, "0", "leave out keys last changed after this revision"),
        Flag::new("stream", Kind::Bool, "false", "use the RangeStream call"),
    ],
    run: Some(run),
    ..Command::EMPTY
};

fn run(matches: &Matches) -> u8 {
    finish(get(matches))
}

fn get(matches: &Matches) -> Result<Output, Failure> {
    let request = request(matches)?;
    let mut globals = globals(matches)?;
    let mut client = globals.client()?;
    let response = match matches.bool("stream") {
        true => client.range_stream(&request, globals.deadline())?,
        false => client.range(&request, globals.deadline())?,
    };
    // These two are checked after the call because etcdctl does, and a script may rely on which error comes first.
    if request.count_only && globals.printer.format != Format::Fields {
        return Err(Failure::bad_args("--count-only is only for `--write-out=fields`"));
    }
    if matches.bool("print-value-only") {
        if globals.printer.format != Format::Simple {
            return Err(Failure::bad_args("print-value-only is only for `--write-out=simple`"));
        }
        globals.printer.value_only = true;
    }
    globals.printer.get(&response)
}

/// What the operands and flags ask for; a line of `txn` asks in the same words.
pub fn request(matches: &Matches) -> Result<RangeRequest, Failure> {
    if matches.args.is_empty() {
        let text = "get command needs one argument as key and an optional argument as range_end";
        return Err(Failure::bad_args(text));
    }
    let (prefix, from_key) = (matches.bool("prefix"), matches.bool("from-key"));
    check_exclusive(prefix, from_key)?;
    let (keys_only, count_only) = (matches.bool("keys-only"), matches.bool("count-only"));
    if keys_only && count_only {
        let text = "`--keys-only` and `--count-only` cannot be set at the same time, choose one";
        return Err(Failure::bad_args(text));
    }
    let serializable = is_serializable(matches.text("consistency"))?;
    let (key, range_end) = key_range(&matches.args, prefix, from_key)?;
    let (sort_order, sort_target) = sorting(matches.text("order"), matches.text("sort-by"))?;
    let positive = |name: &str| matches.int(name).max(0);
    let bounds = |min: &str, max: &str, named: &str| {
        let (min, max) = (matches.int(min), matches.int(max));
        if max > 0 && min > max {
            let text = format!("getMin{named}Rev(={min}) > getMax{named}Rev(={max})");
            return Err(Failure::bad_feature(text));
        }
        Ok((min.max(0), max.max(0)))
    };
    let (min_create_revision, max_create_revision) = bounds("min-create-rev", "max-create-rev", "Create")?;
    let (min_mod_revision, max_mod_revision) = bounds("min-mod-rev", "max-mod-rev", "Mod")?;
    Ok(RangeRequest {
        key,
        range_end,
        limit: matches.int("limit"),
        revision: positive("rev"),
        sort_order: sort_order as i32,
        sort_target: sort_target as i32,
        serializable,
        keys_only,
        count_only,
        min_mod_revision,
        max_mod_revision,
        min_create_revision,
        max_create_revision,
    })
}

fn sorting(order: &str, target: &str) -> Result<(SortOrder, SortTarget), Failure> {
    let order = match order.to_uppercase().as_str() {
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        "" => SortOrder::None,
        _ => return Err(Failure::bad_feature(format!("bad sort order {order}"))),
    };
    let target = match target.to_uppercase().as_str() {
        "CREATE" => SortTarget::Create,
        "KEY" | "" => SortTarget::Key,
        "MODIFY" => SortTarget::Mod,
        "VALUE" => SortTarget::Value,
        "VERSION" => SortTarget::Version,
        _ => return Err(Failure::bad_feature(format!("bad sort target {target}"))),
    };
    // Keys come in ascending order anyway, and without an order the server may stop at the limit.
    if (order, target) == (SortOrder::Ascend, SortTarget::Key) {
        return Ok((SortOrder::None, target));
    }
    Ok((order, target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    fn parse(line: &str) -> Result<RangeRequest, String> {
        let words: Vec<&str> = line.split(' ').collect();
        request(&PROGRAM.matches(&words)).map_err(|f| format!("{} {}", f.code, f.message))
    }

    #[test]
    fn requests() {
        let range =
            parse("get a --prefix --limit=3 --rev 7 --order=descend --sort-by=version --consistency=s").unwrap();
        assert_eq!((range.limit, range.revision, range.serializable), (3, 7, true));
        assert_eq!((range.sort_order, range.sort_target), (SortOrder::Descend as i32, SortTarget::Version as i32));
        assert_eq!(parse("get a --order=ASCEND").unwrap().sort_order, SortOrder::None as i32);
        assert_eq!(parse("get a --rev=-3").unwrap().revision, 0);
        assert_eq!(parse("get a --max-mod-rev=5").unwrap().max_mod_revision, 5);
    }

    #[test]
    fn mistakes() {
        for (line, text) in [
            ("get", "128 get command needs one argument as key and an optional argument as range_end"),
            (
                "get a b --prefix",
                "128 too many arguments, only accept one argument when `--prefix` or `--from-key` is set",
            ),
            (
                "get a --keys-only --count-only",
                "128 `--keys-only` and `--count-only` cannot be set at the same time, choose one",
            ),
            ("get a --consistency=q", "4 unknown consistency flag \"q\""),
            ("get a --order=x", "4 bad sort order x"),
            ("get a --sort-by=x", "4 bad sort target x"),
            ("get a --min-mod-rev=2 --max-mod-rev=1", "4 getMinModRev(=2) > getMaxModRev(=1)"),
        ] {
            assert_eq!(parse(line).unwrap_err(), text);
        }
    }
}
