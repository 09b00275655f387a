//! Settings from ETCD_* variables. A flag wins over a variable, a variable over the default; both at once is fatal, as
//! in etcd. Pure: the variables are handed in.

use super::notice::{Level, Notice};
use super::table::{FLAGS, Support};
use super::value::{Settings, Source, quote};
use std::collections::{BTreeMap, BTreeSet};

/// What the environment had to say.
#[derive(Debug, Default)]
pub struct Report {
    pub notices: Vec<Notice>,
    /// Values that do not parse, in etcd's words.
    pub mistakes: Vec<String>,
    /// Variables whose flag is given too.
    pub conflicts: Vec<String>,
}

/// Applies the variables to what no flag has set.
pub fn apply(settings: &mut Settings, vars: &BTreeMap<String, String>) -> Report {
    let mut report = Report::default();
    let mut used = BTreeSet::new();
    for flag in FLAGS {
        // etcd has no flag called help, and asks about the version before it looks at the environment.
        if matches!(flag.support, Support::Removed(_)) || matches!(flag.name, "help" | "version") {
            continue;
        }
        let key = flag.env();
        let Some(raw) = vars.get(&key) else { continue };
        if settings.set_by(flag.name) == Some(Source::Flag) {
            // Even an empty variable conflicts.
            report.conflicts.push(key);
            continue;
        }
        if raw.is_empty() {
            continue;
        }
        used.insert(key.clone());
        let value = if flag.support == Support::Ignored { "true" } else { raw };
        match settings.set(flag, value, Source::Env) {
            Ok(()) => {
                let shown = if flag.name.ends_with("password") { "********" } else { raw };
                report.notices.push(
                    Notice::new(Level::Info, "recognized and used environment variable")
                        .with("variable-name", &key)
                        .with("variable-value", shown),
                );
            }
            Err(reason) => report.mistakes.push(format!("invalid value {} for {key}: {reason}", quote(raw))),
        }
    }
    for (key, raw) in vars {
        if key == "ETCD_VERSION" {
            if !raw.is_empty() {
                report.notices.push(
                    Notice::new(Level::Warn, "cannot set special environment variable")
                        .with("key", key)
                        .with("value", raw),
                );
            }
        } else if key.starts_with("ETCD_") && !used.contains(key) && !report.conflicts.contains(key) {
            let mut notice = Notice::new(Level::Warn, "unrecognized environment variable")
                .with("environment-variable", &format!("{key}={raw}"));
            let removed = FLAGS.iter().find(|flag| flag.env() == *key).map(|flag| flag.support);
            if let Some(Support::Removed(hint)) = removed {
                notice = notice.with("hint", hint);
            }
            report.notices.push(notice);
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::argv::{Asked, parse};

    fn check(args: &[&str], vars: &[(&str, &str)]) -> (Settings, Report) {
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        let Asked::Run { mut settings, .. } = parse(&args) else { panic!("{args:?}") };
        let vars = vars.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let report = apply(&mut settings, &vars);
        (settings, report)
    }

    fn said(report: &Report) -> Vec<&'static str> {
        report.notices.iter().map(|notice| notice.msg).collect()
    }

    #[test]
    fn variables_count_where_no_flag_does() {
        let (settings, report) =
            check(&["--data-dir=d"], &[("ETCD_NAME", "n"), ("PATH", "/bin"), ("ETCDCTL_API", "3")]);
        assert_eq!((settings.text("name").as_str(), settings.text("data-dir").as_str()), ("n", "d"));
        assert_eq!(said(&report), ["recognized and used environment variable"]);
        assert!(report.conflicts.is_empty() && report.mistakes.is_empty());
    }

    #[test]
    fn both_conflict_even_when_empty() {
        for value in ["n", ""] {
            let (_, report) = check(&["--name=x"], &[("ETCD_NAME", value)]);
            assert_eq!(report.conflicts, ["ETCD_NAME"]);
            assert!(report.notices.is_empty());
        }
    }

    #[test]
    fn empty_and_unknown_variables_only_warn() {
        let (settings, report) =
            check(&[], &[("ETCD_NAME", ""), ("ETCD_SERVICE_HOST", "1.2.3.4"), ("ETCD_VERSION", "3.5")]);
        assert_eq!(settings.text("name"), "default");
        assert_eq!(
            said(&report),
            [
                "unrecognized environment variable",
                "unrecognized environment variable",
                "cannot set special environment variable",
            ]
        );
        let (_, report) = check(&[], &[("ETCD_DEBUG", "true")]);
        assert_eq!(report.notices[0].fields[1], ("hint", "use --log-level=debug".into()));
    }

    #[test]
    fn bad_values_and_secrets() {
        let (_, report) = check(&[], &[("ETCD_ELECTION_TIMEOUT", "1s"), ("ETCD_DISCOVERY_PASSWORD", "hush")]);
        assert_eq!(report.mistakes, ["invalid value \"1s\" for ETCD_ELECTION_TIMEOUT: parse error"]);
        assert!(!format!("{:?}", report.notices).contains("hush"));
    }
}
