//! The log: a `tracing` subscriber that writes lines as etcd's zap does. One per process, set up by `init` before any
//! thread that serves starts. Logging never blocks and never panics, whatever happens to the output.

pub mod line;
mod sink;

use crate::config::{Config, Level, LogFormat, LogOutput, LogSettings, Notice};
use serde_json::Value;
use sink::{Output, Sink};
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Longest wait for the writer when the process ends; a stuck output must not keep it alive.
const FLUSH_MS: u64 = 500;

static SINK: OnceLock<Sink> = OnceLock::new();

/// Sets the log up and writes what the configuration has to say. Fails when a file of `--log-outputs` cannot be opened or
/// a log was set up before.
pub fn init(config: &Config) -> io::Result<()> {
    let sink = Sink::start(open(&config.log)?)?;
    let layer = ZapLayer { sink: sink.clone(), min: config.log.level, shape: Shape::of(&config.log) };
    for notice in &config.notices {
        layer.notice(notice);
    }
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    let _ = SINK.set(sink);
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // The lines before a panic say why it happened.
        flush();
        default_hook(info);
    }));
    Ok(())
}

/// Waits for lines still on their way; call before the process ends.
pub fn flush() {
    if let Some(sink) = SINK.get() {
        sink.flush(Duration::from_millis(FLUSH_MS));
    }
}

/// Five lines for a person who just started a server: where the data is, where clients connect, which thread does what,
/// what to try, how to stop. `None` unless standard error is a terminal.
pub fn banner(config: &Config, core_plan: &str) -> Option<String> {
    io::stderr().is_terminal().then(|| banner_text(config, core_plan))
}

fn banner_text(config: &Config, core_plan: &str) -> String {
    let clients = config.listen_client_urls.iter().map(|url| url.as_str()).collect::<Vec<_>>().join(" ");
    let endpoint = match config.listen_client_urls.first() {
        Some(url) if url.as_str() != "http://localhost:2379" => format!(" --endpoints={url}"),
        _ => String::new(),
    };
    format!(
        "etcd {}  data     {}\n            clients  {clients}\n            cores    {core_plan}\n            \
         try      etcdctl{endpoint} put greeting hello\n            stop     Ctrl-C\n",
        env!("CARGO_PKG_VERSION"),
        config.data_dir.display(),
    )
}

fn open(settings: &LogSettings) -> io::Result<Vec<Output>> {
    let open_one = |output: &LogOutput| match output {
        LogOutput::Stderr => Ok(Output::Stderr),
        LogOutput::Stdout => Ok(Output::Stdout),
        LogOutput::File(path) => Output::file(path)
            .map_err(|error| io::Error::new(error.kind(), format!("--log-outputs: {}: {error}", path.display()))),
    };
    settings.outputs.iter().map(open_one).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Json,
    Console { colour: bool },
}

impl Shape {
    fn of(settings: &LogSettings) -> Shape {
        let only_stderr = settings.outputs == [LogOutput::Stderr];
        let terminal = only_stderr && io::stderr().is_terminal();
        Shape::choose(settings.format, terminal)
    }

    fn choose(format: Option<LogFormat>, terminal: bool) -> Shape {
        match format {
            Some(LogFormat::Json) => Shape::Json,
            None if !terminal => Shape::Json,
            Some(LogFormat::Console) | None => Shape::Console { colour: terminal },
        }
    }
}

struct ZapLayer {
    sink: Sink,
    min: Level,
    shape: Shape,
}

impl ZapLayer {
    fn emit(&self, level: Level, caller: &str, msg: &str, fields: &line::Fields) {
        let now = SystemTime::now();
        self.sink.push(match self.shape {
            Shape::Json => line::json(now, level.name(), caller, msg, fields),
            Shape::Console { colour } => line::console(now, level.name(), caller, msg, fields, colour),
        });
    }

    fn notice(&self, notice: &Notice) {
        if notice.level >= self.min {
            let fields: Vec<(String, Value)> =
                notice.fields.iter().map(|(name, value)| (name.to_string(), Value::from(value.as_str()))).collect();
            self.emit(notice.level, &line::caller(file!(), line!()), notice.msg, &fields);
        }
    }
}

fn level_of(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        _ => Level::Debug,
    }
}

impl<S: Subscriber> Layer<S> for ZapLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // zap has nothing below debug.
        *metadata.level() != tracing::Level::TRACE && level_of(*metadata.level()) >= self.min
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.min {
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error => LevelFilter::ERROR,
            Level::Panic | Level::Fatal => LevelFilter::OFF,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut seen = Collected::default();
        event.record(&mut seen);
        let metadata = event.metadata();
        let caller = line::caller(metadata.file().unwrap_or("unknown"), metadata.line().unwrap_or(0));
        self.emit(level_of(*metadata.level()), &caller, &seen.msg, &seen.fields);
    }
}

