//! From settings to a checked `Config`, with all mistakes reported at once and in etcd's words where it has them.
//! Pure: what must be asked of the machine comes in through `World`.

use super::bootstrap;
use super::notice::{Level, Notice};
use super::table::{SAME_AS_DEFAULT, Support};
use super::url::{self, Scheme, Url};
use super::value::{Settings, Value, default_of, parse, quote};
use super::{
    Bootstrap, ClusterState, Config, Cores, GrpcKeepalive, LogFormat, LogOutput, LogSettings, ReactorChoice, WalSync,
    wal_path_in,
};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Longest election timeout etcd accepts, in milliseconds: a larger one makes a dead leader last for minutes.
pub const ELECTION_TIMEOUT_MS_MAX: u64 = 50_000;
/// Heartbeats an election timeout must cover at least, count (etcd's rule): fewer make elections out of jitter.
pub const HEARTBEATS_PER_ELECTION_MIN: u64 = 5;
/// Largest `--max-request-bytes`, in bytes: a record of the log may have 100 MiB, and a proposal is kept twice.
pub const REQUEST_BYTES_MAX: u64 = 64 << 20;
/// Most shards one can ask for, count: more than any machine has cores that serve one log.
pub const SHARDS_MAX: u16 = 512;
/// Longest `--spin-us`: from about a millisecond on, sleeping costs nothing compared with the wait.
pub const SPIN_US_MAX: u64 = 1_000;

/// What the checks ask of the machine. Tests hand in constants.
pub struct World<'a> {
    /// The address other machines see, if there is one.
    pub default_host: &'a dyn Fn() -> Option<IpAddr>,
    /// The first address of a host name.
    pub resolve: &'a dyn Fn(&str) -> Option<IpAddr>,
    /// Whether a directory holds log files: then this is a restart.
    pub holds_wal: &'a dyn Fn(&Path) -> bool,
}

/// Checks everything; either a configuration or all mistakes.
pub fn config(settings: &Settings, world: &World<'_>) -> Result<Config, Vec<String>> {
    let mut mistakes = Vec::new();
    let mut notices = Vec::new();
    default_only(settings, &mut mistakes);
    obsolete(settings, &mut notices);
    let mut urls = Urls::read(settings, &mut mistakes);
    times(settings, &mut mistakes);
    limits(settings, &mut mistakes);
    let log = logging(settings, &mut mistakes);
    let cores = cores(&settings.text("cores")).unwrap_or_else(|reason| {
        mistakes.push(reason);
        Cores::Auto
    });
    let peer_host_moved = urls.advertise_default_host(world, &mut notices);
    let places = Places::read(settings, &mut notices);
    let bootstrap = if (world.holds_wal)(&places.wal_path()) {
        None
    } else {
        bootstrap::check(settings, &places.name, &urls.initial_advertise_peer, peer_host_moved, world)
            .map_err(|found| mistakes.extend(found))
            .ok()
    };
    if mistakes.is_empty() {
        Ok(assemble(settings, places, urls, bootstrap, log, cores, notices))
    } else {
        Err(mistakes)
    }
}

/// Puts checked parts together; nothing can fail here any more.
fn assemble(
    settings: &Settings,
    places: Places,
    urls: Urls,
    bootstrap: Option<Bootstrap>,
    log: LogSettings,
    cores: Cores,
    notices: Vec<Notice>,
) -> Config {
    Config {
        name: places.name,
        data_dir: places.data_dir,
        wal_dir: places.wal_dir,
        listen_client_urls: urls.listen_client,
        listen_peer_urls: urls.listen_peer,
        listen_metrics_urls: urls.listen_metrics,
        advertise_client_urls: urls.advertise_client,
        initial_advertise_peer_urls: urls.initial_advertise_peer,
        bootstrap,
        initial_cluster_state: match settings.text("initial-cluster-state").as_str() {
            "existing" => ClusterState::Existing,
            _ => ClusterState::New,
        },
        heartbeat_interval_ms: settings.number("heartbeat-interval"),
        election_timeout_ms: settings.number("election-timeout"),
        initial_election_tick_advance: settings.flag("initial-election-tick-advance"),
        pre_vote: settings.flag("pre-vote"),
        max_request_bytes: settings.number("max-request-bytes"),
        max_txn_ops: settings.number("max-txn-ops"),
        max_concurrent_streams: u32::try_from(settings.number("max-concurrent-streams")).expect("parsed as u32"),
        grpc_keepalive: grpc_keepalive(settings),
        snapshot_count: settings.number("snapshot-count"),
        max_wals: settings.number("max-wals"),
        max_snapshots: settings.number("max-snapshots"),
        socket_reuse_port: settings.flag("socket-reuse-port"),
        socket_reuse_address: settings.flag("socket-reuse-address"),
        log,
        cores,
        reactor: match settings.text("reactor").as_str() {
            "ring" => ReactorChoice::Ring,
            "epoll" => ReactorChoice::Epoll,
            _ => ReactorChoice::Auto,
        },
        wal_sync: match settings.text("wal-sync").as_str() {
            "dsync" => WalSync::Dsync,
            "fdatasync" => WalSync::Fdatasync,
            _ => WalSync::Auto,
        },
        spin_us: u32::try_from(settings.number("spin-us")).expect("checked against its maximum"),
        notices,
    }
}

