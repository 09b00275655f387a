//! The data directory at start: is it ours, can it be used, is this a first start or a restart. Creates the directories;
//! never writes into, moves or removes anything that was there.

use crate::config::{Config, holds_wal};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Permissions of every directory, etcd's since CVE-2020-15113: values are readable in the files.
const DIR_MODE: u32 = 0o700;

/// Names a fresh data directory may hold: certificates made by etcd, and what file systems put in their root.
const HARMLESS: [&str; 2] = ["fixtures", "lost+found"];

/// Most foreign names shown in a message.
const NAMES_SHOWN_MAX: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// No log yet: begin a cluster as `Config::bootstrap` says.
    New,
    /// There is a log: it decides, the initial-* flags do not.
    Restart,
}

/// A data directory that can be used.
#[derive(Debug)]
pub struct DataDir {
    pub start: Start,
    pub path: PathBuf,
    pub wal: PathBuf,
    pub snap: PathBuf,
    /// For the log, with message `check file permission` or `found invalid file under data directory`.
    pub warnings: Vec<Warning>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Warning {
    /// Others may read the directory; the text is etcd's.
    Permission(String),
    /// A name in the data directory that etcd does not know.
    Foreign(String),
}

/// Why a data directory cannot be used. The text says what to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    NotADirectory(PathBuf),
    /// What was tried, where, and the system's error.
    Io(&'static str, PathBuf, io::ErrorKind, String),
    NotOurs(PathBuf, Vec<String>),
    Proxy(PathBuf),
    Database(PathBuf),
    /// Snapshots without a log.
    NoLog(PathBuf, PathBuf),
    /// The log is in the usual place but `--wal-dir` points elsewhere.
    LogElsewhere(PathBuf, PathBuf),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotADirectory(path) => {
                write!(f, "{} is not a directory: move it away or choose another --data-dir", path.display())
            }
            Refusal::Io(what, path, io::ErrorKind::PermissionDenied, error) => write!(
                f,
                "cannot {what} {}: {error}; give the directory to the user that runs etcd (chown) or choose another \
                 --data-dir",
                path.display()
            ),
            Refusal::Io(what, path, _, error) => write!(f, "cannot {what} {}: {error}", path.display()),
            Refusal::NotOurs(path, names) => write!(
                f,
                "{} holds other files ({}) and no etcd data: choose an empty directory with --data-dir",
                path.display(),
                names.join(", ")
            ),
            Refusal::Proxy(path) => write!(
                f,
                "{} belongs to a v2 proxy, which no longer exists: use 'etcd gateway' or 'etcd grpc-proxy', or choose \
                 another --data-dir",
                path.display()
            ),
            Refusal::Database(path) => write!(
                f,
                "this build cannot read the database file yet: {} was written by another etcd; start that etcd, or \
                 choose an empty --data-dir",
                path.display()
            ),
            Refusal::NoLog(snap, wal) => write!(
                f,
                "there are snapshots in {} but no log in {}: the log was moved or lost; point --wal-dir at it, or \
                 restore a backup into an empty --data-dir",
                snap.display(),
                wal.display()
            ),
            Refusal::LogElsewhere(found, wal) => write!(
                f,
                "the log of this member is in {}, but --wal-dir points at {}: move the files there, or leave --wal-dir \
                 out",
                found.display(),
                wal.display()
            ),
        }
    }
}

impl std::error::Error for Refusal {}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Refusal {
    let path = path.to_path_buf();
    move |error| Refusal::Io(what, path, error.kind(), error.to_string())
}

