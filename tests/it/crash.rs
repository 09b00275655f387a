//! kill -9 under load, again and again on one directory, with a ledger of what was acknowledged kept outside; and Go's own
//! reader on what is left.

use crate::ledger::Ledger;
use crate::server::{PATIENCE, Server, Setup, TempDir};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

const WRITERS: usize = 8;

/// A kill comes after this many acks, chosen anew for each cycle: early ones hit the start, late ones the middle of work.
const ACKS_BEFORE_KILL_MAX: u64 = 150;

fn kill_cycles(name: &str, setup: Setup, cycles: u64) {
    let dir = TempDir::new(name);
    let ledger = Ledger::new(WRITERS);
    let mut seed = 0x5eed_0001u64;
    let mut server = Server::start(dir.path(), setup);
    for cycle in 0..cycles {
        ledger.check(&server);
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let target = ledger.acks.load(SeqCst) + (seed >> 33) % ACKS_BEFORE_KILL_MAX;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (ledger, mut client) = (Arc::clone(&ledger), server.client());
                std::thread::spawn(move || ledger.write_with(writer, &mut client))
            })
            .collect();
        let deadline = Instant::now() + PATIENCE;
        while ledger.acks.load(SeqCst) < target {
            assert!(Instant::now() < deadline, "cycle {cycle}: no progress\n{}", server.log());
            std::thread::yield_now();
        }
        server.kill();
        for writer in writers {
            writer.join().unwrap();
        }
        server = server.restart();
    }
    ledger.check(&server);
    server.kill();
    let entries = read_by_go(&server.wal_dir());
    assert!(entries >= ledger.acks.load(SeqCst), "Go reads {entries} entries, {} were acked", ledger.acks.load(SeqCst));
    println!("{name}: {cycles} kills, {} acked puts, 0 lost", ledger.acks.load(SeqCst));
}

#[test]
fn nothing_acked_is_lost_on_the_ring() {
    kill_cycles("crash-ring", Setup::with(&["--reactor=ring"]), 100);
}

#[test]
fn nothing_acked_is_lost_on_epoll() {
    kill_cycles("crash-epoll", Setup::with(&["--reactor=epoll"]), 20);
}

#[test]
fn nothing_acked_is_lost_with_roles_apart() {
    kill_cycles("crash-apart", Setup::with(&["--cores=raft:1,shards:2"]), 20);
}

#[test]
fn nothing_acked_is_lost_with_fdatasync() {
    kill_cycles("crash-fdatasync", Setup::with(&["--wal-sync=fdatasync"]), 10);
}

/// Number of entries that Go etcd's own WAL package finds in a log of ours.
fn read_by_go(wal_dir: &Path) -> u64 {
    let mut command = match std::env::var_os("WALREAD_BIN") {
        Some(path) => Command::new(path),
        None => {
            let mut go = Command::new("go");
            go.args(["run", "./cmd/walread"]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/go"));
            go
        }
    };
    let output = command.arg("-dir").arg(wal_dir).output().expect("go, or WALREAD_BIN, to read the log with");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "Go refuses the log: {text}{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let (first, last) = (json["first_index"].as_u64().unwrap(), json["last_index"].as_u64().unwrap());
    assert_eq!(first, 1, "{text}");
    last
}
