//! What `--help`, `--version` and a refused command line print. Generated from the table; pure.

use super::table::{FLAGS, Section, Support};
use std::fmt::Write;

/// Column the explanation wraps at.
const WIDTH: usize = 100;

/// Printed after mistakes in flags, and at the top of the help.
pub const USAGE: &str = "Usage:

  etcd [flags]
    Start a server. Without any flag: data in ./default.etcd, clients on http://localhost:2379.

  etcd --version
    Print the version.

  etcd -h | --help
    Explain every flag.
";

const FIRST_STEPS: &str = "
First steps:

  etcd                                     start a server here
  etcdctl put greeting hello               in a second terminal: store something
  etcdctl get greeting                     and read it back
  curl http://localhost:2379/health        ask how it is

Every flag can also be given as an environment variable: --data-dir is ETCD_DATA_DIR. Giving both is refused.
Flags are written -x or --x, with a value as --x=value or --x value; the last one counts.
";

/// The whole help text.
pub fn help() -> String {
    let mut out = String::from(USAGE);
    out.push_str(FIRST_STEPS);
    for section in Section::ALL {
        let rows = FLAGS.iter().filter(|flag| flag.section == section);
        if section == Section::Obsolete {
            let ignored: Vec<&str> =
                rows.filter(|flag| flag.support == Support::Ignored).map(|flag| flag.name).collect();
            let _ = writeln!(out, "\n{} (accepted, do nothing):", section.title());
            wrap(&mut out, &format!("--{}", ignored.join(" --")));
            continue;
        }
        let _ = writeln!(out, "\n{}:", section.title());
        for flag in rows {
            let _ = writeln!(out, "  --{} '{}'", flag.name, flag.default);
            let mut text = flag.help.to_string();
            if flag.support == Support::DefaultOnly {
                text.push_str(" [not there yet: only the default is taken]");
            }
            wrap(&mut out, &text);
        }
    }
    out
}

fn wrap(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split(' ') {
        if column > 0 && column + 1 + word.len() > WIDTH {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.push_str("   ");
            column = 3;
        }
        out.push(' ');
        out.push_str(word);
        column += 1 + word.len();
    }
    out.push('\n');
}

/// The lines of `--version`. Tools read the first and the last; the compiler is named where Go names its own.
pub fn version() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "etcd Version: {}\nGit SHA: {}\nRust Version: {} or newer\nGo OS/Arch: {}/{arch}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("ETCD_URING_GIT_SHA").unwrap_or("not recorded"),
        env!("CARGO_PKG_RUST_VERSION"),
        std::env::consts::OS,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_explained_and_lines_are_short() {
        let text = help();
        for flag in FLAGS {
            let shown = text.contains(&format!("--{}", flag.name));
            assert!(shown || matches!(flag.support, Support::Removed(_)), "--{}", flag.name);
        }
        assert!(text.lines().all(|line| line.len() <= 120), "a line is too long");
        assert!(!text.contains("--enable-v2"), "what is gone is not advertised");
    }

    #[test]
    fn version_keeps_the_labels() {
        let text = version();
        let labels: Vec<&str> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(labels, ["etcd Version", "Git SHA", "Rust Version", "Go OS/Arch"]);
        assert!(text.starts_with("etcd Version: 3.7.1\n"));
    }
}
