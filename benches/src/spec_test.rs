//! The command tree against the table of etcd's tool: every command is there, and one that works has every flag of 3.2
//! and of 3.7 with its kind and default.

use etcd_uring::client::cli::{Command, Flag, Kind};

use crate::ROOT;

const TABLE: &str = include_str!("../../tests/spec/benchmark.tsv");

fn find(name: &str) -> Option<(&'static Command, Vec<&'static Flag>)> {
    let mut at: &'static Command = &ROOT;
    let mut flags: Vec<&Flag> = at.shared_flags.iter().collect();
    for word in name.split(' ').filter(|word| *word != "(global)") {
        at = at.children.iter().find(|c| c.name == word)?;
        flags.extend(at.shared_flags);
    }
    flags.extend(at.flags);
    Some((at, flags))
}

fn kind(name: &str) -> Kind {
    match name {
        "bool" => Kind::Bool,
        "int" | "int64" => Kind::Int,
        "uint" => Kind::Uint,
        "float64" => Kind::Float,
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
        let [name, what, spelled, typed] = row[..4] else { panic!("{row:?}") };
        if what == "report" {
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
        let flag = flags.iter().find(|f| spelled.strip_prefix("--") == Some(f.name));
        let flag = flag.unwrap_or_else(|| panic!("{name} has no {spelled}"));
        let (typed, default) = typed.split_once('=').expect("type=default");
        // A duration of zero is shown as 0s.
        let default = if typed == "duration" && default == "0" { "0s" } else { default };
        assert_eq!((flag.kind, flag.default), (kind(typed), default), "{name} {spelled}");
    }
    assert!(checked > 50, "the table has been read: {checked}");
}
