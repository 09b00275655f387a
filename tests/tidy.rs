//! Rules of the house that the compiler does not check: who may import whom (arrows), where an outside crate may appear
//! (doors), what the engine must not know, sizes, file headers, and that ARCHITECTURE.md names every folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold Rust code of ours.
const CODE: &[&str] = &["src", "engine", "net", "tuning", "benches", "tests"];

struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|n| n == "target") {
            continue;
        }
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for dir in CODE {
        walk(&root().join(dir), &mut paths);
    }
    paths.sort();
    let rust = paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs"));
    rust.map(|p| {
        let path = p.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        Source { text: fs::read_to_string(&p).unwrap(), path }
    })
    .collect()
}

/// The code of a line, without its comment and without string contents that would only look like code.
fn code(line: &str) -> &str {
    let trimmed = line.trim_start();
    if trimmed.starts_with("//") { "" } else { line.split(" // ").next().unwrap_or(line) }
}

fn fail_if_any(rule: &str, mut offences: Vec<String>) {
    offences.sort();
    assert!(offences.is_empty(), "{rule}\n  {}", offences.join("\n  "));
}

/// Files in `folder` must not contain any of `words` in code.
const ARROWS: &[(&str, &[&str], &str)] = &[
    ("engine/", &["net::", "etcd_uring", "tuning::pin"], "the engine knows neither the network nor the server"),
    ("net/", &["engine::", "tuning::probe", "etcd_uring", "etcd"], "net knows no etcd word"),
    ("tuning/", &["engine::", "net::h", "net::grpc", "etcd_uring"], "tuning depends on nobody"),
    ("engine/src/apply/mvcc/", &["cluster::", "super::kv", "apply::kv"], "apply's siblings never import each other"),
    ("engine/src/apply/cluster/", &["mvcc", "kv::"], "apply's siblings never import each other"),
    ("engine/src/consensus/", &["crate::apply", "crate::wal", "crate::replica"], "replica joins them, nobody else"),
    ("engine/src/wal/", &["crate::apply", "crate::consensus", "crate::replica"], "replica joins them, nobody else"),
    ("engine/src/disk/", &["crate::wal", "crate::apply", "crate::replica"], "the disk is below everything"),
    ("src/driver/", &["crate::api", "crate::shard"], "driver and api meet only in the exchange"),
    ("src/api/", &["crate::driver", "crate::shard", "crate::reactor"], "api is called by shards and calls nobody back"),
    ("src/shard/", &["crate::driver"], "driver and shard meet only in the exchange"),
    ("src/reactor/", &["crate::shard", "crate::driver", "crate::api", "crate::core"], "the reactor decides nothing"),
    ("src/ops/", &["crate::shard", "crate::driver"], "ops is told, it does not ask"),
    ("src/client/", &["crate::shard", "crate::driver", "crate::core", "crate::boot"], "the client is not the server"),
];

#[test]
fn arrows() {
    let mut offences = Vec::new();
    for source in sources() {
        for (folder, words, why) in ARROWS {
            if !source.path.starts_with(folder) || source.path.contains("/tests/") {
                continue;
            }
            for (number, line) in source.text.lines().enumerate() {
                for word in *words {
                    if names(code(line), word) {
                        offences.push(format!("{}:{}: `{word}`: {why}", source.path, number + 1));
                    }
                }
            }
        }
    }
    fail_if_any("arrows (design: who may import whom)", offences);
}

/// True when `word` stands in `line` at a word's start.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-' || c == ':' || c == '.')
    })
}

/// An outside crate (as code names it) and the files or folders it may appear in.
const DOORS: &[(&str, &[&str])] = &[
    ("raft::", &["engine/src/consensus/"]),
    ("slog::", &["engine/src/consensus/"]),
    ("io_uring::", &["src/reactor/ring", "tuning/src/probe"]),
    ("hdrhistogram::", &["tuning/src/metric"]),
    ("crossbeam::", &["src/mailbox.rs", "src/reactor/"]),
    ("tracing_subscriber::", &["src/ops/log"]),
    ("sha1::", &["src/boot/"]),
    ("fluke_hpack::", &["net/tests/fuzz.rs"]),
    ("flate2::", &["net/src/grpc/gzip.rs", "net/tests/"]),
    ("crc32c::", &["engine/src/wal/", "engine/src/apply/mvcc/", "engine/tests/"]),
    (
        "nix::",
        &[
            "engine/src/disk/",
            "src/reactor/",
            "tuning/src/",
            "src/signals.rs",
            "src/driver/disk.rs",
            "src/ops/log/sink.rs",
            "benches/",
            "tests/",
        ],
    ),
    (
        "libc::",
        &[
            "engine/src/disk/",
            "src/reactor/",
            "tuning/src/",
            "src/signals.rs",
            "src/driver/disk.rs",
            "benches/",
            "engine/tests/",
            "tests/",
        ],
    ),
];

#[test]
fn doors() {
    let mut offences = Vec::new();
    for source in sources() {
        for (krate, allowed) in DOORS {
            if source.path == "tests/tidy.rs" || allowed.iter().any(|a| source.path.starts_with(a)) {
                continue;
            }
            for (number, line) in source.text.lines().enumerate() {
                if names(code(line), krate) {
                    offences.push(format!("{}:{}: `{krate}` belongs into {allowed:?}", source.path, number + 1));
                }
            }
        }
    }
    fail_if_any("doors (one place per outside crate)", offences);
}

/// Files that may contain unsafe code; everywhere else it is an offence.
const UNSAFE_DOORS: &[&str] = &[
    "engine/src/disk/buf.rs",
    "engine/src/disk/file",
    "src/reactor/",
    "src/signals.rs",
    "src/driver/disk.rs",
    "tuning/src/probe",
    "tuning/src/pin.rs",
    "tests/reactor",
    "tests/it/",
    // A test binary of its own whose allocator counts: `GlobalAlloc` is an unsafe trait.
    "net/tests/alloc.rs",
];

