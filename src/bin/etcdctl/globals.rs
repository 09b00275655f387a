//! Flags every command has, in one table, with their `ETCDCTL_` variables; and what follows from them: the client and
//! the printer.

use std::time::{Duration, Instant};

use etcd_uring::client::cli::{Flag, Kind, Matches, write_stderr};
use etcd_uring::client::{Client, Config, Endpoint};

use crate::failure::Failure;
use crate::print::{Format, Printer};

const ENV_PREFIX: &str = "ETCDCTL_";

/// Variables that are read elsewhere or by no one any more, and no reason for a warning.
const ENV_SILENT: [&str; 3] = ["ETCDCTL_API", "ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END"];

pub static FLAGS: [Flag; 21] = [
    Flag::new("auth-jwt-token", Kind::Text, "", "JWT for authentication, instead of --user and --password"),
    Flag::new("cacert", Kind::Text, "", "file with the CA certificates that servers are checked against"),
    Flag::new("cert", Kind::Text, "", "file with the certificate this client shows"),
    Flag::new("command-timeout", Kind::Duration, "5s", "time a short command may take, connecting included"),
    Flag::new("debug", Kind::Bool, "false", "print the settings in use to stderr"),
    Flag::new("dial-timeout", Kind::Duration, "2s", "time one attempt to connect may take"),
    Flag::new("discovery-srv", Kind::Text, "", "domain whose SRV records name the endpoints").short("d"),
    Flag::new("discovery-srv-name", Kind::Text, "", "service name to ask for with --discovery-srv"),
    Flag::new("endpoints", Kind::List, "127.0.0.1:2379", "servers to talk to: host:port or URL, comma separated"),
    Flag::new("hex", Kind::Bool, "false", "print keys, values and ids in hex"),
    Flag::new("insecure-discovery", Kind::Bool, "true", "accept SRV records that lead to unencrypted endpoints"),
    Flag::new("insecure-skip-tls-verify", Kind::Bool, "false", "do not check server certificates (for tests only)"),
    Flag::new("insecure-transport", Kind::Bool, "true", "talk without TLS"),
    Flag::new("keepalive-time", Kind::Duration, "2s", "idle time after which a connection is probed"),
    Flag::new("keepalive-timeout", Kind::Duration, "6s", "time a probe may take before the connection counts as dead"),
    Flag::new("key", Kind::Text, "", "file with the private key of --cert"),
    Flag::new("max-recv-bytes", Kind::Int, "0", "largest answer to accept, in bytes (0: no limit)"),
    Flag::new("max-request-bytes", Kind::Int, "0", "largest request to send, in bytes (0: 2 MiB)"),
    Flag::new("password", Kind::Text, "", "password of --user"),
    Flag::new("user", Kind::Text, "", "name[:password] for authentication"),
    Flag::new("write-out", Kind::Text, "simple", "output format: fields, json, protobuf, simple or table").short("w"),
];

/// Largest request when `--max-request-bytes` is 0: twice what a server takes by default, framing included.
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The settings of one command: command line, then environment.
pub struct Globals {
    pub endpoints: Vec<String>,
    pub printer: Printer,
    dial_timeout: Duration,
    command_timeout: Duration,
    request_bytes_max: usize,
    receive_bytes_max: usize,
}

impl Globals {
    /// Reads the environment into `matches` and takes the settings from it.
    pub fn new(matches: &mut Matches) -> Result<Globals, Failure> {
        read_environment(matches, std::env::vars())?;
        refuse_unavailable(matches)?;
        let bytes = |name: &str, default: usize| match usize::try_from(matches.int(name)) {
            Ok(0) | Err(_) => default,
            Ok(limit) => limit,
        };
        let Some(format) = Format::parse(matches.text("write-out")) else {
            return Err(Failure::bad_feature("unsupported output format"));
        };
        let duration = |name: &str| Duration::from_nanos(matches.duration_ns(name).max(0) as u64);
        Ok(Globals {
            endpoints: matches.list("endpoints").iter().map(|e| e.trim().to_string()).collect(),
            printer: Printer { format, hex: matches.bool("hex"), value_only: false },
            dial_timeout: duration("dial-timeout"),
            command_timeout: duration("command-timeout"),
            request_bytes_max: bytes("max-request-bytes", REQUEST_BYTES_MAX),
            receive_bytes_max: bytes("max-recv-bytes", i32::MAX as usize),
        })
    }

    pub fn deadline(&self) -> Instant {
        Instant::now() + self.command_timeout
    }

    /// A client of all endpoints.
    pub fn client(&self) -> Result<Client, Failure> {
        if self.endpoints.is_empty() {
            return Err(Failure::bad_connection("etcdclient: no available endpoints"));
        }
        let endpoints: Result<Vec<_>, _> = self.endpoints.iter().map(|text| Endpoint::parse(text)).collect();
        let endpoints = endpoints.map_err(|mistake| Failure::bad_connection(mistake.to_string()))?;
        Ok(Client::new(self.config(endpoints)))
    }