/// The fields of one event, each with its type.
#[derive(Default)]
struct Collected {
    msg: String,
    fields: Vec<(String, Value)>,
}

impl Collected {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), &value) {
            ("message", Value::String(text)) => self.msg.clone_from(text),
            (name, _) => self.fields.push((name.to_string(), value)),
        }
    }
}

impl Visit for Collected {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN and no infinity; zap writes them as text.
        let value = if value.is_finite() { Value::from(value) } else { Value::from(value.to_string()) };
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, value.to_string().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        // A list of texts or numbers (`?urls`) prints like a JSON array and is logged as one.
        let list = (text.starts_with('[') && field.name() != "message")
            .then(|| serde_json::from_str::<Vec<Value>>(&text).ok())
            .flatten();
        self.add(field, list.map_or_else(|| Value::from(text), Value::Array));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn logged(name: &str, min: Level, shape: Shape, work: impl FnOnce()) -> String {
        let path: PathBuf = std::env::temp_dir().join(format!("etcd-uring-log-{name}-{}", std::process::id()));
        let sink = Sink::start(vec![Output::file(&path).unwrap()]).unwrap();
        let layer = ZapLayer { sink: sink.clone(), min, shape };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        sink.flush(Duration::from_secs(30));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        text
    }

    #[test]
    fn events_become_zap_lines() {
        let urls = vec!["http://a:1".to_string(), "http://b:2".into()];
        let text = logged("json", Level::Info, Shape::Json, || {
            tracing::debug!("hidden");
            tracing::info!(
                "data-dir" = "d\"x",
                took_ms = 12_u64,
                ratio = 0.5,
                odd = f64::NAN,
                ok = true,
                delta = -3_i64,
                client_urls = ?urls,
                error = %"[not a list",
                "serving {}",
                "clients"
            );
        });
        let value: Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let names: Vec<&str> =
            text.match_indices("\":").map(|(at, _)| text[..at].rsplit('"').next().unwrap()).collect();
        assert_eq!(
            names,
            [
                "level",
                "ts",
                "caller",
                "msg",
                "data-dir",
                "took_ms",
                "ratio",
                "odd",
                "ok",
                "delta",
                "client_urls",
                "error"
            ]
        );
        assert_eq!(value["level"], "info");
        assert_eq!(value["msg"], "serving clients");
        assert_eq!(value["data-dir"], "d\"x");
        assert_eq!(value["took_ms"], 12);
        assert_eq!(value["ratio"], 0.5);
        assert_eq!(value["odd"], "NaN");
        assert_eq!(value["ok"], true);
        assert_eq!(value["delta"], -3);
        assert_eq!(value["client_urls"], serde_json::json!(["http://a:1", "http://b:2"]));
        assert_eq!(value["error"], "[not a list");
        assert!(value["caller"].as_str().unwrap().starts_with("log/mod.rs:"));
    }

    #[test]
    fn levels_filter() {
        for (min, lines) in
            [(Level::Debug, 4), (Level::Info, 3), (Level::Warn, 2), (Level::Error, 1), (Level::Fatal, 0)]
        {
            let text = logged(min.name(), min, Shape::Console { colour: false }, || {
                tracing::trace!("t");
                tracing::debug!("d");
                tracing::info!("i");
                tracing::warn!("w");
                tracing::error!("e");
            });
            assert_eq!(text.lines().count(), lines, "{min:?}: {text}");
        }
    }

    #[test]
    fn shapes_follow_the_terminal() {
        for (format, terminal, expect) in [
            (None, false, Shape::Json),
            (None, true, Shape::Console { colour: true }),
            (Some(LogFormat::Json), true, Shape::Json),
            (Some(LogFormat::Console), true, Shape::Console { colour: true }),
            (Some(LogFormat::Console), false, Shape::Console { colour: false }),
        ] {
            assert_eq!(Shape::choose(format, terminal), expect);
        }
    }

    #[test]
    fn banner_says_where_and_what_to_try() {
        let args = [
            "etcd",
            "--data-dir=/nowhere/d",
            "--listen-client-urls=http://127.0.0.1:5",
            "--advertise-client-urls=http://127.0.0.1:5",
        ];
        let config = crate::config::load(args.map(String::from), []).unwrap();
        let text = banner_text(&config, "one thread");
        assert_eq!(text.lines().count(), 5);
        for part in ["/nowhere/d", "http://127.0.0.1:5", "one thread", "put greeting hello", "Ctrl-C"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
