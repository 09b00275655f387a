//! From typed words to a command and its flags, with cobra's rules: flags anywhere, `--` ends them, a word that
//! follows an unknown flag is taken for its value while the command is looked for.

use super::{Command, Flag, Kind, Matches, Program, Setting, Value};
use crate::client::gotext;

/// Present on every command.
pub(super) static HELP: Flag = Flag::new("help", Kind::Bool, "false", "").short("h");

/// Names this many edits away from what was typed are suggested (cobra's default).
const SUGGESTION_EDITS_MAX: usize = 2;

pub(super) enum Outcome {
    Run(Matches),
    Help(Vec<&'static Command>),
    /// Text for stderr.
    Mistake(String),
    /// `help` for something that does not exist: text for stderr, but no failure.
    UnknownTopic(String),
}

pub(super) fn parse(program: &'static Program, args: Vec<Vec<u8>>) -> Outcome {
    let mut path = vec![program.root];
    let mut args = args;
    loop {
        let here = *path.last().expect("the root");
        let Some(at) = command_word(&path, &args) else { break };
        if path.len() == 1 && is_help(program, &args[at]) {
            args.remove(at);
            return help_topic(program, &path, &args);
        }
        match find_child(program, here, &args[at]) {
            Some(child) => {
                args.remove(at);
                path.push(child);
            }
            // A group below the root shows its help; so does a command that takes operands go on with them.
            None if path.len() > 1 => break,
            None => return Outcome::Mistake(unknown_command(program, &args[at])),
        }
    }
    execute(program, path, args)
}

/// Flags a command knows: its own and those of everything above it.
pub(super) fn known_flags(path: &[&'static Command]) -> impl Iterator<Item = &'static Flag> {
    let own = path.last().expect("the root").flags.iter();
    let shared: Vec<_> = path.iter().flat_map(|c| c.shared_flags.iter()).collect();
    own.chain(shared).chain(std::iter::once(&HELP))
}

/// Position of the first word that is neither a flag nor the value of one.
fn command_word(path: &[&'static Command], args: &[Vec<u8>]) -> Option<usize> {
    let is_switch = |matches: &dyn Fn(&Flag) -> bool| known_flags(path).any(|f| f.kind == Kind::Bool && matches(f));
    let mut at = 0;
    while at < args.len() {
        let word = args[at].as_slice();
        if word == b"--" {
            return None;
        }
        if let Some(name) = word.strip_prefix(b"--") {
            let takes_next = !name.contains(&b'=') && !is_switch(&|f| f.name.as_bytes() == name);
            at += if takes_next { 2 } else { 1 };
        } else if let Some(shorts) = word.strip_prefix(b"-") {
            let takes_next = shorts.len() == 1 && !is_switch(&|f| f.short.as_bytes() == shorts);
            at += if takes_next { 2 } else { 1 };
        } else if word.is_empty() {
            at += 1;
        } else {
            return Some(at);
        }
    }
    None
}

/// The built-in `help`, which takes part in prefix matching like any other command.
fn is_help(program: &Program, word: &[u8]) -> bool {
    word == b"help"
        || (program.prefix_matching
            && b"help".starts_with(word)
            && !program.root.children.iter().any(|c| !c.hidden && c.name.as_bytes().starts_with(word)))
}

fn find_child(program: &Program, parent: &'static Command, word: &[u8]) -> Option<&'static Command> {
    if let Some(exact) = parent.children.iter().find(|c| c.name.as_bytes() == word) {
        return Some(exact);
    }
    if !program.prefix_matching {
        return None;
    }
    let mut begun = parent.children.iter().filter(|c| !c.hidden && c.name.as_bytes().starts_with(word));
    match (begun.next(), begun.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn unknown_command(program: &Program, word: &[u8]) -> String {
    let root = program.root.name;
    let typed = String::from_utf8_lossy(word).to_lowercase();
    let mut text = format!("Error: unknown command {} for \"{root}\"", gotext::quote(word));
    let close = |c: &Command| edits(&typed, c.name) <= SUGGESTION_EDITS_MAX || c.name.starts_with(&typed);
    let close: Vec<_> = program.root.children.iter().filter(|c| !c.hidden && close(c)).collect();
    if !close.is_empty() {
        text += "\n\nDid you mean this?\n";
        for command in close {
            text += &format!("\t{}\n", command.name);
        }
    }
    text + &format!("\nRun '{root} --help' for usage.\n")
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replace = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

fn help_topic(program: &'static Program, root: &[&'static Command], args: &[Vec<u8>]) -> Outcome {
    let mut path = root.to_vec();
    let mut words = Vec::new();
    for word in args.iter().filter(|w| !w.starts_with(b"-")) {
        words.push(format!("`{}`", String::from_utf8_lossy(word)));
        match find_child(program, path[path.len() - 1], word) {
            Some(child) => path.push(child),
            None if path.len() > 1 => break,
            None => {
                let topics = words.join(" ");
                let text = format!("Unknown help topic [{topics}]\n{}", program.usage(root));
                return Outcome::UnknownTopic(text);
            }
        }
    }
    Outcome::Help(path)
}

fn execute(program: &'static Program, path: Vec<&'static Command>, args: Vec<Vec<u8>>) -> Outcome {
    let mut values: Vec<Setting> = Vec::new();
    for flag in known_flags(&path) {
        values.push(Setting { flag, value: Value::from_default(flag.kind, flag.default), changed: false });
    }
    let mut matches = Matches { program, path, args: Vec::new(), values };
    if matches.path.last().is_some_and(|c| c.raw) {
        matches.args = args;
        return Outcome::Run(matches);
    }
    if let Err(mistake) = parse_flags(&mut matches, args) {
        return Outcome::Mistake(format!("Error: {mistake}\n{}\n", program.usage(&matches.path)));
    }
    let runnable = matches.path.last().is_some_and(|c| c.run.is_some());
    if matches.bool("help") || !runnable {
        return Outcome::Help(matches.path);
    }
    Outcome::Run(matches)
}

fn parse_flags(matches: &mut Matches, args: Vec<Vec<u8>>) -> Result<(), String> {
    let mut words = args.into_iter();
    while let Some(word) = words.next() {
        if word == b"--" {
            matches.args.extend(words);
            return Ok(());
        }
        if let Some(name) = word.strip_prefix(b"--") {
            parse_long(matches, name, &mut words)?;
        } else if word.len() > 1 && word[0] == b'-' {
            parse_short(matches, &word[1..], &mut words)?;
        } else {
            matches.args.push(word);
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn parse_long(matches: &mut Matches, word: &[u8], rest: &mut impl Iterator<Item = Vec<u8>>) -> Result<(), String> {
    if word[0] == b'-' || word[0] == b'=' {
        return Err(format!("bad flag syntax: --{}", text(word)));
    }
    let (name, given) = match word.iter().position(|b| *b == b'=') {
        Some(at) => (text(&word[..at]), Some(text(&word[at + 1..]))),
        None => (text(word), None),
    };
    let Some(at) = matches.values.iter().position(|s| s.flag.name == name) else {
        return Err(format!("unknown flag: --{name}"));
    };
    let value = match given {
        Some(value) => value,
        None if matches.values[at].flag.kind == Kind::Bool => "true".to_string(),
        None => text(&rest.next().ok_or(format!("flag needs an argument: --{name}"))?),
    };
    assign(&mut matches.values[at], &value)
}

/// A word such as `-w`, `-wjson`, `-w=json` or several switches in one.
fn parse_short(matches: &mut Matches, word: &[u8], rest: &mut impl Iterator<Item = Vec<u8>>) -> Result<(), String> {
    let mut shorts = word;
    while let Some((letter, tail)) = shorts.split_first() {
        let named = text(&[*letter]);
        let Some(at) = matches.values.iter().position(|s| !s.flag.short.is_empty() && s.flag.short == named) else {
            return Err(format!("unknown shorthand flag: '{named}' in -{}", text(shorts)));
        };
        let switch = matches.values[at].flag.kind == Kind::Bool;
        let value = match tail.strip_prefix(b"=") {
            Some(value) if !value.is_empty() => text(value),
            _ if switch => "true".to_string(),
            _ if !tail.is_empty() => text(tail),
            _ => {
                let missing = format!("flag needs an argument: '{named}' in -{}", text(shorts));
                text(&rest.next().ok_or(missing)?)
            }
        };
        assign(&mut matches.values[at], &value)?;
        if !switch || tail.starts_with(b"=") {
            return Ok(());
        }
        shorts = tail;
    }
    Ok(())
}

fn assign(setting: &mut Setting, value: &str) -> Result<(), String> {
    let flag = setting.flag;
    setting.value.set(value, setting.changed).map_err(|cause| {
        let dashes = match flag.short {
            "" => format!("--{}", flag.name),
            short => format!("-{short}, --{}", flag.name),
        };
        format!("invalid argument {} for \"{dashes}\" flag: {cause}", gotext::quote(value.as_bytes()))
    })?;
    setting.changed = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &Matches) -> u8 {
        0
    }

    static GET: Command = Command {
        name: "get",
        operands: "[options] <key> [range_end]",
        short: "reads",
        flags: &[Flag::new("prefix", Kind::Bool, "false", "by prefix"), Flag::new("rev", Kind::Int, "0", "a revision")],
        run: Some(nothing),
        ..Command::EMPTY
    };
    static STATUS: Command = Command { name: "status", short: "state", run: Some(nothing), ..Command::EMPTY };
    static ENDPOINT: Command = Command {
        name: "endpoint",
        short: "endpoints",
        shared_flags: &[Flag::new("cluster", Kind::Bool, "false", "all of the cluster")],
        children: &[&STATUS],
        ..Command::EMPTY
    };
    static ELECT: Command = Command { name: "elect", short: "election", run: Some(nothing), ..Command::EMPTY };
    static ROOT: Command = Command {
        name: "tool",
        short: "a tool",
        shared_flags: &[
            Flag::new("endpoints", Kind::List, "here", "where"),
            Flag::new("write-out", Kind::Text, "simple", "how").short("w"),
            Flag::new("hex", Kind::Bool, "false", "in hex").short("x"),
        ],
        children: &[&GET, &ENDPOINT, &ELECT],
        ..Command::EMPTY
    };
    static TOOL: Program = Program {
        root: &ROOT,
        groups: &[],
        help_group: "",
        prefix_matching: true,
        list_shared_flags: true,
        footer: "",
        exit_usage: 1,
    };

    fn mistake(args: &[&str]) -> String {
        match parse(&TOOL, args.iter().map(|a| a.as_bytes().to_vec()).collect()) {
            Outcome::Mistake(text) => text.split("\nUsage:").next().unwrap_or("").to_string(),
            _ => panic!("{args:?} should not be accepted"),
        }
    }

    #[test]
    fn flags_may_stand_anywhere() {
        for line in [
            "get -w json k --rev=7",
            "-w=json get --rev 7 k",
            "--write-out json get k --rev 7",
            "get -xwjson k --rev 7",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let matches = TOOL.matches(&words);
            assert_eq!(matches.path.last().unwrap().name, "get", "{line}");
            assert_eq!((matches.text("write-out"), matches.int("rev")), ("json", 7), "{line}");
            assert_eq!(matches.args, vec![b"k".to_vec()], "{line}");
        }
    }

    #[test]
    fn two_dashes_end_the_flags() {
        let matches = TOOL.matches(&["get", "--prefix", "--", "-k", "--rev"]);
        assert!(matches.bool("prefix"));
        assert_eq!(matches.args, vec![b"-k".to_vec(), b"--rev".to_vec()]);
        assert_eq!(TOOL.matches(&["get", "-", ""]).args, vec![b"-".to_vec(), b"".to_vec()]);
    }

    #[test]
    fn shared_flags_reach_the_commands_below() {
        let matches = TOOL.matches(&["endpoint", "--cluster", "st", "--endpoints=a,b", "--endpoints", "c"]);
        assert_eq!(matches.path.last().unwrap().name, "status");
        assert!(matches.bool("cluster"));
        assert_eq!(matches.list("endpoints"), ["a", "b", "c"]);
    }

    #[test]
    fn beginnings_of_names() {
        for word in ["help", "h", "he"] {
            assert!(matches!(parse(&TOOL, vec![word.into()]), Outcome::Help(_)), "{word}");
        }
        assert_eq!(TOOL.matches(&["g", "k"]).path[1].name, "get");
        assert_eq!(TOOL.matches(&["en", "s"]).path[2].name, "status");
        assert!(TOOL.matches_of(vec![b"e".to_vec()]).is_none());
        assert!(TOOL.matches_of(vec![b"get".to_vec(), b"-h".to_vec()]).is_none());
    }

    #[test]
    fn mistakes_in_the_words_users_know() {
        let did = |names: &str| format!("\n\nDid you mean this?\n{names}\nRun 'tool --help' for usage.\n");
        assert_eq!(mistake(&["gett", "x"]), format!("Error: unknown command \"gett\" for \"tool\"{}", did("\tget\n")));
        assert_eq!(
            mistake(&["e"]),
            format!("Error: unknown command \"e\" for \"tool\"{}", did("\tget\n\tendpoint\n\telect\n"))
        );
        let plain = "Error: unknown command \"zzzzzz\" for \"tool\"\nRun 'tool --help' for usage.\n";
        assert_eq!(mistake(&["zzzzzz"]), plain);
        assert_eq!(mistake(&["get", "--foo"]), "Error: unknown flag: --foo");
        assert_eq!(mistake(&["get", "-q"]), "Error: unknown shorthand flag: 'q' in -q");
        assert_eq!(mistake(&["get", "-w"]), "Error: flag needs an argument: 'w' in -w");
        assert_eq!(mistake(&["get", "--rev"]), "Error: flag needs an argument: --rev");
        assert_eq!(mistake(&["get", "--=x"]), "Error: bad flag syntax: --=x");
        assert_eq!(
            mistake(&["get", "--prefix=zz"]),
            "Error: invalid argument \"zz\" for \"--prefix\" flag: strconv.ParseBool: parsing \"zz\": invalid syntax"
        );
    }
}
