//! Flags all commands share, in one table, and what follows from them: how much load, from where to where.

use std::time::{Duration, Instant};

use etcd_uring::client::cli::{Flag, Kind, Matches};
use etcd_uring::client::{Client, Config, Endpoint};

pub static FLAGS: [Flag; 15] = [
    Flag::new("auto-sync-interval", Kind::Duration, "0s", "accepted; the endpoints stay as given during a run"),
    Flag::new("cacert", Kind::Text, "", "file with the CA certificates that servers are checked against"),
    Flag::new("cert", Kind::Text, "", "file with the certificate this client shows"),
    Flag::new("clients", Kind::Uint, "1", "requests in flight, spread over the connections"),
    Flag::new("conns", Kind::Uint, "1", "connections to each endpoint"),
    Flag::new("dial-timeout", Kind::Duration, "0s", "time one attempt to connect may take (0: 5s)"),
    Flag::new("endpoints", Kind::List, "127.0.0.1:2379", "servers to load: host:port or URL, comma separated"),
    Flag::new("insecure-skip-tls-verify", Kind::Bool, "false", "do not check server certificates"),
    Flag::new("key", Kind::Text, "", "file with the private key of --cert"),
    Flag::new("precise", Kind::Bool, "false", "report numbers with all their digits"),
    Flag::new("report-perfdash", Kind::Bool, "false", "also write the percentiles as JSON to $ARTIFACTS or _artifacts"),
    Flag::new("sample", Kind::Bool, "false", "also report latencies and rate second by second"),
    Flag::new("target-leader", Kind::Bool, "false", "load only the leader of the cluster"),
    Flag::new("threads", Kind::Uint, "1", "threads that generate the load (not a flag of etcd's own tool)"),
    Flag::new("user", Kind::Text, "", "name[:password] for authentication"),
];

const DIAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Calls that prepare or check a run may take this long.
const SIDE_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer to accept: a client that lists everything.
const RECEIVE_BYTES_MAX: usize = i32::MAX as usize;

pub struct Settings {
    pub endpoints: Vec<Endpoint>,
    pub conns: usize,
    pub clients: usize,
    pub threads: usize,
    pub dial_timeout: Duration,
    /// Requests per second; None for as many as there can be.
    pub rate: Option<u64>,
    pub total: u64,
    pub precise: bool,
    pub sample: bool,
    pub perfdash: bool,
}

impl Settings {
    /// From the shared flags and the command's `--rate` and `--total`.
    pub fn new(matches: &Matches) -> Result<Settings, String> {
        refuse_unavailable(matches)?;
        let endpoints: Result<Vec<_>, _> = matches.list("endpoints").iter().map(|e| Endpoint::parse(e)).collect();
        let endpoints = endpoints.map_err(|mistake| mistake.to_string())?;
        if endpoints.is_empty() {
            return Err("dial error: etcdclient: no available endpoints".to_string());
        }
        let positive = |name: &str| match usize::try_from(matches.uint(name)) {
            Ok(0) | Err(_) => Err(format!("expected positive --{name}, got ({})", matches.uint(name))),
            Ok(value) => Ok(value),
        };
        let dial_timeout = match u64::try_from(matches.duration_ns("dial-timeout")) {
            Ok(0) | Err(_) => DIAL_TIMEOUT_DEFAULT,
            Ok(ns) => Duration::from_nanos(ns),
        };
        let (conns, clients) = (positive("conns")?, positive("clients")?);
        let mut settings = Settings {
            endpoints,
            conns,
            clients,
            threads: positive("threads")?.min(conns),
            dial_timeout,
            rate: u64::try_from(matches.int("rate")).ok().filter(|rate| *rate > 0),
            total: matches.int("total").max(0) as u64,
            precise: matches.bool("precise"),
            sample: matches.bool("sample"),
            perfdash: matches.bool("report-perfdash"),
        };
        if matches.bool("target-leader") {
            settings.endpoints = settings.leader_endpoints()?;
        }
        Ok(settings)
    }

    /// A blocking client for the calls around a run.
    pub fn client(&self) -> Client {
        Client::new(Config {
            endpoints: self.endpoints.clone(),
            dial_timeout: self.dial_timeout,
            request_bytes_max: RECEIVE_BYTES_MAX,
            receive_bytes_max: RECEIVE_BYTES_MAX,
        })
    }

    /// Client URLs of the member that leads.
    fn leader_endpoints(&self) -> Result<Vec<Endpoint>, String> {
        let mut client = self.client();
        let dial_error = |status| format!("dial error: {status}");
        let leader = client.status(side_deadline()).map_err(dial_error)?.leader;
        let members = client.member_list(side_deadline()).map_err(dial_error)?.members;
        let found = members.into_iter().find(|m| m.id == leader && leader != 0);
        let member = found.ok_or("failed to find a leader endpoint")?;
        let endpoints: Result<Vec<_>, _> = member.client_urls.iter().map(|url| Endpoint::parse(url)).collect();
        match endpoints {
            Ok(endpoints) if endpoints.is_empty() => Err("failed to find a leader endpoint".to_string()),
            Ok(endpoints) => Ok(endpoints),
            Err(mistake) => Err(mistake.to_string()),
        }
    }
}

pub fn side_deadline() -> Instant {
    Instant::now() + SIDE_CALL_TIMEOUT
}

fn refuse_unavailable(matches: &Matches) -> Result<(), String> {
    for (name, what) in [("cert", "TLS"), ("key", "TLS"), ("cacert", "TLS"), ("user", "authentication")] {
        if !matches.text(name).is_empty() {
            return Err(format!("--{name} needs {what}, which is not available in this version yet"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    fn settings(line: &str) -> Result<Settings, String> {
        let words: Vec<&str> = line.split(' ').collect();
        Settings::new(&PROGRAM.matches(&words))
    }

    /// The command lines of etcd 3.2's performance page with their connections, clients and requests. Without
    /// `--target-leader`, which asks a server; the tests that drive the binary have it.
    #[test]
    fn command_lines_of_the_manual() {
        let one = ("127.0.0.1:1", 1, 1, 10_000);
        let many = ("127.0.0.1:1", 100, 1000, 100_000);
        let all = ("127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", 100, 1000, 100_000);
        for ((endpoints, conns, clients, total), load) in [
            (one, "put --key-size=8 --sequential-keys --total=10000 --val-size=256"),
            (many, "put --key-size=8 --sequential-keys --total=100000 --val-size=256"),
            (all, "put --key-size=8 --sequential-keys --total=100000 --val-size=256"),
            (one, "range YOUR_KEY --consistency=l --total=10000"),
            (one, "range YOUR_KEY --consistency=s --total=10000"),
            (all, "range YOUR_KEY --consistency=l --total=100000"),
            (all, "range YOUR_KEY --consistency=s --total=100000"),
        ] {
            let line = format!("--endpoints={endpoints} --conns={conns} --clients={clients} {load}");
            let settings = settings(&line).unwrap();
            assert_eq!((settings.conns, settings.clients, settings.total), (conns, clients, total), "{line}");
            assert_eq!((settings.endpoints.len(), settings.rate), (endpoints.split(',').count(), None));
        }
        assert!(PROGRAM.matches(&["--target-leader", "put"]).bool("target-leader"));
    }

    #[test]
    fn refusals() {
        assert!(settings("--conns=0 put").is_err());
        assert!(settings("--user=a:b put").is_err());
        assert!(settings("--endpoints=https://a:1 put").is_err());
        assert_eq!(settings("--conns=2 --threads=4 put").unwrap().threads, 2);
    }
}
