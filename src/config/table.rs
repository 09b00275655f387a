//! The flag table: one row per flag of etcd 3.7.1, per flag older releases had, and per flag of our own.
//! Parsing, `--help`, environment names and refusals are all generated from it; adding a row is the whole change.
//! What must never happen here: a flag that is accepted and then silently does nothing (`Ignored` says so in the log).

/// How a value is written and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--x`, `--x=true`, `--x=false`: needs no value.
    Bool,
    Uint,
    Uint32,
    Uint64,
    Int,
    Int64,
    Text,
    /// Go duration: `300ms`, `1h2m`.
    Duration,
    /// Comma-separated URLs, duplicates removed.
    Urls,
    /// Comma-separated words.
    List,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// What this build does with a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Works,
    /// The function behind it is not there yet: any value but the default is refused.
    DefaultOnly,
    /// etcd itself accepts it and does nothing.
    Ignored,
    /// No release of this minor accepts it; the text says what to use instead.
    Removed(&'static str),
}

/// A group of `--help`, in the order shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Member,
    Clustering,
    Security,
    Auth,
    Logging,
    Storage,
    Limits,
    Operations,
    Discovery,
    Tracing,
    Unsafe,
    Own,
    Obsolete,
}

impl Section {
    pub const ALL: [Section; 13] = [
        Section::Member,
        Section::Clustering,
        Section::Storage,
        Section::Limits,
        Section::Logging,
        Section::Operations,
        Section::Security,
        Section::Auth,
        Section::Discovery,
        Section::Tracing,
        Section::Unsafe,
        Section::Own,
        Section::Obsolete,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Section::Member => "Member",
            Section::Clustering => "Clustering",
            Section::Security => "Security",
            Section::Auth => "Auth",
            Section::Logging => "Logging",
            Section::Storage => "Storage",
            Section::Limits => "Limits",
            Section::Operations => "Operations",
            Section::Discovery => "Discovery",
            Section::Tracing => "Distributed tracing",
            Section::Unsafe => "Unsafe",
            Section::Own => "etcd-uring",
            Section::Obsolete => "Obsolete",
        }
    }
}

#[derive(Debug)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    pub kind: Kind,
    /// What etcd shows as the default.
    pub default: &'static str,
    pub support: Support,
    pub section: Section,
    pub help: &'static str,
}

