//! Text forms of Go's standard library that etcd's tools print and read: quoted strings, durations, floats, sizes.
//! Pure functions; scripts compare this output byte for byte, so the odd corners are deliberate.

const SECOND_NS: u64 = 1_000_000_000;

/// `%q` of a byte string.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(&mut out, c);
        }
        for byte in chunk.invalid() {
            out += &format!("\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

/// The bytes of a text in double or back quotes, or None if it is not one whole quoted text (`strconv.Unquote`).
pub fn unquote(text: &str) -> Option<Vec<u8>> {
    if let Some(raw) = text.strip_prefix('`') {
        let raw = raw.strip_suffix('`')?;
        return (!raw.contains('`')).then(|| raw.replace('\r', "").into_bytes());
    }
    let mut rest = text.strip_prefix('"')?.strip_suffix('"').filter(|_| text.len() >= 2)?.chars();
    let mut out = Vec::new();
    while let Some(c) = rest.next() {
        match c {
            '\\' => unescape(&mut out, &mut rest)?,
            '"' | '\n' => return None,
            c => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Some(out)
}

/// What follows a backslash: a letter, or a number of fixed length. Numbers up to two hex or three octal digits are
/// bytes, longer ones are characters.
fn unescape(out: &mut Vec<u8>, rest: &mut std::str::Chars<'_>) -> Option<()> {
    let kind = rest.next()?;
    let mut number = |mut value: u32, digits: usize, base: u32| {
        for _ in 0..digits {
            value = value.checked_mul(base)?.checked_add(rest.next()?.to_digit(base)?)?;
        }
        Some(value)
    };
    match kind {
        'a' => out.push(0x07),
        'b' => out.push(0x08),
        'f' => out.push(0x0c),
        'n' => out.push(b'\n'),
        'r' => out.push(b'\r'),
        't' => out.push(b'\t'),
        'v' => out.push(0x0b),
        '\\' | '"' => out.push(kind as u8),
        'x' => out.push(number(0, 2, 16)? as u8),
        '0'..='7' => out.push(u8::try_from(number(kind.to_digit(8)?, 2, 8)?).ok()?),
        'u' | 'U' => {
            let c = char::from_u32(number(0, if kind == 'u' { 4 } else { 8 }, 16)?)?;
            out.extend(c.encode_utf8(&mut [0; 4]).bytes());
        }
        _ => return None,
    }
    Some(())
}

fn quote_char(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        ' '..='~' => out.push(c),
        '\0'..='\x1f' | '\x7f' => *out += &format!("\\x{:02x}", c as u32),
        _ if is_print(c) => out.push(c),
        _ if (c as u32) < 0x10000 => *out += &format!("\\u{:04x}", c as u32),
        _ => *out += &format!("\\U{:08x}", c as u32),
    }
}

/// Letters, marks, numbers, punctuation and symbols. Rust escapes what is none of these, except that a leading
/// combining mark is escaped as well, hence the letter in front.
fn is_print(c: char) -> bool {
    let text: String = ['a', c].iter().collect();
    text.escape_debug().count() == 2
}

/// `time.Duration.String`: `1.5s`, `2m0s`, `80.087µs`.
pub fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    if ns == 0 {
        return "0s".to_string();
    }
    if ns < SECOND_NS {
        let (unit, scale) = match ns {
            0..1_000 => return format!("{sign}{ns}ns"),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", fraction(ns, scale));
    }
    let minutes = ns / (60 * SECOND_NS);
    let seconds = fraction(ns % (60 * SECOND_NS), SECOND_NS);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / scale` with as many decimals as are not zero.
fn fraction(value: u64, scale: u64) -> String {
    let digits = scale.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / scale, value % scale);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// `time.ParseDuration`; the mistakes are Go's words.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text.as_bytes()));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_end);
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && decimals.is_empty()) || decimals.contains('.') {
            return Err(invalid());
        }
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text.as_bytes())));
        }
        let Some(unit_ns) = unit_ns(unit) else {
            let (unit, text) = (quote(unit.as_bytes()), quote(text.as_bytes()));
            return Err(format!("time: unknown unit {unit} in duration {text}"));
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| invalid())?.into() };
        total += whole * unit_ns;
        if !decimals.is_empty() {
            let digits = &decimals[..decimals.len().min(18)];
            let part: i128 = digits.parse().map_err(|_| invalid())?;
            total += part * unit_ns / 10i128.pow(digits.len() as u32);
        }
        if total > i128::from(i64::MAX) {
            return Err(invalid());
        }
        rest = tail;
    }
    let total = total as i64;
    Ok(if negative { -total } else { total })
}

fn unit_ns(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `%g` of a float: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e6 up.
pub fn float_g(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return match value {
            v if v.is_nan() => "NaN".to_string(),
            f64::INFINITY => "+Inf".to_string(),
            f64::NEG_INFINITY => "-Inf".to_string(),
            _ => "0".to_string(),
        };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("an exponent");
    let exponent: i32 = exponent.parse().expect("a number");
    if (-4..FLOAT_G_EXPONENT_MIN).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// From this exponent on, Go's `%g` without a precision switches to the exponent form.
const FLOAT_G_EXPONENT_MIN: i32 = 6;

/// A size in SI units as etcd prints it: `20 kB`, `2.1 GB`.
pub fn bytes_si(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let step = ((bytes as f64).ln() / 1000f64.ln()).floor();
    let value = (bytes as f64 / 1000f64.powf(step) * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS[step as usize];
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        assert_eq!(quote(b"a\"b\\c\n\x00\x7f\xff"), "\"a\\\"b\\\\c\\n\\x00\\x7f\\xff\"");
        assert_eq!(quote("é漢\u{200b}\u{301}\u{10ffff}".as_bytes()), "\"é漢\\u200b\u{301}\\U0010ffff\"");
    }

    #[test]
    fn unquoting() {
        assert_eq!(unquote(r#""a\"b\\\n\a\v""#), Some(b"a\"b\\\n\x07\x0b".to_vec()));
        assert_eq!(unquote(r#""\x00\377\u00e9é""#), Some(b"\0\xff\xc3\xa9\xc3\xa9".to_vec()));
        assert_eq!(unquote(r#""\U0001f600""#), Some("😀".into()));
        assert_eq!(unquote("`a\\n`"), Some(b"a\\n".to_vec()));
        assert_eq!(unquote("\"\""), Some(Vec::new()));
        for text in ["", "\"", "a", "\"a", "\"a\"b\"", "'a'", "\"a\nb\"", "`", "`a"] {
            assert_eq!(unquote(text), None, "{text}");
        }
        for escape in ["'", "q", "x1", "400", "ud800", "U00110000", ""] {
            assert_eq!(unquote(&format!("\"\\{escape}\"")), None, "{escape}");
        }
    }

    #[test]
    fn durations_both_ways() {
        for (ns, text) in [
            (0, "0s"),
            (5, "5ns"),
            (80_087, "80.087µs"),
            (9_282_087, "9.282087ms"),
            (1_000_479_707, "1.000479707s"),
            (5_000_000_000, "5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-1_500_000_000, "-1.5s"),
        ] {
            assert_eq!(duration(ns), text);
            assert_eq!(parse_duration(text), Ok(ns));
        }
        assert_eq!(parse_duration("1.5h.5s"), Ok(5_400_500_000_000));
        assert_eq!(parse_duration("5").unwrap_err(), "time: missing unit in duration \"5\"");
        assert_eq!(parse_duration("5q").unwrap_err(), "time: unknown unit \"q\" in duration \"5q\"");
        assert_eq!(parse_duration("").unwrap_err(), "time: invalid duration \"\"");
        assert!(parse_duration("99999999999999999999h").unwrap_err().starts_with("time: invalid duration"));
        assert!(parse_duration("9999999999h").unwrap_err().starts_with("time: invalid duration"));
    }

    #[test]
    fn floats_and_sizes() {
        for (value, text) in [
            (8.0087e-05, "8.0087e-05"),
            (0.302280614, "0.302280614"),
            (3308.1843614357617, "3308.1843614357617"),
            (12.0, "12"),
            (1234567.891, "1.234567891e+06"),
            (123456.5, "123456.5"),
        ] {
            assert_eq!(float_g(value), text);
        }
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (999, "999 B"),
            (16384, "16 kB"),
            (20480, "20 kB"),
            (1_500_000, "1.5 MB"),
            (2147483648, "2.1 GB"),
        ] {
            assert_eq!(bytes_si(bytes), text);
        }
    }
}
