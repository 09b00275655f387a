//! The command line of the tools: a tree of commands and tables of flags, parsed and explained the way users of
//! `etcdctl` and `benchmark` know it (cobra and pflag in Go).
//!
//! Owned by the process's main thread. A command is one static table entry; nothing is registered at run time.

mod help;
mod parse;
mod value;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;

pub use value::{Kind, Value, parse_int};

/// Exit code of a usage mistake of the tool itself; commands have their own codes.
pub const EXIT_ERROR: u8 = 1;

/// One flag. `default` is text in the same form as on the command line, so that help and parser agree.
#[derive(Debug)]
pub struct Flag {
    pub name: &'static str,
    /// One letter, or empty.
    pub short: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    /// A word in back quotes becomes the name of the value in the help text.
    pub usage: &'static str,
    /// Hidden flags are accepted and not listed.
    pub hidden: bool,
}

impl Flag {
    pub const fn new(name: &'static str, kind: Kind, default: &'static str, usage: &'static str) -> Flag {
        Flag { name, short: "", kind, default, usage, hidden: false }
    }

    pub const fn short(self, short: &'static str) -> Flag {
        Flag { short, ..self }
    }

    pub const fn hidden(self) -> Flag {
        Flag { hidden: true, ..self }
    }
}

pub type Run = fn(&Matches) -> u8;

/// One command, or a group of commands when `run` is None.
pub struct Command {
    pub name: &'static str,
    /// What follows the name in the usage line, without `[flags]`.
    pub operands: &'static str,
    pub short: &'static str,
    /// Replaces `short` in the command's own help when not empty.
    pub long: &'static str,
    pub example: &'static str,
    /// Heading under which the parent lists it; must be one of `Program::groups` when those are used.
    pub group: &'static str,
    pub flags: &'static [Flag],
    /// Flags that hold for this command and everything below it.
    pub shared_flags: &'static [Flag],
    pub children: &'static [&'static Command],
    pub run: Option<Run>,
    /// Takes every word as an operand, flags included.
    pub raw: bool,
    /// Found only when typed in full, and listed nowhere.
    pub hidden: bool,
}

impl Command {
    /// The base of every table entry (`..Command::EMPTY`).
    pub const EMPTY: Command = Command {
        name: "",
        operands: "",
        short: "",
        long: "",
        example: "",
        group: "",
        flags: &[],
        shared_flags: &[],
        children: &[],
        run: None,
        raw: false,
        hidden: false,
    };
}

/// A whole tool.
pub struct Program {
    pub root: &'static Command,
    /// Headings of the root's commands, in order; empty for one plain list.
    pub groups: &'static [&'static str],
    /// Heading for the built-in `help` command.
    pub help_group: &'static str,
    /// Whether an unambiguous beginning of a command's name is enough.
    pub prefix_matching: bool,
    /// Whether the root's shared flags are listed in every command's help.
    pub list_shared_flags: bool,
    /// Last line of every help text.
    pub footer: &'static str,
    /// Exit code when the command line itself is wrong.
    pub exit_usage: u8,
}

/// A parsed command line.
#[derive(Clone)]
pub struct Matches {
    pub program: &'static Program,
    /// From the root to the command that was called.
    pub path: Vec<&'static Command>,
    /// Operands as typed; keys and values need not be UTF-8.
    pub args: Vec<Vec<u8>>,
    values: Vec<Setting>,
}

#[derive(Clone)]
struct Setting {
    flag: &'static Flag,
    value: Value,
    changed: bool,
}

impl Matches {
    fn setting(&self, name: &str) -> &Setting {
        let found = self.values.iter().find(|s| s.flag.name == name);
        found.unwrap_or_else(|| panic!("flag --{name} is not in the table of this command"))
    }

    pub fn bool(&self, name: &str) -> bool {
        match self.setting(name).value {
            Value::Bool(v) => v,
            _ => panic!("flag --{name} is not a bool"),
        }
    }

    pub fn int(&self, name: &str) -> i64 {
        match self.setting(name).value {
            Value::Int(v) => v,
            _ => panic!("flag --{name} is not an int"),
        }
    }

