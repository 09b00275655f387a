//! Where log lines go: a bounded queue and one thread that writes. Whoever logs never waits for a disk, a pipe nobody
//! reads or a stopped terminal; when the queue is full, lines are dropped and counted, and the count is logged.

use super::line;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Bytes of lines waiting for the writer: minutes of normal logging, and small beside the store.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Longest line in bytes; more is cut. A request quoted in a log line may have megabytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// One place lines are written to.
pub enum Output {
    Stderr,
    Stdout,
    File(File),
}

impl Output {
    /// Opens a file for appending, as zap does.
    pub fn file(path: &PathBuf) -> io::Result<Output> {
        File::options().append(true).create(true).open(path).map(Output::File)
    }

    /// Errors are swallowed on purpose: a closed standard error must not take the server down.
    fn write(&mut self, bytes: &[u8]) {
        let _ = match self {
            Output::Stderr => io::stderr().write_all(bytes),
            Output::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Output::File(file) => file.write_all(bytes),
        };
    }
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<String>,
    bytes: usize,
    dropped_lines: u64,
    /// The writer has taken lines and not yet written them.
    writing: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    drained: Condvar,
}

impl Shared {
    /// A panic while the lock was held leaves the queue usable: every change to it is complete in itself.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending side; clones share one queue.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
}

impl Sink {
    /// Starts the writer. It lives as long as the process.
    pub fn start(outputs: Vec<Output>) -> io::Result<Sink> {
        let shared = Arc::new(Shared::default());
        let mine = shared.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || write_lines(&mine, outputs))?;
        Ok(Sink { shared })
    }

    /// Hands a finished line over; never waits for the writing.
    pub fn push(&self, mut text: String) {
        if text.len() > LINE_BYTES_MAX {
            let mut end = LINE_BYTES_MAX - 1;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('\n');
        }
        let mut queue = self.shared.lock();
        if queue.bytes + text.len() > QUEUE_BYTES_MAX {
            queue.dropped_lines += 1;
            return;
        }
        queue.bytes += text.len();
        queue.lines.push_back(text);
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Waits until everything handed over so far is written, at most this long.
    pub fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut queue = self.shared.lock();
        while !queue.lines.is_empty() || queue.writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self.shared.drained.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn write_lines(shared: &Shared, mut outputs: Vec<Output>) {
    // Signals belong to the thread that waits for them.
    let _ = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None);
    loop {
        let (lines, dropped_lines) = {
            let mut queue = shared.lock();
            while queue.lines.is_empty() {
                queue.writing = false;
                shared.drained.notify_all();
                queue = shared.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.writing = true;
            queue.bytes = 0;
            (std::mem::take(&mut queue.lines), std::mem::take(&mut queue.dropped_lines))
        };
        let mut text: String = lines.into_iter().collect();
        if dropped_lines > 0 {
            let fields = [("lines".to_string(), Value::from(dropped_lines))];
            let caller = line::caller(file!(), line!());
            text.push_str(&line::json(
                SystemTime::now(),
                "warn",
                &caller,
                "dropped log lines, the output is too slow",
                &fields,
            ));
        }
        for output in &mut outputs {
            output.write(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    #[test]
    fn a_reader_that_stops_costs_lines_and_not_time() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = Sink::start(vec![Output::File(File::from(OwnedFd::from(writer)))]).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        let lines = 4 * QUEUE_BYTES_MAX / line.len();
        for _ in 0..lines {
            sink.push(line.clone());
        }
        assert!(sink.shared.lock().dropped_lines > 0);
        sink.flush(Duration::from_millis(1));
        let mut seen = Vec::new();
        let mut chunk = vec![0; 1 << 16];
        let end = b"dropped log lines";
        while !seen.windows(end.len()).any(|window| window == end) {
            let n = reader.read(&mut chunk).unwrap();
            // The words may be cut by the end of a read: their beginning is kept.
            seen.drain(..seen.len().saturating_sub(end.len()));
            seen.extend_from_slice(&chunk[..n]);
            sink.push("more\n".into());
        }
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let path = std::env::temp_dir().join(format!("etcd-uring-sink-{}", std::process::id()));
        let sink = Sink::start(vec![Output::file(&path).unwrap()]).unwrap();
        sink.push("é".repeat(LINE_BYTES_MAX));
        sink.push("next\n".into());
        sink.flush(Duration::from_secs(30));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.ends_with("é\nnext\n"));
        assert!(text.len() <= LINE_BYTES_MAX + "next\n".len());
    }
}