#[test]
fn unsafe_only_in_door_files() {
    let mut offences = Vec::new();
    for source in sources() {
        if source.path == "tests/tidy.rs" || UNSAFE_DOORS.iter().any(|d| source.path.starts_with(d)) {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            if names(code(line), "unsafe ") {
                offences.push(format!("{}:{}: unsafe code", source.path, number + 1));
            }
        }
    }
    fail_if_any("unsafe only in door files", offences);
}

/// What would make the engine non-deterministic, or reach outside. Its door files are exempt.
const ENGINE_BANS: &[&str] = &[
    "std::time",
    "Instant",
    "SystemTime",
    "std::thread",
    "thread::spawn",
    "rand::",
    "std::net",
    "std::env",
    "RandomState",
];
const ENGINE_DOORS: &[&str] = &["engine/src/disk/file"];

#[test]
fn the_engine_is_deterministic() {
    let mut offences = Vec::new();
    for source in sources() {
        if !source.path.starts_with("engine/src/") || ENGINE_DOORS.iter().any(|d| source.path.starts_with(d)) {
            continue;
        }
        let shipped = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in shipped.lines().enumerate() {
            for ban in ENGINE_BANS {
                if names(code(line), ban) {
                    offences.push(format!("{}:{}: `{ban}`", source.path, number + 1));
                }
            }
        }
    }
    fail_if_any("no clock, thread, RNG or socket in the engine", offences);
}

#[test]
fn every_file_says_who_it_is() {
    let silent = sources().into_iter().filter(|s| !s.text.starts_with("//!")).map(|s| s.path).collect();
    fail_if_any("files open with `//!`", silent);
}

/// Unfinished marks and names that say nothing.
#[test]
fn nothing_unfinished() {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat(), ["#[ign", "ore"].concat()];
    let mut offences = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            if marks.iter().any(|m| line.contains(m.as_str())) {
                offences.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
        let stem = Path::new(&source.path).file_stem().unwrap().to_string_lossy().into_owned();
        if ["utils", "util", "common", "helpers", "misc"].contains(&stem.as_str()) {
            offences.push(format!("{}: a junk drawer", source.path));
        }
    }
    fail_if_any("no unfinished marks, no junk drawers", offences);
}

const FILE_LINES_MAX: usize = 1000;
/// Files above the limit, each with the size it may not grow beyond and why it is one file.
const LONG_FILES: &[(&str, usize, &str)] =
    &[("engine/src/pb/etcdserverpb.rs", 1400, "one protobuf package, a struct per message")];

#[test]
fn files_stay_small() {
    let mut offences = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        let max = LONG_FILES.iter().find(|(path, ..)| *path == source.path).map_or(FILE_LINES_MAX, |row| row.1);
        if lines > max {
            offences.push(format!("{}: {lines} lines, limit {max}", source.path));
        }
    }
    fail_if_any("one idea per file", offences);
}

const FUNCTION_LINES_MAX: usize = 70;
/// Functions above the limit: path, name, size it may not grow beyond.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

#[test]
fn functions_stay_small() {
    let mut offences = Vec::new();
    for source in sources() {
        for (name, line, length) in functions(&source.text) {
            let listed = LONG_FUNCTIONS.iter().find(|(path, n, _)| *path == source.path && *n == name);
            let max = listed.map_or(FUNCTION_LINES_MAX, |row| row.2);
            if length > max {
                offences.push(format!("{}:{line}: fn {name}: {length} lines, limit {max}", source.path));
            }
        }
    }
    fail_if_any("one thought per function", offences);
}

/// Name, line and length of every function of a rustfmt-formatted file: it ends at the brace in its own column.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some(after) = trimmed.find("fn ").filter(|at| is_prefix(&trimmed[..*at])).map(|at| &trimmed[at + 3..])
        else {
            continue;
        };
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let indent = line.len() - trimmed.len();
        let close = format!("{}}}", " ".repeat(indent));
        if line.ends_with(';') || line.ends_with('}') {
            continue;
        }
        if let Some(length) = lines[start..].iter().position(|l| *l == close) {
            found.push((name, start + 1, length + 1));
        }
    }
    found
}

fn is_prefix(before: &str) -> bool {
    before
        .split_whitespace()
        .all(|w| ["pub", "pub(super)", "pub(crate)", "const", "async", "unsafe", "extern", "\"C\""].contains(&w))
}

#[test]
fn architecture_names_every_folder() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut folders = BTreeSet::new();
    for source in sources() {
        let parent = Path::new(&source.path).parent().unwrap().to_string_lossy().into_owned();
        if !parent.ends_with("testdata") {
            folders.insert(parent.replace("/src/", "/").trim_end_matches("/src").to_owned());
        }
    }
    for top in ["deploy", "interop", "docs"] {
        folders.insert(top.to_owned());
    }
    let missing = folders.into_iter().filter(|f| !text.contains(&format!("`{f}/`"))).collect();
    fail_if_any("ARCHITECTURE.md names every folder as `path/`", missing);
}

#[test]
fn documents_speak_of_the_project_alone() {
    let mut paths = Vec::new();
    walk(&root().join("docs"), &mut paths);
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        paths.push(root().join(name));
    }
    let mut offences = Vec::new();
    for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for (number, line) in text.lines().enumerate() {
            if ["/work/", "/root/", "/home/"].iter().any(|p| line.contains(p)) {
                offences.push(format!("{}:{}: a machine's path", path.display(), number + 1));
            }
        }
    }
    fail_if_any("no machine paths in documents", offences);
}
