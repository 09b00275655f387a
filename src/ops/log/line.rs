//! One log line in the two shapes of zap: JSON and console. Pure.

use serde_json::Value;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Fields in the order they were given.
pub type Fields = [(String, Value)];

/// `{"level":..,"ts":..,"caller":..,"msg":..,` then the fields, and a line end.
pub fn json(now: SystemTime, level: &str, caller: &str, msg: &str, fields: &Fields) -> String {
    let mut out = String::with_capacity(160);
    let _ = write!(out, "{{\"level\":\"{level}\",\"ts\":\"{}\",\"caller\":", timestamp(now));
    push_json(&mut out, &Value::from(caller));
    out.push_str(",\"msg\":");
    push_json(&mut out, &Value::from(msg));
    for (name, value) in fields {
        out.push(',');
        push_pair(&mut out, name, value);
    }
    out.push_str("}\n");
    out
}

/// Tab-separated time, level, caller and message, then the fields as one JSON object.
pub fn console(now: SystemTime, level: &str, caller: &str, msg: &str, fields: &Fields, colour: bool) -> String {
    let mut out = String::with_capacity(160);
    let (on, off) = if colour { (colour_of(level), "\x1b[0m") } else { ("", "") };
    let _ = write!(out, "{}\t{on}{level}{off}\t{caller}\t", timestamp(now));
    // A message with line ends or escape codes in it must not be able to fake another line.
    for c in msg.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if !fields.is_empty() {
        out.push_str("\t{");
        for (i, (name, value)) in fields.iter().enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            push_pair_spaced(&mut out, name, value);
        }
        out.push('}');
    }
    out.push('\n');
    out
}

fn colour_of(level: &str) -> &'static str {
    match level {
        "debug" => "\x1b[35m",
        "info" => "\x1b[34m",
        "warn" => "\x1b[33m",
        _ => "\x1b[31m",
    }
}

fn push_pair(out: &mut String, name: &str, value: &Value) {
    push_json(out, &Value::from(name));
    out.push(':');
    push_json(out, value);
}

fn push_pair_spaced(out: &mut String, name: &str, value: &Value) {
    push_json(out, &Value::from(name));
    out.push_str(": ");
    push_json(out, value);
}

fn push_json(out: &mut String, value: &Value) {
    let _ = write!(out, "{value}");
}

/// The last folder and the file, as zap shortens it: `ops/log.rs:12`.
pub fn caller(file: &str, line: u32) -> String {
    let mut cuts = file.rmatch_indices('/').map(|(at, _)| at);
    let short = match (cuts.next(), cuts.next()) {
        (Some(_), Some(at)) => &file[at + 1..],
        _ => file,
    };
    format!("{short}:{line}")
}

/// `2006-01-02T15:04:05.000000Z`, always UTC.
pub fn timestamp(now: SystemTime) -> String {
    // A clock before 1970 is broken; the line is worth more than the time.
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

/// Year, month and day of a day counted from 1970-01-01. Years begin in March here, so that the leap day is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(secs: u64, micros: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(secs, micros * 1000)
    }

    #[test]
    fn times() {
        for (secs, micros, expect) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, 999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000001Z"),
            (951_868_800, 0, "2000-03-01T00:00:00.000000Z"),
            (1_136_214_245, 0, "2006-01-02T15:04:05.000000Z"),
            (4_107_542_399, 0, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(timestamp(at(secs, micros)), expect);
        }
    }

    #[test]
    fn shapes() {
        let fields = [
            ("n".to_string(), Value::from(7)),
            ("s".to_string(), "a\"b\n".into()),
            ("l".to_string(), vec!["x"].into()),
        ];
        assert_eq!(
            json(at(0, 0), "info", "a/b.rs:1", "m\t\u{1}", &fields),
            "{\"level\":\"info\",\"ts\":\"1970-01-01T00:00:00.000000Z\",\"caller\":\"a/b.rs:1\",\
             \"msg\":\"m\\t\\u0001\",\"n\":7,\"s\":\"a\\\"b\\n\",\"l\":[\"x\"]}\n"
        );
        assert_eq!(
            console(at(0, 0), "warn", "a/b.rs:1", "m\nfake", &fields, false),
            "1970-01-01T00:00:00.000000Z\twarn\ta/b.rs:1\tm\\nfake\t{\"n\": 7, \"s\": \"a\\\"b\\n\", \"l\": [\"x\"]}\n"
        );
        assert!(console(at(0, 0), "warn", "a/b.rs:1", "m", &[], true).contains("\t\x1b[33mwarn\x1b[0m\t"));
    }

    #[test]
    fn callers() {
        for (file, expect) in
            [("src/ops/log.rs", "ops/log.rs:3"), ("src/main.rs", "src/main.rs:3"), ("main.rs", "main.rs:3")]
        {
            assert_eq!(caller(file, 3), expect);
        }
    }
}
