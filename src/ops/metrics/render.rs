//! The Prometheus text format, version 0.0.4. Pure.

use super::cells::Totals;
use super::table::{Kind, Row};
use std::fmt::Write;

/// Value of the Content-Type header of the answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Takes the samples of one row. HELP and TYPE are written before the first one.
pub struct Samples<'a> {
    out: &'a mut String,
    row: &'a Row,
    begun: bool,
}

impl<'a> Samples<'a> {
    pub fn new(out: &'a mut String, row: &'a Row) -> Samples<'a> {
        Samples { out, row, begun: false }
    }

    pub fn count(&mut self, labels: &[&str], value: u64) {
        self.plain(labels, &value.to_string());
    }

    pub fn int(&mut self, labels: &[&str], value: i64) {
        self.plain(labels, &value.to_string());
    }

    pub fn float(&mut self, labels: &[&str], value: f64) {
        self.plain(labels, &value.to_string());
    }

    fn plain(&mut self, labels: &[&str], value: &str) {
        assert!(
            matches!(self.row.kind, Kind::Counter | Kind::Gauge),
            "{}: a histogram has no single value",
            self.row.name
        );
        self.begin();
        self.series("", labels, None, value);
    }

    pub fn histogram(&mut self, labels: &[&str], totals: &Totals) {
        assert_eq!(self.row.kind, Kind::Histogram(totals.buckets), "{}: bounds as in the table", self.row.name);
        self.begin();
        for (i, count) in totals.cumulative.iter().enumerate() {
            let le = if i == totals.buckets.count { "+Inf".into() } else { seconds(totals.buckets.bound_ns(i)) };
            self.series("_bucket", labels, Some(&le), &count.to_string());
        }
        self.series("_sum", labels, None, &seconds(totals.sum_ns));
        self.series("_count", labels, None, &totals.count().to_string());
    }

    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let kind = match self.row.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let _ = writeln!(self.out, "# HELP {} {}", self.row.name, escape(self.row.help, false));
        let _ = writeln!(self.out, "# TYPE {} {kind}", self.row.name);
    }

    fn series(&mut self, suffix: &str, labels: &[&str], le: Option<&str>, value: &str) {
        assert_eq!(labels.len(), self.row.labels.len(), "{}: one value per label", self.row.name);
        self.out.push_str(self.row.name);
        self.out.push_str(suffix);
        let pairs = self.row.labels.iter().copied().zip(labels.iter().copied()).chain(le.map(|le| ("le", le)));
        let mut open = '{';
        for (name, text) in pairs {
            let _ = write!(self.out, "{open}{name}=\"{}\"", escape(text, true));
            open = ',';
        }
        if open == ',' {
            self.out.push('}');
        }
        self.out.push(' ');
        self.out.push_str(value);
        self.out.push('\n');
    }
}

fn seconds(ns: u64) -> String {
    (ns as f64 / 1e9).to_string()
}

fn escape(text: &str, quoted: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quoted => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::cells::{FROM_1_MS, Histogram};
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_labels_escaped() {
        let row = Row {
            name: "x_seconds",
            kind: Kind::Histogram(FROM_1_MS),
            labels: &["who"],
            help: "Back\\slash\nline \"kept\".",
            read: |_, _| {},
        };
        let histogram = Histogram::new(FROM_1_MS);
        histogram.observe_ns(1_500_000);
        histogram.observe_ns(20_000_000_000);
        let mut out = String::new();
        let mut samples = Samples::new(&mut out, &row);
        samples.histogram(&["a\"\\\n"], &histogram.read());
        samples.histogram(&["b"], &histogram.read());
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "# HELP x_seconds Back\\\\slash\\nline \"kept\".",
                "# TYPE x_seconds histogram",
                "x_seconds_bucket{who=\"a\\\"\\\\\\n\",le=\"0.001\"} 0",
                "x_seconds_bucket{who=\"a\\\"\\\\\\n\",le=\"0.002\"} 1",
            ]
        );
        assert_eq!(lines[15], "x_seconds_bucket{who=\"a\\\"\\\\\\n\",le=\"8.192\"} 1");
        assert_eq!(lines[16], "x_seconds_bucket{who=\"a\\\"\\\\\\n\",le=\"+Inf\"} 2");
        assert_eq!(
            lines[17..19],
            ["x_seconds_sum{who=\"a\\\"\\\\\\n\"} 20.0015", "x_seconds_count{who=\"a\\\"\\\\\\n\"} 2"]
        );
        assert_eq!(out.matches("# TYPE").count(), 1);
    }
}
