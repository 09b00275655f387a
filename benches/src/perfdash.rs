//! The percentiles of a run as a JSON file for perfdash, in the place and form etcd's tool gives it.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::report::Report;

/// Writes the file; the line to print about it.
pub fn write(report: &Report, operation: &str) -> String {
    let folder = std::env::var_os("ARTIFACTS").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| PathBuf::from("_artifacts"));
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let path = folder.join(format!("EtcdAPI_benchmark_{operation}_{}.json", utc(unix_s)));
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, json(report, operation)));
    match written {
        Ok(()) => format!("Successfully created a JSON perf report at {}\n", path.display()),
        Err(error) => format!("Error writing to file: {}: {error}\n", path.display()),
    }
}

fn json(report: &Report, operation: &str) -> String {
    let percentiles = report.percentiles_s();
    let ms = |percent: f64| {
        let found = percentiles.iter().find(|(p, _)| *p == percent).and_then(|(_, s)| *s);
        (found.unwrap_or(0.0) * 1000.0 * 10_000.0).round() / 10_000.0
    };
    let (p50, p90, p99) = (ms(50.0), ms(90.0), ms(99.0));
    let operation = operation.to_uppercase();
    format!(
        "{{\n  \"version\": \"v1\",\n  \"dataItems\": [\n    {{\n      \"data\": {{\n        \"Perc50\": {p50},\n        \
         \"Perc90\": {p90},\n        \"Perc99\": {p99}\n      }},\n      \"labels\": {{\n        \"Operation\": \
         \"{operation}\"\n      }},\n      \"unit\": \"ms\"\n    }}\n  ]\n}}"
    )
}

/// A time as `2006-01-02T15:04:05Z`.
fn utc(unix_s: u64) -> String {
    let (days, seconds) = (unix_s / 86_400, unix_s % 86_400);
    // Days are counted from 0000-03-01, so that the leap day ends a year; 146097 days are 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn times() {
        assert_eq!(super::utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(super::utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(super::utc(1_795_371_837), "2026-11-22T18:23:57Z");
    }
}