impl Flag {
    /// `ETCD_` and the name in upper case with `_` for `-`.
    pub fn env(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

/// The row of a flag, by its name without dashes.
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// Values of default-only flags that ask for exactly what this build does although they are not spelled like the
/// default: etcd turns a zero or an empty text into these, or they switch off what is not there anyway.
pub const SAME_AS_DEFAULT: &[(&str, &str)] = &[
    ("auto-compaction-retention", "0s"),
    ("auto-compaction-retention", "0h"),
    ("backend-batch-interval", "100ms"),
    ("backend-batch-limit", "10000"),
    ("backend-bbolt-freelist-type", "map"),
    ("compaction-batch-limit", "1000"),
    ("compaction-sleep-interval", "10ms"),
    ("enable-grpc-gateway", "false"),
    ("host-whitelist", ""),
    ("quota-backend-bytes", "2147483648"),
    ("watch-progress-notify-interval", "10m"),
];

/// Phases etcd 3.7 still parses.
const V2_PHASES: &[&str] = &["write-only", "write-only-skip-check", "write-only-drop-data", "gone"];

macro_rules! flags {
    ($($section:ident { $($name:literal $kind:expr, $default:literal, $support:expr, $help:literal;)* })*) => {
        pub static FLAGS: &[Flag] = {
            use Kind::*;
            use Support::*;
            &[$($(Flag {
                name: $name, kind: $kind, default: $default, support: $support,
                section: Section::$section, help: $help,
            },)*)*]
        };
    };
}

flags! {
    Member {
        "name" Text, "default", Works, "Name of this member, unique in its cluster.";
        "data-dir" Text, "", Works, "Where this member keeps its data (empty: <name>.etcd in the working directory).";
        "wal-dir" Text, "", Works, "Separate directory for the write-ahead log, best on a disk of its own (empty: inside data-dir).";
        "listen-client-urls" Urls, "http://localhost:2379", Works, "Where clients are served, gRPC and HTTP on the same port.";
        "listen-client-http-urls" Urls, "", DefaultOnly, "Where clients are served HTTP only; listen-client-urls then serves gRPC only.";
        "listen-peer-urls" Urls, "http://localhost:2380", Works, "Where other members connect.";
        "listen-metrics-urls" Urls, "", DefaultOnly, "Extra addresses for /metrics, /health, /livez and /readyz.";
        "heartbeat-interval" Uint, "100", Works, "Milliseconds between heartbeats of the leader; about the round trip time between members.";
        "election-timeout" Uint, "1000", Works, "Milliseconds without a heartbeat before an election; 5 to 10 heartbeats, at most 50000, same on every member.";
        "initial-election-tick-advance" Bool, "true", Works, "Skip most of the first election timeout at start.";
        "pre-vote" Bool, "true", Works, "Ask before an election whether it could be won, so that a returning member does not disturb the leader.";
        "socket-reuse-port" Bool, "false", Works, "Set SO_REUSEPORT on listeners, so that another process may bind the same port.";
        "socket-reuse-address" Bool, "false", Works, "Set SO_REUSEADDR on listeners, so that a port in TIME_WAIT can be bound.";
        "config-file" Text, "", DefaultOnly, "Read the configuration from this file; flags and environment then do not count.";
        "version" Bool, "false", Works, "Print the version and exit.";
        "help" Bool, "false", Works, "Print this help and exit.";
    }
    Clustering {
        "advertise-client-urls" Urls, "http://localhost:2379", Works, "Client URLs told to the cluster and to clients; needed as soon as listen-client-urls is set.";
        "initial-advertise-peer-urls" Urls, "http://localhost:2380", Works, "Peer URLs told to the cluster; must match this member's entry in initial-cluster.";
        "initial-cluster" Text, "default=http://localhost:2380", Works, "All first members as name=peerURL,...; only read when there is no data yet.";
        "initial-cluster-state" Choice(&["new", "existing"]), "new", Works, "new starts a cluster, existing joins one; only read when there is no data yet.";
        "initial-cluster-token" Text, "etcd-cluster", Works, "Keeps clusters apart: it is mixed into the cluster and member IDs.";
        "strict-reconfig-check" Bool, "true", DefaultOnly, "Refuse membership changes that would lose the quorum.";
        "max-learners" Int, "1", DefaultOnly, "Most learners the cluster may have.";
        "raft-read-timeout" Duration, "5s", DefaultOnly, "Longest silence on a peer connection before it is dropped.";
        "raft-write-timeout" Duration, "5s", DefaultOnly, "Longest wait for a write to a peer before its connection is dropped.";
    }
    Storage {
        "snapshot-count" Uint64, "10000", DefaultOnly, "Applied entries between two snapshots.";
        "snapshot-catchup-entries" Uint64, "5000", DefaultOnly, "Log entries kept behind a snapshot for slow followers.";
        "max-snapshots" Uint, "5", DefaultOnly, "Snapshot files kept, 0 for all. Deprecated since 3.6.";
        "max-wals" Uint, "5", DefaultOnly, "Log files kept, 0 for all.";
        "quota-backend-bytes" Int64, "0", DefaultOnly, "Database size that raises the NOSPACE alarm, 0 for 2 GiB.";
        "backend-batch-interval" Duration, "0s", DefaultOnly, "Longest time a change waits before it is committed to the database (0: 100ms).";
        "backend-batch-limit" Int, "0", DefaultOnly, "Most changes in one database commit (0: 10000).";
        "backend-bbolt-freelist-type" Text, "", DefaultOnly, "Free list of the database file: array or map (empty: map).";
        "auto-compaction-mode" Text, "periodic", DefaultOnly, "What auto-compaction-retention counts: periodic (time) or revision.";
        "auto-compaction-retention" Text, "0", DefaultOnly, "History kept by automatic compaction, 0 for no automatic compaction.";
        "compaction-batch-limit" Int, "0", DefaultOnly, "Revisions removed per step of a compaction (0: 1000).";
        "compaction-sleep-interval" Duration, "0s", DefaultOnly, "Pause between steps of a compaction (0: 10ms).";
        "bootstrap-defrag-threshold-megabytes" Uint, "0", DefaultOnly, "Defragment at start when this many megabytes would become free, 0 for never.";
        "memory-mlock" Bool, "false", DefaultOnly, "Lock the database in memory.";
    }
    Limits {
        "max-request-bytes" Uint, "1572864", Works, "Largest request of a client in bytes.";
        "max-txn-ops" Uint, "128", Works, "Most operations in one branch of a transaction.";
        "max-concurrent-streams" Uint32, "4294967295", Works, "Most streams open at once on a client connection.";
        "grpc-keepalive-min-time" Duration, "5s", Works, "Fastest pings accepted from a client, 0 for gRPC's own 5m.";
        "grpc-keepalive-interval" Duration, "2h0m0s", Works, "Silence after which a client is pinged, 0 for gRPC's own 2h.";
        "grpc-keepalive-timeout" Duration, "20s", Works, "Wait for the answer to such a ping before closing, 0 for gRPC's own 20s.";
        "warning-apply-duration" Duration, "100ms", DefaultOnly, "Applying a request longer than this logs a warning.";
        "warning-unary-request-duration" Duration, "300ms", DefaultOnly, "Answering a request longer than this logs a warning.";
        "watch-progress-notify-interval" Duration, "0s", DefaultOnly, "Period of progress notifications to watchers (0: 10m).";
    }
    Logging {
        "logger" Text, "zap", Works, "Shape of log lines; zap is the only one.";
        "log-outputs" List, "default", Works, "Where logs go: default, stderr, stdout or file paths, separated by commas.";
        "log-level" Text, "info", Works, "Lowest level logged: debug, info, warn, error, panic or fatal.";
        "log-format" Text, "json", Works, "json or console; when not set, console on a terminal and json elsewhere.";
        "enable-log-rotation" Bool, "false", DefaultOnly, "Rotate the single file of log-outputs.";
        "log-rotation-config-json" Text, "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}", DefaultOnly, "How log files are rotated.";
    }
    Operations {
        "metrics" Text, "basic", DefaultOnly, "basic, or extensive to add histograms of gRPC handling times.";
        "enable-pprof" Bool, "false", DefaultOnly, "Serve profiles under /debug/pprof/.";
        "enable-grpc-gateway" Bool, "true", DefaultOnly, "Serve the JSON API under /v3/.";
        "corrupt-check-time" Duration, "0s", DefaultOnly, "Period of comparing the data of all members, 0 for never.";
        "compact-hash-check-time" Duration, "1m0s", DefaultOnly, "Period of comparing hashes of compactions between members.";
        "downgrade-check-time" Duration, "5s", DefaultOnly, "Period of checking whether a downgrade is complete.";
        "feature-gates" List, "", DefaultOnly, "Named features switched on or off, as Name=true,...";
        "v2-deprecation" Choice(V2_PHASES), "write-only", Works, "Phase of the removal of the v2 store. Deprecated: the default is enforced whatever is given.";
    }
    Security {
        "cert-file" Text, "", DefaultOnly, "TLS certificate for clients.";
        "key-file" Text, "", DefaultOnly, "TLS key for clients.";
        "client-cert-file" Text, "", DefaultOnly, "Certificate for outgoing connections of the client side.";
        "client-key-file" Text, "", DefaultOnly, "Key for client-cert-file.";
        "client-cert-auth" Bool, "false", DefaultOnly, "Require certificates from clients.";
        "client-crl-file" Text, "", DefaultOnly, "Revocation list for client certificates.";
        "client-cert-allowed-hostname" List, "", DefaultOnly, "Host names accepted in client certificates.";
        "trusted-ca-file" Text, "", DefaultOnly, "Authorities that sign client certificates.";
        "auto-tls" Bool, "false", DefaultOnly, "TLS for clients with a certificate made at start.";
        "peer-cert-file" Text, "", DefaultOnly, "TLS certificate for peers.";
        "peer-key-file" Text, "", DefaultOnly, "TLS key for peers.";
        "peer-client-cert-file" Text, "", DefaultOnly, "Certificate used when connecting to peers.";
        "peer-client-key-file" Text, "", DefaultOnly, "Key for peer-client-cert-file.";
        "peer-client-cert-auth" Bool, "false", DefaultOnly, "Require certificates from peers.";
        "peer-crl-file" Text, "", DefaultOnly, "Revocation list for peer certificates.";
        "peer-trusted-ca-file" Text, "", DefaultOnly, "Authorities that sign peer certificates.";
        "peer-auto-tls" Bool, "false", DefaultOnly, "TLS for peers with a certificate made at start.";
        "peer-cert-allowed-cn" List, "", DefaultOnly, "Common names accepted in peer certificates.";
        "peer-cert-allowed-hostname" List, "", DefaultOnly, "Host names accepted in peer certificates.";
        "peer-skip-client-san-verification" Bool, "false", DefaultOnly, "Do not compare a peer's certificate with its address.";
        "self-signed-cert-validity" Uint, "1", DefaultOnly, "Years a certificate made at start is valid.";
        "cipher-suites" List, "", DefaultOnly, "TLS cipher suites accepted.";
        "tls-min-version" Text, "TLS1.2", DefaultOnly, "Lowest TLS version accepted: TLS1.2 or TLS1.3.";
        "tls-max-version" Text, "", DefaultOnly, "Highest TLS version accepted: TLS1.2 or TLS1.3 (empty: the highest).";
        "cors" List, "*", DefaultOnly, "Web origins that may call the HTTP API.";
        "host-whitelist" List, "*", DefaultOnly, "Host names accepted in plain HTTP requests.";
    }
    Auth {
        "auth-token" Text, "simple", DefaultOnly, "Kind of token: simple, or jwt with its options.";
        "auth-token-ttl" Uint, "300", DefaultOnly, "Seconds a simple token lives.";
        "bcrypt-cost" Uint, "10", DefaultOnly, "Work factor of stored passwords.";
    }
    Discovery {
        "discovery-srv" Text, "", DefaultOnly, "DNS domain whose SRV records name the first members.";
        "discovery-srv-name" Text, "", DefaultOnly, "Suffix of the SRV service names.";
        "discovery-token" Text, "", DefaultOnly, "Token of the cluster to form through another etcd.";
        "discovery-endpoints" List, "", DefaultOnly, "Endpoints of that other etcd.";
        "discovery-dial-timeout" Duration, "2s", DefaultOnly, "Longest wait for its connection.";
        "discovery-request-timeout" Duration, "5s", DefaultOnly, "Longest wait for its answer.";
        "discovery-keepalive-time" Duration, "2s", DefaultOnly, "Period of pings to it.";
        "discovery-keepalive-timeout" Duration, "6s", DefaultOnly, "Longest wait for the answer to a ping.";
        "discovery-insecure-transport" Bool, "true", DefaultOnly, "Talk to it without TLS.";
        "discovery-insecure-skip-tls-verify" Bool, "false", DefaultOnly, "Do not check its certificate (for tests only).";
        "discovery-cert" Text, "", DefaultOnly, "Client certificate shown to it.";
        "discovery-key" Text, "", DefaultOnly, "Key for discovery-cert.";
        "discovery-cacert" Text, "", DefaultOnly, "Authorities that sign its certificate.";
        "discovery-user" Text, "", DefaultOnly, "User name, or user:password, shown to it.";
        "discovery-password" Text, "", DefaultOnly, "Password for discovery-user.";
        "discovery-fallback" Choice(&["exit", "proxy"]), "exit", Works, "What to do when the cluster is full already; only exit is left.";
    }
    Tracing {
        "enable-distributed-tracing" Bool, "false", DefaultOnly, "Export OpenTelemetry traces.";
        "distributed-tracing-address" Text, "localhost:4317", DefaultOnly, "Address of the collector.";
        "distributed-tracing-service-name" Text, "etcd", DefaultOnly, "Service name in traces, same on every member.";
        "distributed-tracing-instance-id" Text, "", DefaultOnly, "Instance id in traces, different on every member.";
        "distributed-tracing-sampling-rate" Int, "0", DefaultOnly, "Traces kept per million.";
    }
    Unsafe {
        "force-new-cluster" Bool, "false", DefaultOnly, "Start as the only member on the data of a lost cluster.";
        "unsafe-no-fsync" Bool, "false", DefaultOnly, "Never wait for the disk; a crash loses data.";
    }
    Own {
        "cores" Text, "auto", Works, "Which threads do what: auto, combined (one thread for all), or raft:1,shards:N.";
        "reactor" Choice(&["auto", "ring", "epoll"]), "auto", Works, "How the kernel is asked: ring (io_uring), epoll, or auto to probe.";
        "wal-sync" Choice(&["auto", "dsync", "fdatasync"]), "auto", Works, "How a log write is made durable: dsync (one request), fdatasync (two), or auto to probe.";
        "spin-us" Uint32, "0", Works, "Microseconds a thread polls before it sleeps, 0 for off; lower latency for more CPU.";
    }
    Obsolete {
        "cluster-active-size" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "cluster-remove-delay" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "cluster-sync-interval" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "config" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "force" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "max-result-buffer" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "max-retry-attempts" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "peer-election-timeout" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "peer-heartbeat-interval" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "retry-interval" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "snapshot" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "test.coverprofile" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "test.outputdir" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "v" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "vv" Bool, "", Ignored, "Accepted for old scripts, does nothing.";
        "ca-file" Text, "", Removed("use --trusted-ca-file and --client-cert-auth"), "Gone since 3.4.";
        "debug" Bool, "false", Removed("use --log-level=debug"), "Gone since 3.5.";
        "discovery" Text, "", Removed("use --discovery-endpoints and --discovery-token"), "Gone since 3.7.";
        "discovery-proxy" Text, "", Removed("there is no replacement"), "Gone since 3.7.";
        "enable-v2" Bool, "false", Removed("the v2 API is gone; use the v3 API"), "Gone since 3.6.";
        "log-output" List, "default", Removed("use --log-outputs"), "Gone since 3.5.";
        "log-package-levels" Text, "", Removed("use --log-level; there are no levels per package"), "Gone since 3.5.";
        "next-cluster-version-compatible" Bool, "false", Removed("it was an aid of 3.4 only; leave it out"), "3.4 only.";
        "peer-ca-file" Text, "", Removed("use --peer-trusted-ca-file and --peer-client-cert-auth"), "Gone since 3.4.";
        "proxy" Choice(&["off", "readonly", "on"]), "off", Removed("use 'etcd gateway' or 'etcd grpc-proxy'"), "Gone since 3.6.";
        "proxy-dial-timeout" Uint, "1000", Removed("the v2 proxy is gone; use 'etcd gateway' or 'etcd grpc-proxy'"), "Gone since 3.6.";
        "proxy-failure-wait" Uint, "5000", Removed("the v2 proxy is gone; use 'etcd gateway' or 'etcd grpc-proxy'"), "Gone since 3.6.";
        "proxy-read-timeout" Uint, "0", Removed("the v2 proxy is gone; use 'etcd gateway' or 'etcd grpc-proxy'"), "Gone since 3.6.";
        "proxy-refresh-interval" Uint, "30000", Removed("the v2 proxy is gone; use 'etcd gateway' or 'etcd grpc-proxy'"), "Gone since 3.6.";
        "proxy-write-timeout" Uint, "5000", Removed("the v2 proxy is gone; use 'etcd gateway' or 'etcd grpc-proxy'"), "Gone since 3.6.";
        "experimental-backend-bbolt-freelist-type" Text, "array", Removed("use --backend-bbolt-freelist-type"), "Renamed.";
        "experimental-bootstrap-defrag-threshold-megabytes" Uint, "0", Removed("use --bootstrap-defrag-threshold-megabytes"), "Renamed.";
        "experimental-compact-hash-check-enabled" Bool, "false", Removed("use --feature-gates=CompactHashCheck=true"), "Became a feature gate.";
        "experimental-compact-hash-check-time" Duration, "1m0s", Removed("use --compact-hash-check-time"), "Renamed.";
        "experimental-compaction-batch-limit" Int, "0", Removed("use --compaction-batch-limit"), "Renamed.";
        "experimental-compaction-sleep-interval" Duration, "0s", Removed("use --compaction-sleep-interval"), "Renamed.";
        "experimental-corrupt-check-time" Duration, "0s", Removed("use --corrupt-check-time"), "Renamed.";
        "experimental-distributed-tracing-address" Text, "localhost:4317", Removed("use --distributed-tracing-address"), "Renamed.";
        "experimental-distributed-tracing-instance-id" Text, "", Removed("use --distributed-tracing-instance-id"), "Renamed.";
        "experimental-distributed-tracing-sampling-rate" Int, "0", Removed("use --distributed-tracing-sampling-rate"), "Renamed.";
        "experimental-distributed-tracing-service-name" Text, "etcd", Removed("use --distributed-tracing-service-name"), "Renamed.";
        "experimental-downgrade-check-time" Duration, "5s", Removed("use --downgrade-check-time"), "Renamed.";
        "experimental-enable-distributed-tracing" Bool, "false", Removed("use --enable-distributed-tracing"), "Renamed.";
        "experimental-enable-lease-checkpoint" Bool, "false", Removed("use --feature-gates=LeaseCheckpoint=true"), "Became a feature gate.";
        "experimental-enable-lease-checkpoint-persist" Bool, "false", Removed("use --feature-gates=LeaseCheckpointPersist=true"), "Became a feature gate.";
        "experimental-enable-v2v3" Text, "", Removed("the v2 API is gone; use the v3 API"), "Gone since 3.6.";
        "experimental-initial-corrupt-check" Bool, "false", Removed("use --feature-gates=InitialCorruptCheck=true"), "Became a feature gate.";
        "experimental-memory-mlock" Bool, "false", Removed("use --memory-mlock"), "Renamed.";
        "experimental-peer-skip-client-san-verification" Bool, "false", Removed("use --peer-skip-client-san-verification"), "Renamed.";
        "experimental-snapshot-catchup-entries" Uint64, "5000", Removed("use --snapshot-catchup-entries"), "Renamed.";
        "experimental-stop-grpc-service-on-defrag" Bool, "false", Removed("use --feature-gates=StopGRPCServiceOnDefrag=true"), "Became a feature gate.";
        "experimental-txn-mode-write-with-shared-buffer" Bool, "true", Removed("use --feature-gates=TxnModeWriteWithSharedBuffer=true"), "Became a feature gate.";
        "experimental-warning-apply-duration" Duration, "100ms", Removed("use --warning-apply-duration"), "Renamed.";
        "experimental-warning-unary-request-duration" Duration, "300ms", Removed("use --warning-unary-request-duration"), "Renamed.";
        "experimental-watch-progress-notify-interval" Duration, "0s", Removed("use --watch-progress-notify-interval"), "Renamed.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const SPEC: &str = include_str!("../../tests/spec/flags.tsv");

    fn kind_matches(kind: Kind, spec: &str) -> bool {
        match spec {
            "bool" | "bool (ignored)" => kind == Kind::Bool,
            "uint" => kind == Kind::Uint,
            "uint32" => kind == Kind::Uint32,
            "uint64" => kind == Kind::Uint64,
            "int" => kind == Kind::Int,
            "int64" => kind == Kind::Int64,
            "string" => kind == Kind::Text,
            "duration" => kind == Kind::Duration,
            "csv of URLs (unique)" => kind == Kind::Urls,
            "csv of enum" => matches!(kind, Kind::Choice(_)),
            other if other.starts_with("csv") => kind == Kind::List,
            other if other.starts_with("enum ") => {
                matches!(kind, Kind::Choice(words) if words.join("|") == other["enum ".len()..])
            }
            _ => false,
        }
    }

    #[test]
    fn no_row_of_the_spec_is_forgotten() {
        let mut seen = BTreeSet::new();
        for line in SPEC.lines().skip(1) {
            let cell: Vec<&str> = line.split('\t').collect();
            let (name, env, default, kind, in_37, class) = (cell[0], cell[1], cell[2], cell[3], cell[5], cell[8]);
            if !matches!(class, "server" | "server (deprecated)" | "experimental" | "ignored") {
                continue;
            }
            let flag = find(name).unwrap_or_else(|| panic!("--{name} is missing"));
            seen.insert(name);
            assert!(flag.env() == env || env == "-", "--{name}: {env}");
            assert!(kind_matches(flag.kind, kind), "--{name}: {:?} is not {kind}", flag.kind);
            assert_eq!(matches!(flag.support, Support::Removed(_)), in_37 == "n", "--{name}: removed or not");
            assert_eq!(flag.support == Support::Ignored, class == "ignored", "--{name}: ignored or not");
            let shown = default.split(" (").next().unwrap().trim_matches('\'');
            if !default.contains("true in 3.2") {
                assert_eq!(flag.default, shown, "--{name}: default");
            }
        }
        for flag in FLAGS {
            assert!(seen.contains(flag.name) || flag.section == Section::Own, "--{} is not in the spec", flag.name);
        }
        assert!(seen.len() >= 169, "only {} rows read", seen.len());
    }

    #[test]
    fn names_are_unique_and_helped() {
        let mut names = BTreeSet::new();
        for flag in FLAGS {
            assert!(names.insert(flag.name), "--{} is there twice", flag.name);
            assert!(flag.help.ends_with('.') || flag.help.ends_with("..."), "--{}: help is a sentence", flag.name);
            assert!(!flag.help.contains('\n'));
        }
        for (name, _) in SAME_AS_DEFAULT {
            assert_eq!(find(name).unwrap().support, Support::DefaultOnly);
        }
    }
}