/// Checks the data directory, creates what is missing and says which start this is.
pub fn open(config: &Config) -> Result<DataDir, Refusal> {
    let (path, wal, snap) = (config.data_dir.clone(), config.wal_path(), config.snap_path());
    let mut warnings = Vec::new();
    for dir in [&path, &path.join("member"), &wal, &snap] {
        inspect(dir, &mut warnings)?;
    }
    contents(&path, &mut warnings)?;
    let start = if holds_wal(&wal) { Start::Restart } else { Start::New };
    if snap.join("db").exists() {
        return Err(Refusal::Database(snap.join("db")));
    }
    if start == Start::New {
        let usual = path.join("member/wal");
        if wal != usual && holds_wal(&usual) {
            return Err(Refusal::LogElsewhere(usual, wal));
        }
        if holds_ending(&snap, "snap") {
            return Err(Refusal::NoLog(snap, wal));
        }
    }
    for dir in [&path, &path.join("member"), &wal, &snap] {
        create(dir)?;
        writable(dir)?;
    }
    Ok(DataDir { start, path, wal, snap, warnings })
}

/// A directory that exists must be one, and should be closed to others.
fn inspect(dir: &Path, warnings: &mut Vec<Warning>) -> Result<(), Refusal> {
    let meta = match fs::metadata(dir) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(Refusal::NotADirectory(dir.parent().unwrap_or(dir).to_path_buf()));
        }
        Err(error) => return Err(failed("look at", dir)(error)),
    };
    if !meta.is_dir() {
        return Err(Refusal::NotADirectory(dir.to_path_buf()));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode != DIR_MODE {
        warnings.push(Warning::Permission(format!(
            "directory \"{}\" exist, but the permission is \"d{}\". The recommended permission is \"-{}\" to prevent \
             possible unprivileged access to the data",
            dir.display(),
            rwx(mode),
            rwx(DIR_MODE)
        )));
    }
    Ok(())
}

/// `rwxr-xr-x`
fn rwx(mode: u32) -> String {
    (0..9).map(|i| if mode & (0o400 >> i) == 0 { '-' } else { ['r', 'w', 'x'][i % 3] }).collect()
}

/// Other people's files next to a member's are warned about, as in etcd; alone they mean a wrong --data-dir.
fn contents(dir: &Path, warnings: &mut Vec<Warning>) -> Result<(), Refusal> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed("read", dir))?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    if names.iter().any(|name| name == "proxy") {
        return Err(Refusal::Proxy(dir.to_path_buf()));
    }
    let ours = names.iter().any(|name| name == "member");
    let foreign: Vec<String> = names
        .into_iter()
        .filter(|name| name != "member" && !name.starts_with('.') && !HARMLESS.contains(&name.as_str()))
        .collect();
    if !ours && !foreign.is_empty() {
        let shown = foreign.into_iter().take(NAMES_SHOWN_MAX).collect();
        return Err(Refusal::NotOurs(dir.to_path_buf(), shown));
    }
    warnings.extend(foreign.into_iter().map(Warning::Foreign));
    Ok(())
}

fn holds_ending(dir: &Path, ending: &str) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| entry.path().extension() == Some(OsStr::new(ending)))
}

/// Creates a directory and makes its name durable in its parent.
fn create(dir: &Path) -> Result<(), Refusal> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).map_err(failed("create", dir))?;
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed("sync", parent))
}