/// Shortest interval between probes, in milliseconds: gRPC raises a shorter one to this.
const KEEPALIVE_INTERVAL_MS_MIN: u64 = 1_000;

/// What gRPC does when etcd says nothing about it, in milliseconds.
const GRPC_DEFAULTS: GrpcKeepalive =
    GrpcKeepalive { ping_min_ms: 5 * 60 * 1000, interval_ms: 2 * 60 * 60 * 1000, timeout_ms: 20_000 };

/// etcd hands on what is above zero, and interval and timeout only together; gRPC's defaults hold otherwise.
fn grpc_keepalive(settings: &Settings) -> GrpcKeepalive {
    let ms = |name: &str| u64::try_from(settings.duration_ns(name)).map_or(0, |ns| ns.div_ceil(1_000_000));
    let (min, interval, timeout) =
        (ms("grpc-keepalive-min-time"), ms("grpc-keepalive-interval"), ms("grpc-keepalive-timeout"));
    let mut keepalive = GRPC_DEFAULTS;
    if min > 0 {
        keepalive.ping_min_ms = min;
    }
    if interval > 0 && timeout > 0 {
        keepalive.interval_ms = interval.max(KEEPALIVE_INTERVAL_MS_MIN);
        keepalive.timeout_ms = timeout;
    }
    keepalive
}

/// The member's name and where its data is.
struct Places {
    name: String,
    data_dir: PathBuf,
    wal_dir: Option<PathBuf>,
}

impl Places {
    fn read(settings: &Settings, notices: &mut Vec<Notice>) -> Places {
        let name = settings.text("name");
        let mut data_dir = settings.text("data-dir");
        if data_dir.is_empty() {
            data_dir = format!("{name}.etcd");
            notices.push(Notice::new(Level::Warn, "'data-dir' was empty; using default").with("data-dir", &data_dir));
        }
        let wal_dir = Some(settings.text("wal-dir")).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        Places { name, data_dir: data_dir.into(), wal_dir }
    }

    fn wal_path(&self) -> PathBuf {
        self.wal_dir.clone().unwrap_or_else(|| wal_path_in(&self.data_dir))
    }
}

/// Refuses what is not there yet: a setting that silently does nothing is worse than none.
fn default_only(settings: &Settings, mistakes: &mut Vec<String>) {
    for (flag, value) in settings.each_set().filter(|(flag, _)| flag.support == Support::DefaultOnly) {
        let same =
            SAME_AS_DEFAULT.iter().any(|(name, raw)| *name == flag.name && parse(flag.kind, raw).as_ref() == Ok(value));
        // An empty list is "not set" for every flag of that kind.
        let empty = *value == Value::List(vec![String::new()]) && flag.default.is_empty();
        if *value != default_of(flag) && !same && !empty {
            let shown = if flag.default.is_empty() { "empty" } else { flag.default };
            mistakes.push(format!(
                "--{} is not there yet in this build and only takes its default ({shown}): leave it out",
                flag.name
            ));
        }
    }
}

/// etcd's notices about flags that do nothing or will go.
fn obsolete(settings: &Settings, notices: &mut Vec<Notice>) {
    for (flag, _) in settings.each_set() {
        if flag.support == Support::Ignored {
            notices
                .push(Notice::new(Level::Warn, "flag is no longer supported - ignoring").with("flag-name", flag.name));
        }
    }
    for (name, msg) in [
        ("max-snapshots", "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8."),
        (
            "v2-deprecation",
            "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, \
             ignoring user input.",
        ),
    ] {
        if settings.is_set(name) {
            notices.push(Notice::new(Level::Warn, msg));
        }
    }
}

