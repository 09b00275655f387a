//! Help and usage texts in cobra's layout, from the same tables the parser uses.

use super::parse::HELP;
use super::{Command, Flag, Program, Value};

/// Names of commands are padded to at least this width (cobra's `minNamePadding`).
const NAME_COLUMNS_MIN: usize = 11;

pub(super) fn help(program: &Program, path: &[&'static Command]) -> String {
    let command = path[path.len() - 1];
    let about = if command.long.is_empty() { command.short } else { command.long };
    let mut text = format!("{}\n\n{}", about.trim_end(), usage(program, path));
    if !program.footer.is_empty() {
        text += program.footer;
        text.push('\n');
    }
    text
}

pub(super) fn usage(program: &Program, path: &[&'static Command]) -> String {
    let command = path[path.len() - 1];
    let full_name = path.iter().map(|c| c.name).collect::<Vec<_>>().join(" ");
    let mut text = "Usage:".to_string();
    if command.run.is_some() {
        let operands = if command.operands.is_empty() { String::new() } else { format!(" {}", command.operands) };
        text += &format!("\n  {full_name}{operands} [flags]");
    }
    if !command.children.is_empty() {
        text += &format!("\n  {full_name} [command]");
    }
    if !command.example.is_empty() {
        text += "\n\nExamples:\n";
        text += command.example.trim_end();
    }
    if !command.children.is_empty() {
        text += &children(program, path);
    }
    let root_is_hidden = path.len() == 1 && !program.list_shared_flags;
    if !root_is_hidden {
        let own = command.flags.iter().chain(command.shared_flags).chain(std::iter::once(&HELP));
        text += "\n\nFlags:\n";
        text += usages(own, command.name).trim_end();
    }
    let above = &path[..path.len() - 1];
    let above = if program.list_shared_flags || above.is_empty() { above } else { &above[1..] };
    let inherited = flag_usages(above.iter().flat_map(|c| c.shared_flags));
    if !inherited.is_empty() {
        text += "\n\nGlobal Flags:\n";
        text += inherited.trim_end();
    }
    if !command.children.is_empty() {
        text += &format!("\n\nUse \"{full_name} [command] --help\" for more information about a command.");
    }
    text.push('\n');
    text
}

fn children(program: &Program, path: &[&'static Command]) -> String {
    static HELP_COMMAND: Command = Command { name: "help", short: "Help about any command", ..Command::EMPTY };
    let is_root = path.len() == 1;
    let mut list: Vec<(&'static Command, &'static str)> =
        path[path.len() - 1].children.iter().filter(|c| !c.hidden).map(|c| (*c, c.group)).collect();
    if is_root {
        list.push((&HELP_COMMAND, program.help_group));
    }
    list.sort_by_key(|(c, _)| c.name);
    let longest = list.iter().map(|(c, _)| c.name.len()).max().unwrap_or(0);
    let width = longest.max(NAME_COLUMNS_MIN);
    let line = |c: &Command| format!("\n  {:width$} {}", c.name, c.short);
    if !is_root || program.groups.is_empty() {
        let lines: String = list.iter().map(|(c, _)| line(c)).collect();
        return format!("\n\nAvailable Commands:{lines}");
    }
    let mut text = String::new();
    for group in program.groups {
        text += &format!("\n\n{group}");
        text.extend(list.iter().filter(|(_, g)| g == group).map(|(c, _)| line(c)));
    }
    text
}

pub(super) fn flag_usages<'a>(flags: impl Iterator<Item = &'a Flag>) -> String {
    usages(flags, "")
}

/// One line per flag, sorted by name, explanations aligned.
fn usages<'a>(flags: impl Iterator<Item = &'a Flag>, command: &str) -> String {
    let mut flags: Vec<&Flag> = flags.filter(|f| !f.hidden).collect();
    flags.sort_by_key(|f| f.name);
    let mut lines = Vec::new();
    for flag in flags {
        let mut left = match flag.short {
            "" => format!("      --{}", flag.name),
            short => format!("  -{short}, --{}", flag.name),
        };
        let (value_name, mut right) = explain(flag);
        if !value_name.is_empty() {
            left += &format!(" {value_name}");
        }
        if flag.name == HELP.name && right.is_empty() {
            right = format!("help for {command}");
        }
        let default = Value::from_default(flag.kind, flag.default);
        if !default.is_zero() {
            match &default {
                Value::Text(text) => right += &format!(" (default {text:?})"),
                other => right += &format!(" (default {other})"),
            }
        }
        lines.push((left, right));
    }
    let width = lines.iter().map(|(left, _)| left.len()).max().unwrap_or(0) + 3;
    lines.iter().map(|(left, right)| format!("{left:width$}{right}\n")).collect()
}

/// Name of the value and explanation; a word in back quotes names the value.
fn explain(flag: &Flag) -> (String, String) {
    let mut parts = flag.usage.splitn(3, '`');
    if let (Some(before), Some(name), Some(after)) = (parts.next(), parts.next(), parts.next()) {
        return (name.to_string(), format!("{before}{name}{after}"));
    }
    (flag.kind.value_name().to_string(), flag.usage.to_string())
}
