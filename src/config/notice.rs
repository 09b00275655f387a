//! Something to log that is found out before there is a log. `ops::log::init` writes them first.

/// Levels as zap names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
    Panic,
    Fatal,
}

impl Level {
    /// Reads `--log-level`; zap also takes upper case and `dpanic`.
    pub fn parse(raw: &str) -> Option<Level> {
        match raw {
            "debug" | "DEBUG" => Some(Level::Debug),
            "info" | "INFO" | "" => Some(Level::Info),
            "warn" | "WARN" => Some(Level::Warn),
            "error" | "ERROR" => Some(Level::Error),
            "dpanic" | "DPANIC" | "panic" | "PANIC" => Some(Level::Panic),
            "fatal" | "FATAL" => Some(Level::Fatal),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Panic => "panic",
            Level::Fatal => "fatal",
        }
    }
}

/// One log line to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub level: Level,
    pub msg: &'static str,
    pub fields: Vec<(&'static str, String)>,
}

impl Notice {
    pub fn new(level: Level, msg: &'static str) -> Notice {
        Notice { level, msg, fields: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Notice {
        self.fields.push((name, value.into()));
        self
    }
}