struct Urls {
    listen_client: Vec<Url>,
    listen_peer: Vec<Url>,
    listen_metrics: Vec<Url>,
    advertise_client: Vec<Url>,
    initial_advertise_peer: Vec<Url>,
    /// Advertised lists that still are what the table says, so that the machine's own address may take their place.
    advertise_client_default: bool,
    advertise_peer_default: bool,
}

impl Urls {
    fn read(settings: &Settings, mistakes: &mut Vec<String>) -> Urls {
        let list = |name: &str| settings.urls(name);
        let is_default = |name: &str| list(name) == settings_default(name);
        let urls = Urls {
            listen_client: list("listen-client-urls"),
            listen_peer: list("listen-peer-urls"),
            listen_metrics: list("listen-metrics-urls"),
            advertise_client: list("advertise-client-urls"),
            initial_advertise_peer: list("initial-advertise-peer-urls"),
            advertise_client_default: is_default("advertise-client-urls"),
            advertise_peer_default: is_default("initial-advertise-peer-urls"),
        };
        urls.schemes(mistakes);
        urls.hosts(mistakes);
        if settings.is_set("listen-client-urls") && !settings.is_set("advertise-client-urls") {
            mistakes.push("--advertise-client-urls is required when --listen-client-urls is set explicitly".into());
        }
        urls
    }

