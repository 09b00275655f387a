//! /health, /livez, /readyz and /version: from a request and facts to an answer. Pure; whoever serves HTTP first asks
//! `Probe::needs`, gathers those facts, and then calls `answer`. Never a quorum read for a probe that did not ask for one.

use std::collections::BTreeSet;
use std::fmt::Write;

/// What one request asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    Health {
        exclude: BTreeSet<String>,
        serializable: bool,
    },
    /// /livez, /readyz or one check below them.
    Checks {
        endpoint: &'static str,
        checks: Vec<Check>,
        verbose: bool,
        /// Excluded names that are no check; etcd logs them and goes on.
        unknown: Vec<String>,
    },
    /// Another method than GET.
    WrongMethod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    pub fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }
}

/// Endpoints with checks, and the checks in the order they run.
const ENDPOINTS: [(&str, &[Check]); 2] = [
    ("livez", &[Check::SerializableRead]),
    ("readyz", &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner]),
];

/// Which reads an answer needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub serializable: bool,
    pub linearizable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    Nospace,
    Corrupt,
    Other,
}

impl Alarm {
    fn name(self) -> &'static str {
        match self {
            Alarm::Nospace => "NOSPACE",
            Alarm::Corrupt => "CORRUPT",
            Alarm::Other => "UNKNOWN",
        }
    }
}

/// A read of one key with root rights: fine, or the error as text.
pub type ReadResult = Result<(), String>;

/// What is known about this member. A read that was not needed may be `None`; one that was needed and is `None` fails.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub has_leader: bool,
    pub is_learner: bool,
    pub alarms: Vec<Alarm>,
    /// The log has no room and cannot grow: writes fail as they do under etcd's NOSPACE alarm.
    pub log_full: bool,
    /// The log waits for the disk longer than it may.
    pub disk_stalled: bool,
    pub serializable_read: Option<ReadResult>,
    pub linearizable_read: Option<ReadResult>,
}

/// One HTTP answer without the headers every answer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: String,
    /// Outcomes of single checks for the metrics: endpoint, check, fine.
    pub outcomes: Vec<(&'static str, &'static str, bool)>,
}

const TEXT: &str = "text/plain; charset=utf-8";
const NOSNIFF: (&str, &str) = ("X-Content-Type-Options", "nosniff");

impl Probe {
    /// Reads path and query (without the `?`); `None` when the path is not one of these.
    pub fn parse(method: &str, path: &str, query: &str) -> Option<Probe> {
        if path == "/health" {
            let exclude = values(query, "exclude").filter(|name| !name.is_empty()).collect();
            let serializable = values(query, "serializable").next().is_some_and(|value| value == "true");
            return Some(if method == "GET" { Probe::Health { exclude, serializable } } else { Probe::WrongMethod });
        }
        let path = path.strip_prefix('/')?;
        let (first, sub) = path.split_once('/').map_or((path, None), |(first, sub)| (first, Some(sub)));
        let (endpoint, all) = ENDPOINTS.into_iter().find(|(name, _)| *name == first)?;
        let mut unknown = Vec::new();
        let checks = match sub {
            Some(sub) => vec![*all.iter().find(|check| check.name() == sub)?],
            None => {
                let exclude: BTreeSet<String> = values(query, "exclude").filter(|name| !name.is_empty()).collect();
                let is_check = |name: &String| all.iter().any(|check| check.name() == name);
                unknown.extend(exclude.iter().filter(|name| !is_check(name)).cloned());
                all.iter().copied().filter(|check| !exclude.contains(check.name())).collect()
            }
        };
        if method != "GET" {
            return Some(Probe::WrongMethod);
        }
        let verbose = values(query, "verbose").next().is_some();
        Some(Probe::Checks { endpoint, checks, verbose, unknown })
    }

