//! `benchmark` against a real server: the command lines of etcd's performance page as they stand there, and the loads
//! that change several keys at once.

use crate::server::{Server, Setup, TempDir};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

/// The tool is another package's binary, which cargo does not bring up to date for a test of this one.
fn benchmark() -> Command {
    static BUILT: Once = Once::new();
    let path = PathBuf::from(env!("CARGO_BIN_EXE_etcd")).with_file_name("benchmark");
    BUILT.call_once(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--package", "benches"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if path.parent().is_some_and(|dir| dir.ends_with("release")) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "{build:?}");
    });
    Command::new(path)
}

/// Runs one line, with the server in place of each `$HOST`; answers what it printed.
fn run(server: &Server, line: &str) -> String {
    let line = line.replace("$HOST", server.endpoint().strip_prefix("http://").unwrap());
    let output = benchmark().args(line.split(' ')).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{line}: {text} {}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("Error distribution"), "{line}: {text}");
    text
}

/// Requests of all reports in a text.
fn requests(text: &str) -> u64 {
    let count = |line: &str| line.split_once('[')?.1.split_once("]\t|")?.0.parse::<u64>().ok();
    text.lines().filter_map(count).sum()
}

/// All its lines but the one that waits for the disk ten thousand times, one after the other.
#[test]
fn the_performance_page() {
    let dir = TempDir::new("manual");
    let server = Server::start(dir.path(), Setup::default());
    let (one, many) = ("--conns=1 --clients=1", "--conns=100 --clients=1000");
    let all = "--endpoints=$HOST,$HOST,$HOST";
    for (flags, load, total) in [
        (
            "--endpoints=$HOST --target-leader",
            "put --key-size=8 --sequential-keys --total=100000 --val-size=256",
            100_000,
        ),
        (all, "put --key-size=8 --sequential-keys --total=100000 --val-size=256", 100_000),
        (all, "range YOUR_KEY --consistency=l --total=100000", 100_000),
        (all, "range YOUR_KEY --consistency=s --total=100000", 100_000),
        (all, "range YOUR_KEY --consistency=l --total=10000", 10_000),
        (all, "range YOUR_KEY --consistency=s --total=10000", 10_000),
    ] {
        let load_of = if total == 100_000 { many } else { one };
        let text = run(&server, &format!("{flags} {load_of} {load}"));
        assert_eq!(requests(&text), total, "{load}: {text}");
        for part in ["\nSummary:\n  Total:\t", "  Requests/sec:\t", "\nLatency distribution:\n", "Generator CPU: "] {
            assert!(text.contains(part), "{load} has no {part:?}: {text}");
        }
    }
}

#[test]
fn transactions_and_the_store_alone() {
    let dir = TempDir::new("loads");
    let server = Server::start(dir.path(), Setup::default());
    let text =
        run(&server, "--endpoints=$HOST --conns=3 --clients=30 txn-put --txn-ops=4 --key-space-size=9 --total=500");
    assert_eq!(requests(&text), 500, "{text}");
    let text = run(&server, "--endpoints=$HOST --conns=3 --clients=30 txn-mixed key --rw-ratio=3 --total=700");
    assert!(text.starts_with("bench with linearizable range\nTotal Read Ops: "), "{text}");
    assert_eq!(requests(&text), 700, "{text}");
    let parts: Vec<&str> = text.split("\nTotal Write Ops: ").collect();
    let count = |text: &str| text.split('\n').next().unwrap().parse::<u64>().unwrap();
    let reads = parts[0].split("Total Read Ops: ").nth(1).unwrap();
    assert_eq!((requests(parts[0]), requests(parts[1])), (count(reads), count(parts[1])));
    let text = run(&server, "mvcc put --total=300 --txn --txn-ops=5 --value-size=16");
    assert_eq!(requests(&text), 300, "{text}");
    let output = benchmark().args(["txn-put", "--txn-ops=2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
