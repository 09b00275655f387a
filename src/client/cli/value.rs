//! Values of flags: the kinds, and their text forms and mistakes exactly as Go's pflag has them.

use std::fmt;

use crate::client::gotext;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    Uint,
    Float,
    Duration,
    Text,
    /// Comma separated and repeatable.
    List,
}

impl Kind {
    /// The word for the value in help texts; a bool has none.
    pub(super) fn value_name(self) -> &'static str {
        match self {
            Kind::Bool => "",
            Kind::Int => "int",
            Kind::Uint => "uint",
            Kind::Float => "float",
            Kind::Duration => "duration",
            Kind::Text => "string",
            Kind::List => "strings",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    Text(String),
    List(Vec<String>),
}

impl Value {
    /// The default of a flag. Panics on a wrong table entry.
    pub(super) fn from_default(kind: Kind, text: &str) -> Value {
        let mut value = match kind {
            Kind::Bool => Value::Bool(false),
            Kind::Int => Value::Int(0),
            Kind::Uint => Value::Uint(0),
            Kind::Float => Value::Float(0.0),
            Kind::Duration => Value::Duration(0),
            Kind::Text => Value::Text(String::new()),
            Kind::List => Value::List(Vec::new()),
        };
        if let Err(mistake) = value.set(text, false) {
            panic!("default {text:?} of a flag: {mistake}");
        }
        value
    }

    pub(super) fn is_zero(&self) -> bool {
        match self {
            Value::Bool(v) => !*v,
            Value::Int(v) | Value::Duration(v) => *v == 0,
            Value::Uint(v) => *v == 0,
            Value::Float(v) => *v == 0.0,
            Value::Text(v) => v.is_empty(),
            Value::List(v) => v.is_empty(),
        }
    }

    /// Takes a typed text. `append`: the flag was given before, which a list adds to and everything else forgets.
    pub(super) fn set(&mut self, text: &str, append: bool) -> Result<(), String> {
        match self {
            Value::Bool(v) => *v = parse_bool(text)?,
            Value::Int(v) => *v = parse_int(text, 0)?,
            Value::Uint(v) => *v = parse_uint(text)?,
            Value::Float(v) => *v = parse_float(text)?,
            Value::Duration(v) => *v = gotext::parse_duration(text)?,
            Value::Text(v) => *v = text.to_string(),
            Value::List(v) => {
                let mut fields = parse_list(text)?;
                if append {
                    v.append(&mut fields);
                } else {
                    *v = fields;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(v) => write!(f, "{v}"),
            Value::Int(v) => write!(f, "{v}"),
            Value::Uint(v) => write!(f, "{v}"),
            Value::Float(v) => f.write_str(&gotext::float_g(*v)),
            Value::Duration(v) => f.write_str(&gotext::duration(*v)),
            Value::Text(v) => f.write_str(v),
            Value::List(v) => write!(f, "[{}]", v.join(",")),
        }
    }
}

fn syntax(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {}: invalid syntax", gotext::quote(text.as_bytes()))
}

fn out_of_range(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {}: value out of range", gotext::quote(text.as_bytes()))
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(syntax("ParseBool", text)),
    }
}

enum Digits {
    Syntax,
    Range,
}

/// Go's integer syntax: with base 0, prefixes 0x 0b 0o 0 and underscores between digits.
fn magnitude(digits: &str, base: u32) -> Result<u64, Digits> {
    let (base, digits) = match base {
        0 => split_base(digits),
        base => (base, digits.to_string()),
    };
    if digits.is_empty() || digits.starts_with('+') {
        return Err(Digits::Syntax);
    }
    if !digits.chars().all(|c| c.is_digit(base)) {
        return Err(Digits::Syntax);
    }
    u64::from_str_radix(&digits, base).map_err(|_| Digits::Range)
}

fn split_base(digits: &str) -> (u32, String) {
    let lower = digits.to_ascii_lowercase();
    let (base, rest) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    let misplaced = rest.ends_with('_') || rest.contains("__") || (base == 10 && rest.starts_with('_'));
    let rest = if misplaced { rest.to_string() } else { rest.replace('_', "") };
    (base, rest)
}

/// A signed number as Go's `strconv.ParseInt` reads it. Base 0 looks at the prefix.
pub fn parse_int(text: &str, base: u32) -> Result<i64, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let limit = if negative { 1u64 << 63 } else { i64::MAX as u64 };
    match magnitude(digits, base) {
        Ok(value) if value <= limit && negative => Ok((value as i64).wrapping_neg()),
        Ok(value) if value <= limit => Ok(value as i64),
        Ok(_) | Err(Digits::Range) => Err(out_of_range("ParseInt", text)),
        Err(Digits::Syntax) => Err(syntax("ParseInt", text)),
    }
}

fn parse_uint(text: &str) -> Result<u64, String> {
    magnitude(text, 0).map_err(|mistake| match mistake {
        Digits::Syntax => syntax("ParseUint", text),
        Digits::Range => out_of_range("ParseUint", text),
    })
}

/// Decimal numbers and the words for infinity and NaN. Go takes hexadecimal ones as well, which nobody types.
fn parse_float(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().map_err(|_| syntax("ParseFloat", text))?;
    match value.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) {
        true => Err(out_of_range("ParseFloat", text)),
        false => Ok(value),
    }
}