/// Writing and removing a file is the only test that counts: permissions do not know of read-only mounts.
fn writable(dir: &Path) -> Result<(), Refusal> {
    let probe = dir.join(".touch");
    fs::write(&probe, b"").map_err(failed("write to", dir))?;
    fs::remove_file(&probe).map_err(failed("write to", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A directory of its own for each test, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("etcd-uring-data-dir-{}-{next}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        /// Makes files (and, with a `/` at the end, directories) below the scratch directory.
        fn with(self, names: &[&str]) -> Scratch {
            for name in names {
                let path = self.0.join(name);
                let dir = if name.ends_with('/') { &path } else { path.parent().unwrap() };
                DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).unwrap();
                if !name.ends_with('/') {
                    fs::write(&path, b"x").unwrap();
                }
            }
            self
        }

        fn config(&self, more: &[&str]) -> Config {
            let data = format!("--data-dir={}", self.0.join("d").display());
            let args = ["etcd", &data].into_iter().chain(more.iter().copied()).map(String::from);
            crate::config::load(args, []).unwrap()
        }

        fn open(&self) -> Result<DataDir, Refusal> {
            open(&self.config(&[]))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_first_start_makes_private_directories() {
        let scratch = Scratch::new();
        let dir = scratch.open().unwrap();
        assert_eq!(dir.start, Start::New);
        assert!(dir.warnings.is_empty());
        for path in [&dir.path, &dir.path.join("member"), &dir.wal, &dir.snap] {
            let meta = fs::metadata(path).unwrap();
            assert_eq!((meta.is_dir(), meta.permissions().mode() & 0o777), (true, 0o700), "{}", path.display());
            let names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(!names.contains(&".touch".into()));
        }
        assert_eq!(scratch.open().unwrap().start, Start::New, "empty directories are still a first start");
    }

    #[test]
    fn a_log_makes_it_a_restart() {
        let scratch = Scratch::new().with(&["d/member/wal/0000000000000000-0000000000000000.wal"]);
        assert_eq!(scratch.open().unwrap().start, Start::Restart);
        let scratch = Scratch::new().with(&["d/member/wal/0.tmp"]);
        assert_eq!(scratch.open().unwrap().start, Start::New);
        let scratch = Scratch::new().with(&["w/0-0.wal"]);
        let wal = format!("--wal-dir={}", scratch.0.join("w").display());
        assert_eq!(open(&scratch.config(&[&wal])).unwrap().start, Start::Restart);
    }

    #[test]
    fn refusals_lead_on() {
        for (names, words) in [
            (&["d"][..], "is not a directory: move it away"),
            (&["d/member"][..], "is not a directory"),
            (&["d/member/wal"][..], "is not a directory"),
            (&["d/notes.txt", "d/photos/"][..], "holds other files (notes.txt, photos) and no etcd data"),
            (&["d/proxy/"][..], "belongs to a v2 proxy"),
            (&["d/member/snap/db"][..], "this build cannot read the database file yet"),
            (&["d/member/snap/0-1.snap"][..], "no log in"),
        ] {
            let error = Scratch::new().with(names).open().unwrap_err().to_string();
            assert!(error.contains(words), "{names:?}: {error}");
        }
        let scratch = Scratch::new().with(&["d/member/wal/0-0.wal", "w/"]);
        let wal = format!("--wal-dir={}", scratch.0.join("w").display());
        let error = open(&scratch.config(&[&wal])).unwrap_err().to_string();
        assert!(error.contains("but --wal-dir points at"), "{error}");
        let denied = Refusal::Io("write to", "/x".into(), io::ErrorKind::PermissionDenied, "denied".into());
        assert!(denied.to_string().contains("chown"));
    }

    #[test]
    fn a_refusal_changes_nothing() {
        let scratch = Scratch::new().with(&["d/notes.txt"]);
        scratch.open().unwrap_err();
        assert_eq!(fs::read_dir(scratch.0.join("d")).unwrap().count(), 1);
    }

    #[test]
    fn warnings() {
        let scratch = Scratch::new().with(&["d/member/", "d/odd", "d/.hidden", "d/lost+found/"]);
        fs::set_permissions(scratch.0.join("d"), fs::Permissions::from_mode(0o755)).unwrap();
        let warnings = scratch.open().unwrap().warnings;
        let path = scratch.0.join("d");
        let text = format!(
            "directory \"{}\" exist, but the permission is \"drwxr-xr-x\". The recommended permission is \
             \"-rwx------\" to prevent possible unprivileged access to the data",
            path.display()
        );
        assert_eq!(warnings, [Warning::Permission(text), Warning::Foreign("odd".into())]);
        let fresh = Scratch::new().with(&["d/lost+found/", "d/.keep"]);
        assert_eq!(fresh.open().unwrap().start, Start::New);
    }
}
