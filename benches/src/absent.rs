//! Commands of etcd's tool that are not here yet. They say so.

use etcd_uring::client::cli::{Command, Matches, write_stderr};

const fn absent(name: &'static str, short: &'static str) -> Command {
    Command { name, short, run: Some(run), raw: true, ..Command::EMPTY }
}

pub static LEASE_KEEPALIVE: Command = absent("lease-keepalive", "Benchmark lease keepalive (not available yet)");
pub static STM: Command = absent("stm", "Benchmark STM (not available yet)");
pub static WATCH: Command = absent("watch", "Benchmark watch (not available yet)");
pub static WATCH_GET: Command = absent("watch-get", "Benchmark watch with get (not available yet)");
pub static WATCH_LATENCY: Command = absent("watch-latency", "Benchmark watch latency (not available yet)");

fn run(matches: &Matches) -> u8 {
    let name = matches.path.last().expect("a command").name;
    write_stderr(format!("Error: benchmark {name} is not available in this version yet\n").as_bytes());
    1
}