    /// The reads to make before `answer`. /health makes none while an alarm or a missing leader already decides.
    pub fn needs(&self, facts: &Facts) -> Needs {
        match self {
            Probe::Health { serializable, .. } if self.early(facts).is_none() => {
                Needs { serializable: *serializable, linearizable: !serializable }
            }
            Probe::Health { .. } | Probe::WrongMethod => Needs::default(),
            Probe::Checks { checks, .. } => Needs {
                serializable: checks.contains(&Check::SerializableRead),
                linearizable: checks.contains(&Check::LinearizableRead),
            },
        }
    }

    /// Why /health fails before any read.
    fn early(&self, facts: &Facts) -> Option<String> {
        let Probe::Health { exclude, serializable } = self else { return None };
        if let Some(alarm) = facts.alarms.iter().find(|alarm| !exclude.contains(alarm.name())) {
            return Some(format!("ALARM {}", alarm.name()));
        }
        if facts.log_full && !exclude.contains(Alarm::Nospace.name()) {
            return Some("LOG FULL: the disk has no space for the next WAL segment".to_string());
        }
        if facts.disk_stalled {
            return Some("DISK STALLED: a WAL write is late".to_string());
        }
        (!serializable && !facts.has_leader).then(|| "RAFT NO LEADER".to_string())
    }
}

/// The answer to a probe.
pub fn answer(probe: &Probe, facts: &Facts) -> Answer {
    match probe {
        Probe::WrongMethod => wrong_method(),
        Probe::Health { serializable, .. } => {
            let read = if *serializable { &facts.serializable_read } else { &facts.linearizable_read };
            let reason = probe.early(facts).or_else(|| read_error(read).map(|error| format!("RANGE ERROR:{error}")));
            health(reason)
        }
        Probe::Checks { endpoint, checks, verbose, .. } => run_checks(endpoint, checks, *verbose, facts),
    }
}

fn health(reason: Option<String>) -> Answer {
    let healthy = reason.is_none();
    let body = format!("{{\"health\":\"{healthy}\",\"reason\":{}}}", go_json(&reason.unwrap_or_default()));
    if healthy {
        return Answer { status: 200, content_type: TEXT, headers: vec![], body, outcomes: vec![] };
    }
    error(503, body)
}

fn run_checks(endpoint: &'static str, checks: &[Check], verbose: bool, facts: &Facts) -> Answer {
    let mut listing = String::new();
    let mut outcomes = Vec::new();
    for check in checks {
        let failure = match check {
            Check::DataCorruption => {
                facts.alarms.contains(&Alarm::Corrupt).then(|| "alarm activated: CORRUPT".to_string())
            }
            Check::SerializableRead => read_error(&facts.serializable_read),
            Check::LinearizableRead => read_error(&facts.linearizable_read),
            Check::NonLearner => facts.is_learner.then(|| "not supported for learner".to_string()),
        };
        let _ = match &failure {
            Some(error) => writeln!(listing, "[-]{} failed: {error}", check.name()),
            None => writeln!(listing, "[+]{} ok", check.name()),
        };
        outcomes.push((endpoint, check.name(), failure.is_none()));
    }
    if outcomes.iter().any(|(_, _, fine)| !fine) {
        return Answer { outcomes, ..error(503, listing) };
    }
    let body = if verbose { format!("{listing}ok\n") } else { "ok\n".to_string() };
    Answer { status: 200, content_type: TEXT, headers: vec![NOSNIFF], body, outcomes }
}

fn read_error(read: &Option<ReadResult>) -> Option<String> {
    match read {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(error.clone()),
        None => Some("no answer".to_string()),
    }
}

/// The body of /version. A version that is not known yet has a word of its own.
pub fn version(method: &str, cluster: Option<&str>, storage: Option<&str>) -> Answer {
    if method != "GET" {
        return wrong_method();
    }
    let body = format!(
        "{{\"etcdserver\":\"{}\",\"etcdcluster\":{},\"storage\":{}}}",
        env!("CARGO_PKG_VERSION"),
        go_json(cluster.unwrap_or("not_decided")),
        go_json(storage.unwrap_or("unknown")),
    );
    Answer { status: 200, content_type: "application/json", headers: vec![], body, outcomes: vec![] }
}

