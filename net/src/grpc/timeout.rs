//! The grpc-timeout header: up to eight digits and a unit.

use std::time::Duration;

const MAX_DIGITS: usize = 8;

/// Reads a grpc-timeout; None if it is malformed.
pub fn parse(raw: &[u8]) -> Option<Duration> {
    let (&unit, digits) = raw.split_last()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(value * 3600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

/// What is wrong with one that `parse` refused, in the words of Go's grpc.
pub fn fault(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    match raw {
        [] | [_] => format!("transport: timeout string is too short: {text:?}"),
        _ if raw.len() > MAX_DIGITS + 1 => format!("transport: timeout string is too long: {text:?}"),
        [.., b'H' | b'M' | b'S' | b'm' | b'u' | b'n'] => {
            format!("strconv.ParseUint: parsing {:?}: invalid syntax", &text[..text.len() - 1])
        }
        _ => format!("transport: timeout unit is not recognized: {text:?}"),
    }
}

/// Writes a grpc-timeout: the finest unit that fits eight digits, rounded up so that no deadline comes early.
pub fn format(timeout: Duration) -> String {
    const UNITS: [(char, u128); 6] = [
        ('n', 1),
        ('u', 1_000),
        ('m', 1_000_000),
        ('S', 1_000_000_000),
        ('M', 60_000_000_000),
        ('H', 3_600_000_000_000),
    ];
    let ns = timeout.as_nanos();
    for (unit, unit_ns) in UNITS {
        let value = ns.div_ceil(unit_ns);
        if value < 100_000_000 {
            return format!("{value}{unit}");
        }
    }
    "99999999H".to_string()
}
