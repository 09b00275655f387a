//! Table tests of reading a whole command line: every row is flags, and what comes out.

use super::check::World;
use super::*;
use std::net::{IpAddr, Ipv4Addr};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));

fn world(holds_wal: &'static dyn Fn(&Path) -> bool) -> World<'static> {
    World { default_host: &|| Some(HOST), resolve: &|host| (host == "node1.test").then_some(HOST), holds_wal }
}

fn reading(line: &str, vars: &[(&str, &str)], holds_wal: &'static dyn Fn(&Path) -> bool) -> Result<Config, Refusal> {
    let args: Vec<String> = line.split_whitespace().map(String::from).collect();
    let vars = vars.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    read(&args, &vars, &world(holds_wal))
}

fn fresh(line: &str) -> Config {
    reading(line, &[], &|_| false).unwrap_or_else(|refusal| panic!("{line}: {refusal:?}"))
}

fn mistakes(line: &str) -> Vec<String> {
    match reading(line, &[], &|_| false) {
        Err(Refusal::Mistakes(mistakes)) => mistakes,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn defaults() {
    let config = fresh("");
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, Path::new("default.etcd"));
    assert_eq!(config.wal_path(), Path::new("default.etcd/member/wal"));
    assert_eq!(config.snap_path(), Path::new("default.etcd/member/snap"));
    assert_eq!(url::join(&config.listen_client_urls), "http://localhost:2379");
    assert_eq!(url::join(&config.advertise_client_urls), "http://localhost:2379");
    assert_eq!(url::join(&config.listen_peer_urls), "http://localhost:2380");
    assert!(config.listen_metrics_urls.is_empty());
    let bootstrap = config.bootstrap.as_ref().unwrap();
    assert_eq!(bootstrap.token, "etcd-cluster");
    assert_eq!(url::join(&bootstrap.members["default"]), "http://localhost:2380");
    assert_eq!((config.heartbeat_interval_ms, config.election_timeout_ms, config.election_ticks()), (100, 1000, 10));
    assert_eq!((config.max_request_bytes, config.max_txn_ops), (1_572_864, 128));
    assert_eq!(config.max_concurrent_streams, u32::MAX);
    assert!(config.pre_vote && config.initial_election_tick_advance);
    assert_eq!((config.cores, config.reactor, config.wal_sync), (Cores::Auto, ReactorChoice::Auto, WalSync::Auto));
    assert_eq!(config.log, LogSettings { level: Level::Info, format: None, outputs: vec![LogOutput::Stderr] });
}

#[test]
fn settings_arrive() {
    let config = fresh(
        "--name m1 --data-dir /d --wal-dir /w --cores raft:1,shards:2 --reactor=epoll --wal-sync=dsync --spin-us=20 \
         --log-level=DEBUG --log-format console --log-outputs=stdout,/tmp/x,stderr --max-txn-ops=0x10 \
         --auth-token-ttl=300 --quota-backend-bytes=2147483648 \
         --enable-grpc-gateway=false --max-snapshots=5 --vv --v2-deprecation=gone --heartbeat-interval 10 \
         --election-timeout 50 --feature-gates=",
    );
    assert_eq!((config.name.as_str(), config.cores), ("m1", Cores::Split { shards: 2 }));
    assert_eq!(config.wal_path(), Path::new("/w"));
    assert_eq!((config.reactor, config.wal_sync, config.spin_us), (ReactorChoice::Epoll, WalSync::Dsync, 20));
    assert_eq!(config.log.outputs, [LogOutput::File("/tmp/x".into()), LogOutput::Stderr, LogOutput::Stdout]);
    assert_eq!((config.log.level, config.log.format), (Level::Debug, Some(LogFormat::Console)));
    assert_eq!(config.max_txn_ops, 16);
    assert_eq!(url::join(&config.bootstrap.unwrap().members["m1"]), "http://localhost:2380");
    let said: Vec<&str> = config.notices.iter().map(|notice| notice.msg).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].contains("ignoring") && said[1].contains("--max-snapshots") && said[2].contains("--v2-deprecation")
    );
    assert!(fresh("--log-outputs=stderr,/dev/null").log.outputs.is_empty());
}

