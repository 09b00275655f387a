//! Commands that etcd's own `etcdctl` has and this one does not have yet, and commands that have moved to `etcdutl`.
//! They say so instead of failing in some other way.

use etcd_uring::client::cli::{Command, Matches, write_stderr};

use crate::{AUTHENTICATION, CLUSTER, CONCURRENCY, KEY_VALUE, UTILITY};

/// What these commands end with.
const EXIT: u8 = 1;

const fn absent(name: &'static str, short: &'static str, group: &'static str) -> Command {
    Command { name, short, group, run: Some(run), raw: true, ..Command::EMPTY }
}

const fn moved(name: &'static str) -> Command {
    Command { name, hidden: true, run: Some(run_moved), raw: true, ..Command::EMPTY }
}

pub static LEASE: Command = absent("lease", "Lease related commands (not available yet)", KEY_VALUE);
pub static WATCH: Command = absent("watch", "Watches events on keys or prefixes (not available yet)", KEY_VALUE);
pub static ALARM: Command = absent("alarm", "Alarm related commands (not available yet)", CLUSTER);
pub static DEFRAG: Command = absent("defrag", "Defragments the storage of members (not available yet)", CLUSTER);
pub static DOWNGRADE: Command = absent("downgrade", "Downgrade related commands (not available yet)", CLUSTER);
pub static MOVE_LEADER: Command = absent("move-leader", "Hands leadership to a member (not available yet)", CLUSTER);
pub static SNAPSHOT: Command = absent("snapshot", "Saves snapshots of the store (not available yet)", CLUSTER);
pub static ELECT: Command = absent("elect", "Takes part in leader election (not available yet)", CONCURRENCY);
pub static LOCK: Command = absent("lock", "Acquires a named lock (not available yet)", CONCURRENCY);
pub static AUTH: Command = absent("auth", "Enables or disables authentication (not available yet)", AUTHENTICATION);
pub static ROLE: Command = absent("role", "Role related commands (not available yet)", AUTHENTICATION);
pub static USER: Command = absent("user", "User related commands (not available yet)", AUTHENTICATION);
pub static CHECK: Command = absent("check", "Checks properties of the cluster (not available yet)", UTILITY);
pub static COMPLETION: Command = absent("completion", "Shell completion scripts (not available yet)", UTILITY);
pub static MAKE_MIRROR: Command = absent("make-mirror", "Mirrors keys to another cluster (not available yet)", UTILITY);
pub static BACKUP: Command = moved("backup");
pub static MIGRATE: Command = moved("migrate");

/// Work on files of a stopped member, which is `etcdutl`'s since 3.6.
const MOVED: [(&str, &str); 3] = [("snapshot", "restore"), ("snapshot", "status"), ("defrag", "--data-dir")];

fn run(matches: &Matches) -> u8 {
    write_stderr(explain(matches).as_bytes());
    EXIT
}

fn run_moved(matches: &Matches) -> u8 {
    let name = matches.path.last().expect("a command").name;
    let text = format!("Error: etcdctl {name} is gone: work on a member's files is done by etcdutl\n");
    write_stderr(text.as_bytes());
    EXIT
}

fn explain(matches: &Matches) -> String {
    let name = matches.path.last().expect("a command").name;
    let words: Vec<_> = matches.args.iter().map(|w| String::from_utf8_lossy(w)).collect();
    for (command, word) in MOVED {
        if name == command && words.iter().any(|w| w == word || w.starts_with(&format!("{word}="))) {
            return format!("Error: etcdctl {name} {word} has moved: use etcdutl {name} {word}\n");
        }
    }
    let operand = words.first().filter(|w| !w.starts_with('-') && has_subcommands(name));
    let full = operand.map_or(name.to_string(), |w| format!("{name} {w}"));
    format!("Error: etcdctl {full} is not available in this version yet\n")
}

fn has_subcommands(name: &str) -> bool {
    ["alarm", "auth", "check", "downgrade", "lease", "role", "snapshot", "user"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    #[test]
    fn explanations() {
        for (line, text) in [
            ("lease grant 5 --foo", "lease grant is not available in this version yet"),
            ("watch --prefix a", "watch is not available in this version yet"),
            ("auth", "auth is not available in this version yet"),
            ("snapshot restore x.db --data-dir d", "snapshot restore has moved: use etcdutl snapshot restore"),
            ("defrag --data-dir=d", "defrag --data-dir has moved: use etcdutl defrag --data-dir"),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(explain(&PROGRAM.matches(&words)), format!("Error: etcdctl {text}\n"));
        }
    }
}
