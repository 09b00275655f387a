//! `etcdctl` against a real server: transactions, compaction, members, endpoints; what it prints and how it ends.

use crate::server::{Server, Setup, TempDir};
use std::io::Write;
use std::process::{Command, Stdio};

struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

/// One call with words as a shell would split them, and a text on stdin.
fn etcdctl(server: &Server, line: &str, stdin: &str) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_etcdctl"))
        .arg(format!("--endpoints={}", server.endpoint()))
        .args(line.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its stdin may be gone before this is written.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn check(server: &Server, line: &str, stdin: &str, code: i32, stdout: &str, stderr: &str) {
    let answer = etcdctl(server, line, stdin);
    let got = (answer.code, answer.stdout.as_str(), answer.stderr.as_str());
    assert_eq!(got, (code, stdout, stderr), "etcdctl {line} < {stdin:?}");
}

#[test]
fn transactions() {
    let dir = TempDir::new("txn");
    let server = Server::start(dir.path(), Setup::default());
    let create = "mod(\"lock\") = \"0\"\n\nput lock \"mine\\n\"\nget lock\n\nget lock\ndel lock --prev-kv\n\n";
    check(&server, "txn", create, 0, "SUCCESS\n\nOK\n\nlock\nmine\n\n", "");
    check(&server, "txn", create, 0, "FAILURE\n\nlock\nmine\n\n\n1\nlock\nmine\n\n", "");
    let prompts = "compares:\nsuccess requests (get, put, del):\nfailure requests (get, put, del):\n";
    check(&server, "txn -i", "\n\n\n", 0, &format!("{prompts}SUCCESS\n"), "");
    let json = etcdctl(&server, "txn -w json", "\nput a b\nget a\n\n\n");
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["succeeded"], true);
    assert_eq!(json["responses"][1]["Response"]["response_range"]["kvs"][0]["value"], "Yg==");
    for (stdin, code, stderr) in [
        ("", 3, "EOF"),
        ("\nput a b\n", 3, "EOF"),
        ("nonsense\n\n\n\n", 3, "malformed comparison: nonsense"),
        ("\nwatch a\n\n\n", 3, "invalid txn request: watch a"),
        ("\nput a b\nput a c\n\n\n", 1, "etcdserver: duplicate key given in txn request"),
        ("\nput \"\" b\n\n\n", 1, "etcdserver: key is not provided"),
        ("\nget a --rev 99\n\n\n", 1, "etcdserver: mvcc: required revision is a future revision"),
    ] {
        check(&server, "txn", stdin, code, "", &format!("Error: {stderr}\n"));
    }
    check(&server, "txn", "lease(\"a\") = \"0\"\n\nget a\n\n\n", 0, "SUCCESS\n\na\nb\n", "");
}

#[test]
fn compaction() {
    let dir = TempDir::new("compaction");
    let server = Server::start(dir.path(), Setup::default());
    for value in ["1", "2", "3"] {
        check(&server, &format!("put k {value}"), "", 0, "OK\n", "");
    }
    check(&server, "compaction 3", "", 0, "compacted revision 3\n", "");
    check(&server, "compaction 4 --physical", "", 0, "compacted revision 4\n", "");
    let gone = "Error: etcdserver: mvcc: required revision has been compacted\n";
    check(&server, "get k --rev=3", "", 1, "", gone);
    check(&server, "compaction 4", "", 1, "", gone);
    check(&server, "compaction 9", "", 1, "", "Error: etcdserver: mvcc: required revision is a future revision\n");
    check(&server, "compaction x", "", 1, "", "Error: strconv.ParseInt: parsing \"x\": invalid syntax\n");
    check(&server, "compaction", "", 128, "", "Error: compaction command needs 1 argument\n");
    check(&server, "get k --rev=4", "", 0, "k\n3\n", "");
}

#[test]
fn members_and_endpoints() {
    let dir = TempDir::new("members");
    let server = Server::start(dir.path(), Setup::default());
    let list = etcdctl(&server, "member list", "");
    let fields: Vec<&str> = list.stdout.trim_end().split(", ").collect();
    assert_eq!((list.code, fields.len(), fields[1], fields[2], fields[5]), (0, 6, "started", "default", "false"));
    assert_eq!(fields[4], server.endpoint());
    for line in ["member list --consistency=s", "mem li"] {
        check(&server, line, "", 0, &list.stdout, "");
    }
    let hex = etcdctl(&server, "member list -w json --hex", "").stdout;
    let hex: serde_json::Value = serde_json::from_str(&hex).unwrap();
    assert_eq!(
        (hex["members"][0]["ID"].as_str(), &hex["header"]["member_id"]),
        (Some(fields[0]), &hex["members"][0]["ID"])
    );
    check(&server, "member list --consistency=q", "", 4, "", "Error: unknown consistency flag \"q\"\n");
    let status = etcdctl(&server, "endpoint status --cluster -w json", "").stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status[0]["Endpoint"], server.endpoint());
    let table = etcdctl(&server, "member list -w table", "").stdout;
    assert!(table.contains("│ STATUS  │") && table.contains(fields[0]), "{table}");
    let options = etcdctl(&server, "options", "");
    assert!(options.code == 0 && options.stdout.contains("  -w, --write-out string"), "{}", options.stdout);
}

#[test]
fn a_dead_endpoint() {
    let dir = TempDir::new("dead");
    let mut server = Server::start(dir.path(), Setup::default());
    server.kill();
    let short = "--command-timeout=200ms";
    let deadline = "Error: context deadline exceeded\n";
    check(&server, &format!("{short} member list"), "", 1, "", deadline);
    check(&server, &format!("{short} txn"), "\n\n\n", 1, "", deadline);
    let cluster = "Error: failed to fetch endpoints from etcd cluster member list: context deadline exceeded\n";
    check(&server, &format!("{short} endpoint status --cluster"), "", 1, "", cluster);
}
