//! The only file of this folder that asks the machine: addresses, the log directory, whether standard error is a
//! terminal. Everything else is a function of its arguments.

use super::check::World;
use super::{Exit, Refusal, help};
use crate::ops::log::line;
use std::io::IsTerminal;
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::SystemTime;

/// The real world.
pub fn world() -> World<'static> {
    World { default_host: &default_host, resolve: &resolve, holds_wal: &holds_wal }
}

/// Whether a directory holds log files; etcd's test for "this member has started before".
pub fn holds_wal(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|ending| ending == "wal"))
}

/// The address packets to other machines would leave from. Connecting a UDP socket sends nothing: it only asks the
/// routing table. The targets are documentation addresses, which no network uses.
fn default_host() -> Option<IpAddr> {
    for (local, target) in [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
        let found = UdpSocket::bind(local).and_then(|socket| {
            socket.connect(target)?;
            socket.local_addr()
        });
        match found {
            Ok(addr) if !addr.ip().is_unspecified() && !addr.ip().is_loopback() => return Some(addr.ip()),
            _ => {}
        }
    }
    None
}

/// The first IPv4 address of a name, or its first address.
fn resolve(host: &str) -> Option<IpAddr> {
    let addrs: Vec<IpAddr> = (host, 0).to_socket_addrs().ok()?.map(|addr| addr.ip()).collect();
    addrs.iter().find(|ip| ip.is_ipv4()).or(addrs.first()).copied()
}

/// Puts a refusal into words: plain text for a person at a terminal, log lines for whoever collects them.
pub fn exit(refusal: Refusal) -> Exit {
    let quiet = |stdout| Exit { code: 0, stdout, stderr: String::new() };
    let loud = |code, stderr| Exit { code, stdout: String::new(), stderr };
    match refusal {
        Refusal::Help => quiet(help::help()),
        Refusal::Version => quiet(help::version()),
        Refusal::Faults(faults) => loud(2, format!("{}\n{}", faults.join("\n"), help::USAGE)),
        Refusal::Conflicts(keys) => {
            // The wording, with its odd parenthesis, is what etcd logs.
            let msg = "conflicting environment variable is shadowed by corresponding command-line flag (either unset \
                       environment variable or disable flag))";
            let shadowed = keys.iter().map(|key| ("environment-variable", key.as_str()));
            loud(1, describe("fatal", msg, shadowed))
        }
        Refusal::Mistakes(mistakes) => {
            let errors = mistakes.iter().map(|mistake| ("error", mistake.as_str()));
            loud(1, describe("warn", "failed to verify flags", errors))
        }
    }
}

fn describe<'a>(level: &str, msg: &str, items: impl Iterator<Item = (&'static str, &'a str)>) -> String {
    if std::io::stderr().is_terminal() {
        let list: String = items.map(|(_, item)| format!("  - {item}\n")).collect();
        return format!("etcd: {msg}:\n{list}Run 'etcd --help' for an explanation of every flag.\n");
    }
    let now = SystemTime::now();
    let caller = line::caller(file!(), line!());
    items.map(|(name, item)| line::json(now, level, &caller, msg, &[(name.into(), item.into())])).collect()
}
