//! The mount table of this process, as `/proc/self/mountinfo` words it. Read once by whoever asks; a line that cannot
//! be understood is skipped, never an error: containers show odd ones.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Which directory of the file system is mounted: not `/` for bind mounts and inside containers.
    pub root: PathBuf,
    pub point: PathBuf,
    pub fs_type: String,
    pub super_options: String,
}

impl Mount {
    pub fn has_super_option(&self, option: &str) -> bool {
        self.super_options.split(',').any(|other| other == option)
    }
}

pub(crate) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue`: any number of fields before ` -
/// `.
fn parse_line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let fs_type = right.next()?.to_string();
    let super_options = right.nth(1).unwrap_or("").to_string();
    Some(Mount { root: unescape(root), point: unescape(point), fs_type, super_options })
}

/// Blanks, tabs, newlines and backslashes stand as three octal digits behind a backslash.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if bytes[at] == b'\\' => {
                out.push(byte);
                at += 4;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// The mount that holds `path` (absolute, without links): the deepest point, and of several on one point the last.
pub(crate) fn holding<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts.iter().filter(|mount| path.starts_with(&mount.point)).max_by_key(|mount| mount.point.components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
1 0 8:1 / / rw - ext4 /dev/sda1 rw,errors=remount-ro
2 1 0:5 / /proc rw,nosuid shared:12 master:1 - proc proc rw
3 1 8:2 /deep/er /with\\040blank rw - xfs /dev/sdb rw
nonsense
4 1 0:6 / /proc rw - tmpfs none
5 3 0:7 / /with\\040blank/in rw - btrfs /dev/sdc rw,subvol=/x
";

    #[test]
    fn lines_and_the_holder_of_a_path() {
        let mounts = parse(TABLE);
        assert_eq!(mounts.len(), 5);
        assert_eq!(mounts[2].root, Path::new("/deep/er"));
        assert!(mounts[4].has_super_option("subvol=/x") && !mounts[4].has_super_option("subvol"));
        let rows = [
            ("/", "ext4"),
            ("/proc/1", "tmpfs"),
            ("/procedure", "ext4"),
            ("/with blank/a", "xfs"),
            ("/with blank/in", "btrfs"),
        ];
        for (path, fs_type) in rows {
            assert_eq!(holding(&mounts, Path::new(path)).map(|mount| &mount.fs_type[..]), Some(fs_type), "{path}");
        }
    }
}