    pub fn uint(&self, name: &str) -> u64 {
        match self.setting(name).value {
            Value::Uint(v) => v,
            _ => panic!("flag --{name} is not an uint"),
        }
    }

    pub fn float(&self, name: &str) -> f64 {
        match self.setting(name).value {
            Value::Float(v) => v,
            _ => panic!("flag --{name} is not a float"),
        }
    }

    pub fn duration_ns(&self, name: &str) -> i64 {
        match self.setting(name).value {
            Value::Duration(v) => v,
            _ => panic!("flag --{name} is not a duration"),
        }
    }

    pub fn text(&self, name: &str) -> &str {
        match &self.setting(name).value {
            Value::Text(v) => v,
            _ => panic!("flag --{name} is not text"),
        }
    }

    pub fn list(&self, name: &str) -> &[String] {
        match &self.setting(name).value {
            Value::List(v) => v,
            _ => panic!("flag --{name} is not a list"),
        }
    }

    /// Whether the flag was given, on the command line or through `set`.
    pub fn changed(&self, name: &str) -> bool {
        self.setting(name).changed
    }

    /// The value in the form in which it would be typed.
    pub fn display(&self, name: &str) -> String {
        self.setting(name).value.to_string()
    }

    /// Sets a flag from elsewhere than the command line (environment variables).
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        let setting = self.values.iter_mut().find(|s| s.flag.name == name).expect("flag in the table");
        setting.value.set(text, setting.changed)?;
        setting.changed = true;
        Ok(())
    }

    /// Flags that the command shares with its parents, in alphabetical order.
    pub fn inherited_flags(&self) -> Vec<&'static Flag> {
        let mut flags: Vec<&'static Flag> = self.path.iter().rev().skip(1).flat_map(|c| c.shared_flags).collect();
        flags.sort_by_key(|f| f.name);
        flags
    }
}

impl Program {
    /// Parses the command line of this process and runs the command; returns the exit code.
    pub fn main(&'static self) -> u8 {
        let args = std::env::args_os().skip(1).map(OsString::into_vec).collect();
        self.run(args)
    }

    fn run(&'static self, args: Vec<Vec<u8>>) -> u8 {
        match self.parse(args) {
            parse::Outcome::Run(matches) => {
                let run = matches.path.last().and_then(|c| c.run).expect("a runnable command");
                run(&matches)
            }
            parse::Outcome::Help(path) => {
                write_stdout(self.help(&path).as_bytes());
                0
            }
            parse::Outcome::Mistake(text) => {
                write_stderr(text.as_bytes());
                self.exit_usage
            }
            parse::Outcome::UnknownTopic(text) => {
                write_stderr(text.as_bytes());
                0
            }
        }
    }

    /// The parsed form of a command line that must be right; for tests of commands.
    pub fn matches(&'static self, args: &[&str]) -> Matches {
        match self.parse(args.iter().map(|a| a.as_bytes().to_vec()).collect()) {
            parse::Outcome::Run(matches) => matches,
            parse::Outcome::Mistake(text) => panic!("{text}"),
            _ => panic!("help was asked for"),
        }
    }

    /// The command a list of words calls; None if the words are wrong or ask for help.
    pub fn matches_of(&'static self, args: Vec<Vec<u8>>) -> Option<Matches> {
        match self.parse(args) {
            parse::Outcome::Run(matches) => Some(matches),
            _ => None,
        }
    }

    /// The lines `options` prints: every flag all commands share, hidden ones left out.
    pub fn shared_flag_usages(&self) -> String {
        help::flag_usages(self.root.shared_flags.iter())
    }

    /// The usage block of a command, as printed after a mistake.
    pub fn usage(&self, path: &[&'static Command]) -> String {
        help::usage(self, path)
    }

    pub fn help(&self, path: &[&'static Command]) -> String {
        help::help(self, path)
    }

    fn parse(&'static self, args: Vec<Vec<u8>>) -> parse::Outcome {
        parse::parse(self, args)
    }
}

/// Writes to stdout; a closed pipe ends the output quietly, as it does for tools that die of SIGPIPE.
pub fn write_stdout(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

pub fn write_stderr(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}