/// One line of comma separated values; a value in double quotes may contain commas.
fn parse_list(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or("parse error: extraneous or missing \" in quoted-field")?;
            fields.push(quoted[..end].to_string());
            match quoted[end + 1..].strip_prefix(',') {
                Some(tail) => rest = tail,
                None if quoted.len() == end + 1 => return Ok(fields),
                None => return Err("parse error: extraneous or missing \" in quoted-field".to_string()),
            }
            continue;
        }
        let (field, tail) = rest.split_once(',').map_or((rest, None), |(field, tail)| (field, Some(tail)));
        fields.push(field.to_string());
        match tail {
            Some(tail) => rest = tail,
            None => return Ok(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_go_reads_them() {
        assert_eq!(parse_int("42", 0), Ok(42));
        assert_eq!(parse_int("-0x10", 0), Ok(-16));
        assert_eq!(parse_int("010", 0), Ok(8));
        assert_eq!(parse_int("1_000", 0), Ok(1000));
        assert_eq!(parse_int("-9223372036854775808", 0), Ok(i64::MIN));
        assert_eq!(parse_int("694d8c3", 16), Ok(0x694d8c3));
        assert_eq!(parse_int("a", 0).unwrap_err(), "strconv.ParseInt: parsing \"a\": invalid syntax");
        assert_eq!(parse_int("", 0).unwrap_err(), "strconv.ParseInt: parsing \"\": invalid syntax");
        assert_eq!(parse_int("--1", 0).unwrap_err(), "strconv.ParseInt: parsing \"--1\": invalid syntax");
        assert!(parse_int("9223372036854775808", 0).unwrap_err().ends_with("value out of range"));
        assert_eq!(
            (parse_float("1.5"), parse_float("-2e3"), parse_float("inf")),
            (Ok(1.5), Ok(-2e3), Ok(f64::INFINITY))
        );
        assert_eq!(parse_float("x").unwrap_err(), "strconv.ParseFloat: parsing \"x\": invalid syntax");
        assert!(parse_float("1e999").unwrap_err().ends_with("value out of range"));
        assert!(parse_uint("-1").unwrap_err().ends_with("invalid syntax"));
    }

    #[test]
    fn lists_add_up_after_the_default() {
        let mut value = Value::from_default(Kind::List, "127.0.0.1:2379");
        value.set("a,b", false).unwrap();
        value.set("\"c,d\",e", true).unwrap();
        assert_eq!(value, Value::List(vec!["a".into(), "b".into(), "c,d".into(), "e".into()]));
    }
}
