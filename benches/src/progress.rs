//! How far a run is, on stderr and only if that is a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two drawings: often enough to look alive, rare enough to cost nothing.
const REDRAW: Duration = Duration::from_millis(200);

const BAR_COLUMNS: u64 = 50;

pub struct Progress {
    total: u64,
    start: Instant,
    next: Option<Instant>,
}

impl Progress {
    pub fn new(total: u64) -> Progress {
        let start = Instant::now();
        let shown = std::io::stderr().is_terminal() && total > 0;
        Progress { total, start, next: shown.then_some(start) }
    }

    /// Nothing is ever drawn.
    pub fn silent() -> Progress {
        Progress { total: 0, start: Instant::now(), next: None }
    }

    /// Looks at the clock and asks for the number only if somebody watches.
    pub fn update(&mut self, done: impl FnOnce() -> u64) {
        let Some(next) = self.next else { return };
        let now = Instant::now();
        if now >= next {
            self.draw(now, done());
            self.next = Some(now + REDRAW);
        }
    }

    pub fn finish(&mut self, done: u64) {
        if self.next.take().is_some() {
            self.draw(Instant::now(), done);
            let _ = std::io::stderr().write_all(b"\n");
        }
    }

    fn draw(&self, now: Instant, done: u64) {
        let filled = (done * BAR_COLUMNS / self.total).min(BAR_COLUMNS) as usize;
        let bar = format!("{}{}", "=".repeat(filled), " ".repeat(BAR_COLUMNS as usize - filled));
        let rate = done as f64 / now.duration_since(self.start).as_secs_f64().max(1e-9);
        let percent = done as f64 * 100.0 / self.total as f64;
        let line = format!("\r {done} / {} [{bar}] {percent:.2}% {rate:.0} p/s", self.total);
        // A progress bar is not worth failing for.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
