//! Values as Go's flag package reads them, and the settings they end up in.
//! Pure. Error texts are the reasons Go gives, because scripts and people search for them.

use super::table::{FLAGS, Flag, Kind, find};
use super::url::{self, Url};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    Number(i128),
    Text(String),
    /// Nanoseconds.
    Duration(i64),
    Urls(Vec<Url>),
    /// Sorted, without duplicates.
    List(Vec<String>),
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Flag,
    Env,
}

/// What was set, by flag name. What was not set has its default.
#[derive(Debug, Default)]
pub struct Settings {
    set: BTreeMap<&'static str, (Value, Source)>,
}

impl Settings {
    /// Reads and keeps one value; the last one wins. The error is Go's reason.
    pub fn set(&mut self, flag: &'static Flag, raw: &str, source: Source) -> Result<(), String> {
        // etcd takes an empty URL list as "set, but as before": the value stays, and the flag counts as given.
        let value = match flag.kind {
            Kind::Urls if raw.is_empty() => self.get(flag),
            kind => parse(kind, raw)?,
        };
        self.set.insert(flag.name, (value, source));
        Ok(())
    }

    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    pub fn set_by(&self, name: &str) -> Option<Source> {
        self.set.get(name).map(|(_, source)| *source)
    }

    /// Everything that was set, in the order of the table.
    pub fn each_set(&self) -> impl Iterator<Item = (&'static Flag, &Value)> {
        FLAGS.iter().filter_map(|flag| self.set.get(flag.name).map(|(value, _)| (flag, value)))
    }

    pub fn get(&self, flag: &Flag) -> Value {
        self.set.get(flag.name).map_or_else(|| default_of(flag), |(value, _)| value.clone())
    }

    fn named(&self, name: &str) -> Value {
        self.get(find(name).expect("a name from the table"))
    }

    pub fn flag(&self, name: &str) -> bool {
        match self.named(name) {
            Value::Bool(value) => value,
            other => unreachable!("--{name} holds {other:?}"),
        }
    }

    pub fn number(&self, name: &str) -> u64 {
        match self.named(name) {
            Value::Number(value) => u64::try_from(value).expect("unsigned flags parse as unsigned"),
            other => unreachable!("--{name} holds {other:?}"),
        }
    }

    /// In nanoseconds.
    pub fn duration_ns(&self, name: &str) -> i64 {
        match self.named(name) {
            Value::Duration(value) => value,
            other => unreachable!("--{name} holds {other:?}"),
        }
    }

    pub fn text(&self, name: &str) -> String {
        match self.named(name) {
            Value::Text(value) => value,
            other => unreachable!("--{name} holds {other:?}"),
        }
    }

    pub fn urls(&self, name: &str) -> Vec<Url> {
        match self.named(name) {
            Value::Urls(value) => value,
            other => unreachable!("--{name} holds {other:?}"),
        }
    }

    pub fn list(&self, name: &str) -> Vec<String> {
        match self.named(name) {
            Value::List(value) => value,
            other => unreachable!("--{name} holds {other:?}"),
        }
    }
}

/// The default of a row. Rows are checked by a test to parse.
pub fn default_of(flag: &Flag) -> Value {
    match flag.kind {
        Kind::Urls if flag.default.is_empty() => Value::Urls(Vec::new()),
        Kind::Bool if flag.default.is_empty() => Value::Bool(false),
        kind => parse(kind, flag.default).expect("defaults of the table parse"),
    }
}

/// Reads one value.
pub fn parse(kind: Kind, raw: &str) -> Result<Value, String> {
    match kind {
        Kind::Bool => go_bool(raw).map(Value::Bool).ok_or_else(|| "parse error".into()),
        Kind::Uint | Kind::Uint64 => go_number(raw, 0, u64::MAX.into()).map(Value::Number).map_err(String::from),
        Kind::Uint32 => go_number(raw, 0, u32::MAX.into()).map(Value::Number).map_err(String::from),
        Kind::Int | Kind::Int64 => {
            go_number(raw, i64::MIN.into(), i64::MAX.into()).map(Value::Number).map_err(String::from)
        }
        Kind::Text => Ok(Value::Text(raw.into())),
        Kind::Duration => go_duration(raw).map(Value::Duration).ok_or_else(|| "parse error".into()),
        Kind::Urls => url::parse_list(raw.split(',')).map(Value::Urls),
        Kind::List => {
            let mut words: Vec<String> = raw.split(',').map(String::from).collect();
            words.sort();
            words.dedup();
            Ok(Value::List(words))
        }
        Kind::Choice(words) if words.contains(&raw) => Ok(Value::Text(raw.into())),
        Kind::Choice(words) => Err(format!("invalid value (one of: {})", words.join(", "))),
    }
}

