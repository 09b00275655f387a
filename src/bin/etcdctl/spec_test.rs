//! The command tree against the table of etcd's: every command is there, and one that works has every flag of 3.7.1 with
//! its letter, kind and default.

use etcd_uring::client::cli::{Command, Flag, Kind};

use crate::ROOT;

const TABLE: &str = include_str!("../../../tests/spec/etcdctl.tsv");

/// The command of a name with blanks, and the flags it knows.
fn find(name: &str) -> Option<(&'static Command, Vec<&'static Flag>)> {
    let mut at: &'static Command = &ROOT;
    let mut flags: Vec<&Flag> = at.shared_flags.iter().collect();
    for word in name.split(' ').filter(|word| *word != "(global)") {
        at = at.children.iter().find(|c| c.name == word)?;
        flags.extend(at.shared_flags);
        // A group that is missing as a whole stands for the commands below it.
        if at.raw {
            break;
        }
    }
    flags.extend(at.flags);
    Some((at, flags))
}

fn kind(name: &str) -> Kind {
    match name {
        "bool" => Kind::Bool,
        "int" | "int64" => Kind::Int,
        "uint" | "uint64" => Kind::Uint,
        "duration" => Kind::Duration,
        "csv/repeatable" => Kind::List,
        "string" => Kind::Text,
        other => panic!("type {other} in the table"),
    }
}

#[test]
fn commands_and_flags() {
    let mut checked = 0;
    for row in TABLE.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>()) {
        let [api, name, what, spelled, typed, _, in_3_7] = row[..7] else { panic!("{row:?}") };
        if api != "v3" || in_3_7 != "y" || what == "note" {
            continue;
        }
        let (command, flags) = find(name).unwrap_or_else(|| panic!("there is no command {name}"));
        if command.raw {
            continue;
        }
        checked += 1;
        if what != "flag" {
            assert_eq!(command.run.is_none(), what == "group", "{name}");
            continue;
        }
        let (long, short) = spelled.split_once(", -").unwrap_or((spelled, ""));
        let flag = flags.iter().find(|f| long.strip_prefix("--") == Some(f.name));
        let flag = flag.unwrap_or_else(|| panic!("{name} has no {long}"));
        let (typed, default) = typed.split_once('=').expect("type=default");
        let got = (flag.short, flag.kind, flag.default);
        assert_eq!(got, (short, kind(typed), default), "{name} {long}");
    }
    assert!(checked > 60, "the table has been read: {checked}");
}