    /// A client of one endpoint.
    pub fn client_of(&self, endpoint: &str) -> Result<Client, Failure> {
        let endpoint = Endpoint::parse(endpoint).map_err(|mistake| Failure::bad_connection(mistake.to_string()))?;
        Ok(Client::new(self.config(vec![endpoint])))
    }

    fn config(&self, endpoints: Vec<Endpoint>) -> Config {
        Config {
            endpoints,
            dial_timeout: self.dial_timeout,
            request_bytes_max: self.request_bytes_max,
            receive_bytes_max: self.receive_bytes_max,
        }
    }
}

fn variable(flag: &str) -> String {
    format!("{ENV_PREFIX}{}", flag.to_uppercase().replace('-', "_"))
}

/// A variable stands in for its flag when the flag is not given; both at once is a mistake, as it is for etcdctl
/// since 3.4. Unknown variables are named on stderr.
fn read_environment(matches: &mut Matches, variables: impl Iterator<Item = (String, String)>) -> Result<(), Failure> {
    let flags = matches.inherited_flags();
    for (name, value) in variables.filter(|(name, _)| name.starts_with(ENV_PREFIX)) {
        if let Some(flag) = flags.iter().find(|f| variable(f.name) == name) {
            if matches.changed(flag.name) {
                let text = "conflicting environment variable is shadowed by corresponding command-line flag \
                            (either unset environment variable or disable flag): ";
                return Err(Failure::error(format!("{text}{name}")));
            }
            if !value.is_empty() {
                let set = matches.set(flag.name, &value);
                set.map_err(|cause| Failure::bad_args(format!("invalid value {value:?} for {name}: {cause}")))?;
            }
        } else if name == "ETCDCTL_API" && value == "2" {
            write_stderr(b"Warning: ETCDCTL_API=2 is ignored, the v2 API is gone; using API 3\n");
        } else if !ENV_SILENT.contains(&name.as_str()) {
            write_stderr(format!("Warning: unrecognized environment variable {name}={value}\n").as_bytes());
        }
    }
    if matches.bool("debug") {
        for flag in flags {
            write_stderr(format!("{}={}\n", variable(flag.name), matches.display(flag.name)).as_bytes());
        }
    }
    Ok(())
}

/// Flags that change who the client is or how it is protected are refused, never ignored.
fn refuse_unavailable(matches: &Matches) -> Result<(), Failure> {
    for name in ["cert", "key", "cacert"] {
        if matches.changed(name) && matches.text(name).is_empty() {
            return Err(Failure::bad_args(format!("empty string is passed to --{name} option")));
        }
    }
    let given = |name: &&str| !matches.text(name).is_empty();
    let refuse = |name: &str, what: &str| {
        Err(Failure::bad_args(format!("--{name} needs {what}, which is not available in this version yet")))
    };
    if let Some(name) = ["cert", "key", "cacert"].iter().find(|n| given(n)) {
        return refuse(name, "TLS");
    }
    if !matches.bool("insecure-transport") {
        return refuse("insecure-transport=false", "TLS");
    }
    if let Some(name) = ["user", "password", "auth-jwt-token"].iter().find(|n| given(n)) {
        return refuse(name, "authentication");
    }
    if given(&"discovery-srv") {
        return refuse("discovery-srv", "DNS discovery");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    fn environment(args: &[&str], name: &str, value: &str) -> Result<Matches, Failure> {
        let mut matches = PROGRAM.matches(args);
        read_environment(&mut matches, [(name.to_string(), value.to_string())].into_iter())?;
        Ok(matches)
    }

    #[test]
    fn variables_stand_in_for_flags() {
        let matches = environment(&["get", "k"], "ETCDCTL_ENDPOINTS", "a:1,b:2").unwrap();
        assert_eq!(matches.list("endpoints"), ["a:1", "b:2"]);
        let matches = environment(&["get", "k"], "ETCDCTL_WRITE_OUT", "json").unwrap();
        assert_eq!(matches.text("write-out"), "json");
        assert!(environment(&["get", "k"], "ETCDCTL_API", "3").is_ok());
        assert!(environment(&["get", "k", "--endpoints="], "ETCDCTL_ENDPOINTS", "a:1").is_err());
        assert!(environment(&["get", "k"], "ETCDCTL_COMMAND_TIMEOUT", "soon").is_err());
    }

    #[test]
    fn protection_is_never_ignored() {
        for flag in ["--user=a:b", "--password=x", "--cacert=f", "--insecure-transport=false", "-d=x", "--cert="] {
            let refused = refuse_unavailable(&PROGRAM.matches(&["get", "k", flag])).unwrap_err();
            assert_eq!(refused.code, 128, "{flag}");
        }
        let fine = ["get", "k", "--insecure-skip-tls-verify", "--keepalive-time=1s", "--keepalive-timeout=1s"];
        assert!(refuse_unavailable(&PROGRAM.matches(&fine)).is_ok());
    }
}