/// Go's `strconv.ParseBool`.
pub fn go_bool(raw: &str) -> Option<bool> {
    match raw {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Go's integer literals with base prefix (`0x`, `0b`, `0o`, leading `0` for octal) and `_` between digits.
pub fn go_number(raw: &str, min: i128, max: i128) -> Result<i128, &'static str> {
    const SYNTAX: &str = "parse error";
    let (negative, digits) = match raw.as_bytes().first() {
        Some(b'-') if min < 0 => (true, &raw[1..]),
        Some(b'+') if min < 0 => (false, &raw[1..]),
        _ => (false, raw),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    let prefixed = radix != 10;
    let misplaced = body.ends_with('_') || body.contains("__") || (body.contains('_') && !prefixed);
    let bare: String = body.chars().filter(|c| *c != '_').collect();
    if misplaced || bare.is_empty() || !bare.chars().all(|c| c.is_digit(radix)) {
        return Err(SYNTAX);
    }
    // Only an overflow is left that can fail here.
    let size = i128::from_str_radix(&bare, radix).map_err(|_| "value out of range")?;
    let value = if negative { -size } else { size };
    if value < min || value > max { Err("value out of range") } else { Ok(value) }
}

/// Go's `time.ParseDuration`, in nanoseconds.
pub fn go_duration(raw: &str) -> Option<i64> {
    let (negative, mut rest) = match raw.as_bytes().first()? {
        b'-' => (true, &raw[1..]),
        b'+' => (false, &raw[1..]),
        _ => (false, raw),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total_ns: i128 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let unit_ns: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total_ns = total_ns.checked_add(whole.checked_mul(unit_ns)?)?;
        let mut scale = unit_ns;
        for digit in fraction.bytes() {
            // Digits below a nanosecond are dropped, as Go does.
            scale /= 10;
            total_ns += i128::from(digit - b'0') * scale;
        }
        rest = tail;
    }
    i64::try_from(if negative { -total_ns } else { total_ns }).ok()
}

/// A text in double quotes as Go's `%q` writes it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_table_parse() {
        for flag in FLAGS {
            default_of(flag);
        }
    }

    #[test]
    fn durations() {
        for (raw, ns) in [
            ("0", Some(0)),
            ("100ms", Some(100_000_000)),
            ("1h2m3.5s", Some(3_723_500_000_000)),
            ("2h0m0s", Some(7_200_000_000_000)),
            ("-1.5h", Some(-5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("3us", Some(3_000)),
            ("3µs", Some(3_000)),
            ("0.1ns", Some(0)),
            ("", None),
            ("-", None),
            ("3", None),
            ("s", None),
            (".s", None),
            ("1d", None),
            ("1 s", None),
            ("1..2s", None),
            ("9223372036854775808ns", None),
            ("99999999999999999999999999999999999999999h", None),
        ] {
            assert_eq!(go_duration(raw), ns, "{raw:?}");
        }
    }

    #[test]
    fn numbers() {
        let unsigned = |raw| go_number(raw, 0, u64::MAX.into());
        for (raw, expect) in [
            ("0", Ok(0)),
            ("100", Ok(100)),
            ("0x1F", Ok(31)),
            ("0b101", Ok(5)),
            ("0o17", Ok(15)),
            ("017", Ok(15)),
            ("0x_ff", Ok(255)),
            ("18446744073709551615", Ok(u64::MAX.into())),
            ("18446744073709551616", Err("value out of range")),
            ("999999999999999999999999999999999999999999", Err("value out of range")),
            ("-1", Err("parse error")),
            ("+1", Err("parse error")),
            ("", Err("parse error")),
            ("0x", Err("parse error")),
            ("08", Err("parse error")),
            ("1_000", Err("parse error")),
            ("12a", Err("parse error")),
            ("1é", Err("parse error")),
        ] {
            assert_eq!(unsigned(raw), expect, "{raw:?}");
        }
        assert_eq!(go_number("-12", i64::MIN.into(), i64::MAX.into()), Ok(-12));
    }

    #[test]
    fn go_quotes() {
        assert_eq!(quote("a\"b\\\n\u{1}é"), "\"a\\\"b\\\\\\n\\x01é\"");
    }
}