fn wrong_method() -> Answer {
    let mut answer = error(405, "Method Not Allowed".into());
    answer.headers.push(("Allow", "GET"));
    answer
}

/// As Go's `http.Error`: the text and a line end.
fn error(status: u16, text: String) -> Answer {
    Answer { status, content_type: TEXT, headers: vec![NOSNIFF], body: format!("{text}\n"), outcomes: vec![] }
}

/// A JSON text as Go writes it: `<`, `>` and `&` escaped too.
fn go_json(text: &str) -> String {
    let plain = serde_json::Value::from(text).to_string();
    plain.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// The values of one query parameter, in order; pairs that do not decode or contain `;` are skipped, as in Go.
fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')).filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(key)? == name { decode(value) } else { None }
    })
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Facts {
        Facts { has_leader: true, serializable_read: Some(Ok(())), linearizable_read: Some(Ok(())), ..Facts::default() }
    }

    fn ask(target: &str, facts: &Facts) -> (u16, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let answer = answer(&Probe::parse("GET", path, query).unwrap(), facts);
        (answer.status, answer.body)
    }

    #[test]
    fn health_bodies() {
        let no_leader =
            Facts { has_leader: false, linearizable_read: Some(Err("etcdserver: no leader".into())), ..fine() };
        let full = Facts { alarms: vec![Alarm::Nospace], ..fine() };
        let both = Facts { alarms: vec![Alarm::Nospace, Alarm::Corrupt], ..fine() };
        let odd = Facts { alarms: vec![Alarm::Other], ..fine() };
        let log_full = Facts { log_full: true, ..fine() };
        let stalled = Facts { disk_stalled: true, ..fine() };
        let slow = Facts { linearizable_read: Some(Err("timed <out>".into())), ..fine() };
        let ok = (200, "");
        for (target, facts, (status, reason)) in [
            ("/health", &fine(), ok),
            ("/health?serializable=true", &no_leader, ok),
            ("/health?serializable=1", &no_leader, (503, "RAFT NO LEADER")),
            ("/health", &no_leader, (503, "RAFT NO LEADER")),
            ("/health", &full, (503, "ALARM NOSPACE")),
            ("/health?exclude=NOSPACE", &full, ok),
            ("/health?exclude=&exclude=NOSP%41CE", &full, ok),
            ("/health?exclude=nospace", &full, (503, "ALARM NOSPACE")),
            ("/health?exclude=NOSPACE", &both, (503, "ALARM CORRUPT")),
            ("/health?exclude=NOSPACE&exclude=CORRUPT", &both, ok),
            ("/health", &odd, (503, "ALARM UNKNOWN")),
            ("/health", &slow, (503, "RANGE ERROR:timed \\u003cout\\u003e")),
            ("/health?serializable=true", &slow, ok),
            ("/health", &log_full, (503, "LOG FULL: the disk has no space for the next WAL segment")),
            ("/health?exclude=NOSPACE", &log_full, ok),
            ("/health", &stalled, (503, "DISK STALLED: a WAL write is late")),
        ] {
            let end = if status == 200 { "" } else { "\n" };
            let body = format!("{{\"health\":\"{}\",\"reason\":\"{reason}\"}}{end}", status == 200);
            assert_eq!(ask(target, facts), (status, body), "{target}");
        }
    }

    #[test]
    fn checks() {
        let learner = Facts { is_learner: true, ..fine() };
        let cut_off = Facts { linearizable_read: Some(Err("etcdserver: request timed out".into())), ..fine() };
        let corrupt = Facts { alarms: vec![Alarm::Corrupt], ..fine() };
        let full = Facts { alarms: vec![Alarm::Nospace], ..fine() };
        let dead = Facts { serializable_read: Some(Err("gone".into())), ..fine() };
        let all_ok = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n";
        for (target, facts, status, body) in [
            ("/livez", &fine(), 200, "ok\n"),
            ("/livez?verbose", &fine(), 200, "[+]serializable_read ok\nok\n"),
            ("/livez", &cut_off, 200, "ok\n"),
            ("/livez", &dead, 503, "[-]serializable_read failed: gone\n\n"),
            ("/livez?exclude=serializable_read", &dead, 200, "ok\n"),
            ("/livez/serializable_read", &dead, 503, "[-]serializable_read failed: gone\n\n"),
            ("/livez/serializable_read?exclude=serializable_read", &dead, 503, "[-]serializable_read failed: gone\n\n"),
            ("/readyz", &full, 200, "ok\n"),
            ("/readyz?verbose=", &fine(), 200, all_ok),
            ("/readyz/data_corruption", &corrupt, 503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n"),
            ("/readyz/non_learner", &learner, 503, "[-]non_learner failed: not supported for learner\n\n"),
            ("/readyz/non_learner?verbose", &fine(), 200, "[+]non_learner ok\nok\n"),
            ("/readyz?exclude=non_learner&exclude=what", &learner, 200, "ok\n"),
            (
                "/readyz",
                &cut_off,
                503,
                "[+]data_corruption ok\n[+]serializable_read ok\n\
                 [-]linearizable_read failed: etcdserver: request timed out\n[+]non_learner ok\n\n",
            ),
        ] {
            assert_eq!(ask(target, facts), (status, body.to_string()), "{target}");
        }
    }

    #[test]
    fn paths_and_methods() {
        for path in ["/", "/healthz", "/health/", "/livez/", "/livez/non_learner", "/readyz/x", "livez", "/readyz/a/b"]
        {
            assert_eq!(Probe::parse("GET", path, ""), None, "{path}");
        }
        for (method, path) in [("HEAD", "/health"), ("POST", "/livez"), ("PUT", "/readyz/non_learner")] {
            let answer = answer(&Probe::parse(method, path, "").unwrap(), &fine());
            assert_eq!((answer.status, answer.body.as_str()), (405, "Method Not Allowed\n"));
            assert_eq!(answer.headers, [NOSNIFF, ("Allow", "GET")]);
        }
        let Probe::Checks { unknown, .. } = Probe::parse("GET", "/readyz", "exclude=x&exclude=non_learner").unwrap()
        else {
            panic!("a check")
        };
        assert_eq!(unknown, ["x"]);
    }

    #[test]
    fn reads_are_asked_for_only_when_they_decide() {
        let needs = |target: &str, facts: &Facts| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let needs = Probe::parse("GET", path, query).unwrap().needs(facts);
            (needs.serializable, needs.linearizable)
        };
        let blind = Facts { has_leader: true, ..Facts::default() };
        assert_eq!(needs("/health", &blind), (false, true));
        assert_eq!(needs("/health?serializable=true", &blind), (true, false));
        assert_eq!(needs("/health", &Facts::default()), (false, false));
        assert_eq!(needs("/livez", &blind), (true, false));
        assert_eq!(needs("/readyz", &blind), (true, true));
        assert_eq!(needs("/readyz/linearizable_read", &blind), (false, true));
        assert_eq!(needs("/readyz/non_learner", &blind), (false, false));
        assert_eq!(ask("/livez", &blind).0, 503, "a read that was needed and not made is a failure");
    }

    #[test]
    fn outcomes_are_known_to_the_metrics() {
        for (endpoint, checks) in ENDPOINTS {
            for check in checks {
                assert!(crate::ops::metrics::CHECKS.contains(&(endpoint, check.name())));
            }
        }
        let probe = Probe::parse("GET", "/readyz", "").unwrap();
        let outcomes = answer(&probe, &Facts { is_learner: true, ..fine() }).outcomes;
        assert_eq!((outcomes.len(), outcomes[3]), (4, ("readyz", "non_learner", false)));
    }

    #[test]
    fn versions() {
        let body = |cluster, storage| version("GET", cluster, storage).body;
        assert_eq!(
            body(Some("3.7.0"), Some("3.7.0")),
            "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}"
        );
        assert_eq!(
            body(None, None),
            "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"not_decided\",\"storage\":\"unknown\"}"
        );
        assert_eq!(version("GET", None, None).content_type, "application/json");
        assert_eq!(version("POST", None, None).status, 405);
    }
}