#[test]
fn every_mistake_is_reported_at_once() {
    let found = mistakes(
        "--listen-client-urls=http://example.com:2379 --heartbeat-interval=300 --cert-file=x --log-level=loud \
         --initial-cluster=other=http://localhost:2380",
    );
    assert_eq!(
        found,
        [
            "--cert-file is not there yet in this build and only takes its default (empty): leave it out",
            "expected IP in URL for binding (http://example.com:2379)",
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
            "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[300ms]",
            "unrecognized level: \"loud\", supported values debug, info, warn, error, panic, fatal",
            "couldn't find local name \"default\" in the initial cluster configuration",
        ]
    );
}

#[test]
fn one_mistake_each() {
    for (line, expect) in [
        ("serve", "\"serve\" is not a valid flag"),
        ("--heartbeat-interval=0", "--heartbeat-interval must be >0 (set to 0ms)"),
        ("--election-timeout=0", "--election-timeout must be >0 (set to 0ms)"),
        ("--election-timeout=50001", "--election-timeout[50001ms] is too long, and should be set less than 50000ms"),
        (
            "--listen-peer-urls=https://127.0.0.1:2380",
            "--listen-peer-urls: TLS is not there yet in this build, use http (https://127.0.0.1:2380)",
        ),
        (
            "--listen-client-urls=unix://x --advertise-client-urls=http://h:1",
            "--listen-client-urls: unix sockets are not there yet in this build (unix://x)",
        ),
        (
            "--advertise-client-urls=http://:1",
            "--advertise-client-urls \"http://:1\" must be in the format \"host:port\", \"unix:/path/to/socket\" or \
             \"unixs:/path/to/socket\" (unexpected empty host (http://:1))",
        ),
        (
            "--listen-metrics-urls=http://127.0.0.1:2381",
            "--listen-metrics-urls is not there yet in this build and only takes its default (empty): leave it out",
        ),
        ("--logger=capnslog", "--logger=capnslog is removed in v3.5"),
        ("--logger=glog", "unknown logger option \"glog\""),
        ("--log-format=xml", "unknown log format: xml, supported values json, console"),
        ("--log-outputs=default,stdout", "multi logoutput for \"default\" is not supported yet"),
        ("--log-outputs=systemd/journal", "--log-outputs: systemd/journal is not there yet in this build, use stderr"),
        ("--max-txn-ops=0", "--max-txn-ops must be >0"),
        ("--spin-us=1001", "--spin-us[1001] is too long, at most 1000"),
        (
            "--cores=raft:2,shards:1",
            "--cores must be auto, combined or raft:1,shards:N with N from 1 to 512 (set to raft:2,shards:1)",
        ),
        (
            "--discovery-fallback=proxy",
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"",
        ),
        (
            "--initial-cluster-state=existing",
            "--initial-cluster-state=existing: joining a cluster is not there yet in this build, use new",
        ),
        (
            "--initial-cluster=default=http://localhost:2380,b=http://localhost:2390",
            "--initial-cluster names 2 members: clusters of several members are not there yet in this build",
        ),
        ("--initial-cluster=default", "--initial-cluster: URL scheme must be http, https, unix, or unixs: "),
        (
            "--initial-advertise-peer-urls=http://10.0.0.1:2380",
            "--initial-cluster has default=http://localhost:2380 but missing from \
             --initial-advertise-peer-urls=http://10.0.0.1:2380 (resolved urls: \"http://10.0.0.1:2380\" != \
             \"http://127.0.0.1:2380\")",
        ),
        (
            "--quota-backend-bytes=100",
            "--quota-backend-bytes is not there yet in this build and only takes its default (0): leave it out",
        ),
    ] {
        assert_eq!(mistakes(line), [expect], "{line}");
    }
}

#[test]
fn a_url_given_twice() {
    let found = mistakes("--initial-cluster=default=http://localhost:2380,default=http://localhost:2380");
    assert_eq!(
        found,
        [
            "failed to resolve http://localhost:2380 to match --initial-cluster=default=http://localhost:2380 \
         (len([\"http://localhost:2380\"]) != len([\"http://localhost:2380\" \"http://localhost:2380\"]))",
            "initial cluster default=http://localhost:2380,default=http://localhost:2380 has duplicate url",
        ]
    );
}

#[test]
fn urls_that_are_the_same_address_match() {
    fresh("--initial-advertise-peer-urls=http://127.0.0.1:2380");
    fresh("--name m --initial-cluster=m=http://node1.test:9 --initial-advertise-peer-urls=http://10.1.2.3:9");
    let config = fresh("--name m --initial-advertise-peer-urls=http://h:1,http://i:2");
    assert_eq!(url::join(&config.bootstrap.unwrap().members["m"]), "http://h:1,http://i:2");
}

