//! Flags, environment and the checked configuration. `load` is the only way to a `Config`, and it reports every mistake
//! it can find at once. Runs once, before any thread starts; nothing here may be called later.

mod argv;
mod bootstrap;
mod check;
mod env;
mod help;
mod machine;
mod notice;
pub mod table;
mod url;
mod value;

#[cfg(test)]
mod check_test;

pub use machine::holds_wal;
pub use notice::{Level, Notice};
pub use url::{Scheme, Url};
pub use value::go_duration;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Member names and their peer URLs, sorted.
pub type Members = BTreeMap<String, Vec<Url>>;

/// The checked configuration. Everything that is a choice of one word is an enum; nothing in it needs checking again.
#[derive(Debug)]
pub struct Config {
    pub name: String,
    pub data_dir: PathBuf,
    /// `None`: inside the data directory.
    pub wal_dir: Option<PathBuf>,
    pub listen_client_urls: Vec<Url>,
    pub listen_peer_urls: Vec<Url>,
    /// Listeners that serve /metrics, /health, /livez and /readyz and nothing else. Usually empty.
    pub listen_metrics_urls: Vec<Url>,
    pub advertise_client_urls: Vec<Url>,
    pub initial_advertise_peer_urls: Vec<Url>,
    /// The first members, when there is no log yet; on a restart etcd does not read these flags.
    pub bootstrap: Option<Bootstrap>,
    pub initial_cluster_state: ClusterState,
    pub heartbeat_interval_ms: u64,
    pub election_timeout_ms: u64,
    pub initial_election_tick_advance: bool,
    pub pre_vote: bool,
    pub max_request_bytes: u64,
    pub max_txn_ops: u64,
    pub max_concurrent_streams: u32,
    pub grpc_keepalive: GrpcKeepalive,
    pub snapshot_count: u64,
    pub max_wals: u64,
    pub max_snapshots: u64,
    pub socket_reuse_port: bool,
    pub socket_reuse_address: bool,
    pub log: LogSettings,
    pub cores: Cores,
    pub reactor: ReactorChoice,
    pub wal_sync: WalSync,
    /// Microseconds a thread polls before it sleeps; 0 is off.
    pub spin_us: u32,
    /// To be logged as soon as there is a log.
    pub notices: Vec<Notice>,
}

impl Config {
    /// Ticks of an election timeout; a tick is a heartbeat interval.
    pub fn election_ticks(&self) -> u64 {
        self.election_timeout_ms / self.heartbeat_interval_ms
    }

    /// Where the log files are.
    pub fn wal_path(&self) -> PathBuf {
        self.wal_dir.clone().unwrap_or_else(|| wal_path_in(&self.data_dir))
    }

    /// Where snapshots and the database are.
    pub fn snap_path(&self) -> PathBuf {
        self.data_dir.join("member/snap")
    }
}

/// Where the log is unless `--wal-dir` says otherwise.
fn wal_path_in(data_dir: &Path) -> PathBuf {
    data_dir.join("member/wal")
}

/// `--grpc-keepalive-*`, in milliseconds, with gRPC's own values where etcd leaves them alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcKeepalive {
    pub ping_min_ms: u64,
    pub interval_ms: u64,
    pub timeout_ms: u64,
}

/// What a first start needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    pub members: Members,
    pub token: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    New,
    Existing,
}

/// `--cores`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// By the number of CPUs.
    Auto,
    /// One thread with both roles.
    Combined,
    /// One raft thread and this many shard threads.
    Split { shards: u16 },
}

/// `--reactor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReactorChoice {
    Auto,
    Ring,
    Epoll,
}

/// `--wal-sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalSync {
    Auto,
    Dsync,
    Fdatasync,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub level: Level,
    /// `None`: console when standard error is a terminal, JSON otherwise.
    pub format: Option<LogFormat>,
    /// Empty: nowhere.
    pub outputs: Vec<LogOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Console,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    Stderr,
    Stdout,
    File(PathBuf),
}

/// An end before the start: print both texts and exit.
#[derive(Debug, PartialEq, Eq)]
pub struct Exit {
    pub code: u8,
    pub stdout: String,
    pub stderr: String,
}

/// Reads this process's arguments and environment. Unlike `std::env::args` it does not panic on bytes that are no text.
pub fn load_process() -> Result<Config, Exit> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    load(std::env::args_os().map(text), std::env::vars_os().map(|(key, value)| (text(key), text(value))))
}

/// Reads arguments (the program name first) and environment.
pub fn load(
    args: impl IntoIterator<Item = String>,
    vars: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Exit> {
    let args: Vec<String> = args.into_iter().skip(1).collect();
    read(&args, &vars.into_iter().collect(), &machine::world()).map_err(machine::exit)
}

/// Why there is no configuration, before it is put into words for a terminal or a log.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Help,
    Version,
    Faults(Vec<String>),
    Conflicts(Vec<String>),
    Mistakes(Vec<String>),
}

fn read(args: &[String], vars: &BTreeMap<String, String>, world: &check::World<'_>) -> Result<Config, Refusal> {
    let (mut settings, extra) = match argv::parse(args) {
        argv::Asked::Help => return Err(Refusal::Help),
        argv::Asked::Faults(faults) => return Err(Refusal::Faults(faults)),
        argv::Asked::Run { settings, extra } => (settings, extra),
    };
    if let Some(word) = extra {
        return Err(Refusal::Mistakes(vec![format!("{} is not a valid flag", value::quote(&word))]));
    }
    if settings.flag("version") {
        return Err(Refusal::Version);
    }
    let report = env::apply(&mut settings, vars);
    if !report.conflicts.is_empty() {
        return Err(Refusal::Conflicts(report.conflicts));
    }
    let mut mistakes = report.mistakes;
    match check::config(&settings, world) {
        Ok(mut config) if mistakes.is_empty() => {
            config.notices.splice(0..0, report.notices);
            Ok(config)
        }
        Ok(_) => Err(Refusal::Mistakes(mistakes)),
        Err(found) => {
            mistakes.extend(found);
            Err(Refusal::Mistakes(mistakes))
        }
    }
}