    fn listeners(&self) -> [(&'static str, &[Url]); 3] {
        [
            ("listen-peer-urls", &self.listen_peer),
            ("listen-client-urls", &self.listen_client),
            ("listen-metrics-urls", &self.listen_metrics),
        ]
    }

    fn advertised(&self) -> [(&'static str, &[Url]); 2] {
        [
            ("initial-advertise-peer-urls", &self.initial_advertise_peer),
            ("advertise-client-urls", &self.advertise_client),
        ]
    }

    /// TLS and unix sockets are not there yet. What is advertised may be anything a proxy in front serves, except for
    /// peers, which must be reached as they are.
    fn schemes(&self, mistakes: &mut Vec<String>) {
        let peers = ("initial-advertise-peer-urls", &self.initial_advertise_peer[..]);
        for (name, urls) in self.listeners().into_iter().chain([peers]) {
            for url in urls {
                match url.scheme() {
                    Scheme::Http => {}
                    Scheme::Https => {
                        mistakes.push(format!("--{name}: TLS is not there yet in this build, use http ({url})"));
                    }
                    Scheme::Unix | Scheme::Unixs => {
                        mistakes.push(format!("--{name}: unix sockets are not there yet in this build ({url})"));
                    }
                }
            }
        }
    }

    fn hosts(&self, mistakes: &mut Vec<String>) {
        let mut bound: Vec<(&str, &Url)> = Vec::new();
        for (name, urls) in self.listeners() {
            for url in urls.iter().filter(|url| !url.scheme().is_unix()) {
                let Some(addr) = url.socket_addr() else {
                    mistakes.push(format!("expected IP in URL for binding ({url})"));
                    continue;
                };
                let twice = bound.iter().find(|(_, other)| addr.port() != 0 && other.socket_addr() == Some(addr));
                if let Some((other, _)) = twice {
                    mistakes.push(format!("--{other} and --{name} both listen on {addr}"));
                }
                bound.push((name, url));
            }
        }
        for (name, urls) in self.advertised() {
            for url in urls.iter().filter(|url| !url.scheme().is_unix() && url.host().is_empty()) {
                let form = match name {
                    "advertise-client-urls" => {
                        "must be in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\""
                    }
                    _ => "must be \"host:port\"",
                };
                let all = quote(&url::join(urls));
                mistakes.push(format!("--{name} {all} {form} (unexpected empty host ({url}))"));
            }
        }
    }

    /// Listening everywhere while advertising the default `localhost` would tell other machines to call themselves: the
    /// machine's own address takes its place, as in etcd. Returns whether the peer URL changed.
    fn advertise_default_host(&mut self, world: &World<'_>, notices: &mut Vec<Notice>) -> bool {
        let everywhere = |urls: &[Url]| urls.first().filter(|url| url.host() == "0.0.0.0").map(Url::port);
        let peer_port = everywhere(&self.listen_peer).filter(|_| self.advertise_peer_default);
        let client_port = everywhere(&self.listen_client).filter(|_| self.advertise_client_default);
        if peer_port.is_none() && client_port.is_none() {
            return false;
        }
        let Some(host) = (world.default_host)() else {
            notices.push(Notice::new(Level::Info, "failed to detect default host"));
            return false;
        };
        for (urls, port) in [(&mut self.initial_advertise_peer, peer_port), (&mut self.advertise_client, client_port)] {
            if let Some(port) = port {
                *urls = vec![urls[0].at_host(host, port)];
            }
        }
        notices.push(Notice::new(Level::Info, "detected default host for advertise").with("host", &host.to_string()));
        peer_port.is_some()
    }
}

fn settings_default(name: &str) -> Vec<Url> {
    Settings::default().urls(name)
}

fn times(settings: &Settings, mistakes: &mut Vec<String>) {
    let heartbeat_ms = settings.number("heartbeat-interval");
    let election_ms = settings.number("election-timeout");
    if heartbeat_ms == 0 {
        mistakes.push("--heartbeat-interval must be >0 (set to 0ms)".into());
    }
    if election_ms == 0 {
        mistakes.push("--election-timeout must be >0 (set to 0ms)".into());
    } else if heartbeat_ms.saturating_mul(HEARTBEATS_PER_ELECTION_MIN) > election_ms {
        mistakes.push(format!(
            "--election-timeout[{election_ms}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat_ms}ms]"
        ));
    }
    if election_ms > ELECTION_TIMEOUT_MS_MAX {
        mistakes.push(format!(
            "--election-timeout[{election_ms}ms] is too long, and should be set less than {ELECTION_TIMEOUT_MS_MAX}ms"
        ));
    }
}

fn limits(settings: &Settings, mistakes: &mut Vec<String>) {
    let request_bytes = settings.number("max-request-bytes");
    if request_bytes > REQUEST_BYTES_MAX {
        mistakes.push(format!(
            "--max-request-bytes[{request_bytes}] is too large, at most {REQUEST_BYTES_MAX} fit in a log record"
        ));
    }
    for name in ["max-request-bytes", "max-txn-ops", "max-concurrent-streams"] {
        if settings.number(name) == 0 {
            mistakes.push(format!("--{name} must be >0"));
        }
    }
    let spin_us = settings.number("spin-us");
    if spin_us > SPIN_US_MAX {
        mistakes.push(format!("--spin-us[{spin_us}] is too long, at most {SPIN_US_MAX}"));
    }
    if settings.text("discovery-fallback") == "proxy" {
        mistakes.push("v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"".into());
    }
}

fn logging(settings: &Settings, mistakes: &mut Vec<String>) -> LogSettings {
    match settings.text("logger").as_str() {
        "zap" => {}
        "capnslog" => mistakes.push("--logger=capnslog is removed in v3.5".into()),
        other => mistakes.push(format!("unknown logger option {}", quote(other))),
    }
    let raw = settings.text("log-level");
    let level = Level::parse(&raw).unwrap_or_else(|| {
        let known = "debug, info, warn, error, panic, fatal";
        mistakes.push(format!("unrecognized level: {}, supported values {known}", quote(&raw)));
        Level::Info
    });
    let format = match settings.text("log-format").as_str() {
        "console" => LogFormat::Console,
        "json" | "" => LogFormat::Json,
        other => {
            mistakes.push(format!("unknown log format: {other}, supported values json, console"));
            LogFormat::Json
        }
    };
    let outputs = settings.list("log-outputs");
    if outputs.len() > 1 && outputs.iter().any(|output| output == "default") {
        mistakes.push("multi logoutput for \"default\" is not supported yet".into());
    }
    // As in etcd, one /dev/null silences the log altogether.
    let discard = outputs.iter().any(|output| output == "/dev/null");
    let mut places = Vec::new();
    for output in outputs.iter().filter(|_| !discard) {
        let place = match output.as_str() {
            "default" | "stderr" | "" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            "systemd/journal" => {
                mistakes.push("--log-outputs: systemd/journal is not there yet in this build, use stderr".into());
                continue;
            }
            path => LogOutput::File(PathBuf::from(path)),
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    LogSettings { level, format: settings.is_set("log-format").then_some(format), outputs: places }
}

/// Reads `--cores`.
fn cores(raw: &str) -> Result<Cores, String> {
    let refuse =
        || format!("--cores must be auto, combined or raft:1,shards:N with N from 1 to {SHARDS_MAX} (set to {raw})");
    match raw {
        "auto" => return Ok(Cores::Auto),
        "combined" => return Ok(Cores::Combined),
        _ => {}
    }
    let count = raw.strip_prefix("raft:1,shards:").ok_or_else(refuse)?;
    match count.parse::<u16>() {
        Ok(shards) if (1..=SHARDS_MAX).contains(&shards) => Ok(Cores::Split { shards }),
        _ => Err(refuse()),
    }
}
