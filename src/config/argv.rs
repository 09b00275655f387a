//! The command line as Go's flag package reads it: `-name x`, `--name=x`, `--flag`, `--flag=false`, the last one wins,
//! `--` or the first word without a dash ends the flags. Pure; every mistake is collected, none stops the reading.

use super::table::{FLAGS, Kind, Support, find};
use super::value::{Settings, Source, quote};

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// `-h`, `-help` or `--help` came before any mistake.
    Help,
    /// Mistakes in the flags themselves: etcd prints usage and exits with 2.
    Faults(Vec<String>),
    /// `extra` is the first word that is no flag; etcd refuses it with exit 1.
    Run { settings: Settings, extra: Option<String> },
}

/// Reads the arguments after the program name.
pub fn parse(args: &[String]) -> Asked {
    let mut settings = Settings::default();
    let mut faults = Vec::new();
    let mut rest = args.iter().peekable();
    let mut extra = None;
    while let Some(arg) = rest.next() {
        if arg == "--" {
            extra = rest.next().cloned();
            break;
        }
        if arg.len() < 2 || !arg.starts_with('-') {
            extra = Some(arg.clone());
            break;
        }
        let body = arg.strip_prefix("--").unwrap_or(&arg[1..]);
        if body.is_empty() || body.starts_with(['-', '=']) {
            faults.push(format!("bad flag syntax: {arg}"));
            continue;
        }
        let (name, mut value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        if faults.is_empty() && matches!(name, "h" | "help") {
            return Asked::Help;
        }
        let flag = find(name).filter(|flag| !matches!(flag.support, Support::Removed(_)));
        let takes_value = flag.is_some_and(|flag| flag.kind != Kind::Bool);
        // A word after an unknown flag is most likely its value; taking it away keeps later mistakes readable.
        let swallow = flag.is_none() && rest.peek().is_some_and(|next| !next.starts_with('-'));
        if value.is_none() && (takes_value || swallow) {
            value = rest.next().map(String::as_str);
        }
        let Some(flag) = flag else {
            faults.push(unknown(name));
            continue;
        };
        let Some(raw) = value.or((!takes_value).then_some("true")) else {
            faults.push(format!("flag needs an argument: -{name}"));
            continue;
        };
        if flag.support == Support::Ignored {
            // etcd's ignored flags take any value.
            settings.set(flag, "true", Source::Flag).expect("true is a bool");
        } else if let Err(reason) = settings.set(flag, raw, Source::Flag) {
            faults.push(match flag.kind {
                Kind::Bool => format!("invalid boolean value {} for -{name}: {reason}", quote(raw)),
                _ => format!("invalid value {} for flag -{name}: {reason}", quote(raw)),
            });
        }
    }
    if faults.is_empty() { Asked::Run { settings, extra } } else { Asked::Faults(faults) }
}

fn unknown(name: &str) -> String {
    let said = format!("flag provided but not defined: -{name}");
    if let Some(Support::Removed(hint)) = find(name).map(|flag| flag.support) {
        return format!("{said} (no longer there: {hint})");
    }
    match nearest(name) {
        Some(near) => format!("{said} (did you mean --{near}?)"),
        None => said,
    }
}

/// The flag that is written most alike, if any is near.
fn nearest(name: &str) -> Option<&'static str> {
    let limit = (name.chars().count() / 3).max(2);
    FLAGS
        .iter()
        .filter(|flag| matches!(flag.support, Support::Works | Support::DefaultOnly))
        .map(|flag| (edit_distance(name, flag.name), flag.name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Longest name compared, in characters: twice the longest flag; more is noise and not worth the work.
const NAME_CHARS_MAX: usize = 100;

/// Insertions, deletions and replacements between two words.
fn edit_distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(NAME_CHARS_MAX).collect();
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::url;

    fn run(line: &str) -> (Settings, Option<String>) {
        match asked(line) {
            Asked::Run { settings, extra } => (settings, extra),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn asked(line: &str) -> Asked {
        parse(&line.split(' ').filter(|word| !word.is_empty()).map(String::from).collect::<Vec<_>>())
    }

    fn faults(line: &str) -> Vec<String> {
        match asked(line) {
            Asked::Faults(faults) => faults,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn spellings() {
        for line in ["-name x", "--name x", "-name=x", "--name=x", "--name=y --name x", "--name x --"] {
            let (settings, extra) = run(line);
            assert_eq!((settings.text("name").as_str(), extra), ("x", None), "{line}");
        }
        for (line, expect) in
            [("--pre-vote", true), ("--pre-vote=false", false), ("--pre-vote=F --pre-vote=1", true), ("", true)]
        {
            assert_eq!(run(line).0.flag("pre-vote"), expect, "{line}");
        }
        assert_eq!(run("--name --data-dir").0.text("name"), "--data-dir", "a value may begin with a dash");
        assert_eq!(run("--name=").0.text("name"), "");
        let (settings, _) = run("--listen-client-urls http://b:1,http://a:1,http://b:1");
        assert_eq!(url::join(&settings.urls("listen-client-urls")), "http://a:1,http://b:1");
        let (settings, _) = run("--listen-client-urls=");
        assert_eq!(url::join(&settings.urls("listen-client-urls")), "http://localhost:2379");
        assert!(settings.is_set("listen-client-urls"));
    }

    #[test]
    fn extra_words() {
        for (line, expect) in [
            ("--pre-vote false --name x", "false"),
            ("serve", "serve"),
            ("- --name x", "-"),
            ("-- --name", "--name"),
            ("--snapshot 5", "5"),
        ] {
            assert_eq!(run(line).1.as_deref(), Some(expect), "{line}");
        }
    }

    #[test]
    fn mistakes() {
        for (line, expect) in [
            ("--nmae x", vec!["flag provided but not defined: -nmae (did you mean --name?)"]),
            (
                "--election-time 5",
                vec!["flag provided but not defined: -election-time (did you mean --election-timeout?)"],
            ),
            ("-zzzzzzzzzz", vec!["flag provided but not defined: -zzzzzzzzzz"]),
            (
                "--enable-v2=true",
                vec!["flag provided but not defined: -enable-v2 (no longer there: the v2 API is gone; use the v3 API)"],
            ),
            ("--name", vec!["flag needs an argument: -name"]),
            ("--=x ---x", vec!["bad flag syntax: --=x", "bad flag syntax: ---x"]),
            ("--pre-vote=maybe", vec!["invalid boolean value \"maybe\" for -pre-vote: parse error"]),
            (
                "--election-timeout=1s --max-txn-ops -1",
                vec![
                    "invalid value \"1s\" for flag -election-timeout: parse error",
                    "invalid value \"-1\" for flag -max-txn-ops: parse error",
                ],
            ),
            (
                "--initial-cluster-state=old",
                vec!["invalid value \"old\" for flag -initial-cluster-state: invalid value (one of: new, existing)"],
            ),
            (
                "--listen-peer-urls=localhost:1",
                vec![
                    "invalid value \"localhost:1\" for flag -listen-peer-urls: \
                 URL scheme must be http, https, unix, or unixs: localhost:1",
                ],
            ),
        ] {
            assert_eq!(faults(line), expect, "{line}");
        }
    }

    #[test]
    fn help_wins_unless_a_mistake_came_first() {
        for line in ["-h", "--help", "--name x -help", "--help=false"] {
            assert!(matches!(asked(line), Asked::Help), "{line}");
        }
        assert!(matches!(asked("--nope --help"), Asked::Faults(_)));
        assert!(matches!(asked("word --help"), Asked::Run { .. }));
    }
}