#[test]
fn listening_everywhere_advertises_the_machine() {
    let config = fresh(
        "--listen-client-urls=http://0.0.0.0:79 --advertise-client-urls=http://localhost:2379 \
         --listen-peer-urls=http://0.0.0.0:80",
    );
    assert_eq!(url::join(&config.advertise_client_urls), "http://10.1.2.3:79");
    assert_eq!(url::join(&config.initial_advertise_peer_urls), "http://10.1.2.3:80");
    assert_eq!(url::join(&config.bootstrap.unwrap().members["default"]), "http://10.1.2.3:80");
    let config = fresh("--listen-client-urls=http://0.0.0.0:79 --advertise-client-urls=http://127.0.0.1:79");
    assert_eq!(url::join(&config.advertise_client_urls), "http://127.0.0.1:79", "what was said explicitly stays");
}

#[test]
fn a_restart_does_not_read_the_initial_flags() {
    let line = "--initial-cluster-state=existing --initial-cluster=a=http://h:1,b=http://i:1";
    let config = reading(line, &[], &|dir| dir == Path::new("default.etcd/member/wal")).unwrap();
    assert!(config.bootstrap.is_none());
    assert_eq!(config.initial_cluster_state, ClusterState::Existing);
}

#[test]
fn keepalive_falls_back_to_grpcs_own_values() {
    for (line, min, interval, timeout) in [
        ("", 5_000, 7_200_000, 20_000),
        ("--grpc-keepalive-min-time=1ms --grpc-keepalive-interval=10s --grpc-keepalive-timeout=1500us", 1, 10_000, 2),
        ("--grpc-keepalive-min-time=0 --grpc-keepalive-interval=0", 300_000, 7_200_000, 20_000),
        ("--grpc-keepalive-interval=10s --grpc-keepalive-timeout=0", 5_000, 7_200_000, 20_000),
        ("--grpc-keepalive-interval=10ms --grpc-keepalive-timeout=-1s", 5_000, 7_200_000, 20_000),
        ("--grpc-keepalive-interval=10ms", 5_000, 1_000, 20_000),
    ] {
        let expect = GrpcKeepalive { ping_min_ms: min, interval_ms: interval, timeout_ms: timeout };
        assert_eq!(fresh(line).grpc_keepalive, expect, "{line}");
    }
}

#[test]
fn environment_and_flags() {
    let config = reading("--name=a", &[("ETCD_DATA_DIR", "/e")], &|_| false).unwrap();
    assert_eq!((config.name.as_str(), config.data_dir.as_path()), ("a", Path::new("/e")));
    let refusal = reading("--name=a", &[("ETCD_NAME", "b")], &|_| false).unwrap_err();
    assert_eq!(refusal, Refusal::Conflicts(vec!["ETCD_NAME".into()]));
    let refusal = reading("", &[("ETCD_CONFIG_FILE", "x.yml"), ("ETCD_MAX_TXN_OPS", "x")], &|_| false).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Mistakes(vec![
            "invalid value \"x\" for ETCD_MAX_TXN_OPS: parse error".into(),
            "--config-file is not there yet in this build and only takes its default (empty): leave it out".into(),
        ])
    );
}

#[test]
fn exits() {
    let exit = |line: &str, vars: &[(&str, &str)]| {
        let vars = vars.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        load(format!("etcd {line}").split_whitespace().map(String::from), vars).unwrap_err()
    };
    for (line, code, on_stdout, on_stderr) in [
        ("--help", 0, "Usage:", ""),
        ("-h", 0, "etcdctl put greeting hello", ""),
        ("--version", 0, "etcd Version: 3.7.1\n", ""),
        ("--nope", 2, "", "flag provided but not defined: -nope"),
        ("serve", 1, "", "is not a valid flag"),
        ("--election-timeout=1", 1, "", "should be at least as 5 times"),
    ] {
        let exit = exit(line, &[]);
        assert_eq!(exit.code, code, "{line}");
        assert!(exit.stdout.contains(on_stdout) && exit.stderr.contains(on_stderr), "{line}: {exit:?}");
        assert!(exit.stdout.is_empty() != exit.stderr.is_empty(), "{line}: {exit:?}");
    }
    let both = exit("--name=a", &[("ETCD_NAME", "")]);
    assert_eq!(both.code, 1);
    assert!(both.stderr.contains("conflicting environment variable is shadowed") && both.stderr.contains("ETCD_NAME"));
}
