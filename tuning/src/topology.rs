//! The CPUs this process may run on, as sysfs, cgroups (v1, v2 and both at once) and the affinity mask show them. Read
//! once at start. What cannot be read is taken as unlimited: a sandbox without sysfs must still get a server, on one
//! CPU if need be. A CPU we may not run on must never appear, because pinning to it fails.

use crate::mounts::{self, Mount};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Highest CPU number that is believed, so that a strange list cannot make us build a huge set. Linux builds end at
/// 8192.
const CPU_ID_MAX: usize = 8191;
/// Cgroup levels walked upwards; real ones are nested five or six deep.
const CGROUP_DEPTH_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    pub id: usize,
    /// Hyper-threads of one core share this number: the lowest CPU number of the core.
    pub core: usize,
    pub package: usize,
    /// NUMA node.
    pub node: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// Only CPUs we may run on, by number. Never empty.
    pub cpus: Vec<Cpu>,
    /// CPU time per time that the cgroups allow; `None`: no limit.
    pub quota_cpus: Option<f64>,
    /// CPUs of the machine that are switched on, ours or not.
    pub online_cpus: usize,
}

impl Topology {
    /// This machine and this process.
    pub fn of_this_process() -> Self {
        Self::read(Path::new("/"), affinity().as_ref())
    }

    /// As the files below `root` say (`/` outside of tests). `affinity`: the CPUs of the affinity mask, if known.
    pub fn read(root: &Path, affinity: Option<&BTreeSet<usize>>) -> Self {
        let sys_cpu = root.join("sys/devices/system/cpu");
        let online = read_cpu_list(&sys_cpu.join("online"))
            .or_else(|| affinity.cloned())
            .filter(|cpus| !cpus.is_empty())
            .unwrap_or_else(|| BTreeSet::from([0]));
        let cgroups = Cgroups::read(root);
        let mut allowed = online.clone();
        // Each limit that would leave nothing is inconsistent with the others, and skipped.
        for limit in cgroups.cpusets().iter().chain(affinity) {
            let both: BTreeSet<usize> = allowed.intersection(limit).copied().collect();
            if !both.is_empty() {
                allowed = both;
            }
        }
        let nodes = read_nodes(&root.join("sys/devices/system/node"));
        let cpus = allowed
            .iter()
            .map(|&id| {
                let topology = sys_cpu.join(format!("cpu{id}/topology"));
                let siblings = read_cpu_list(&topology.join("thread_siblings_list"));
                Cpu {
                    id,
                    core: siblings.and_then(|siblings| siblings.first().copied()).unwrap_or(id),
                    package: read_number(&topology.join("physical_package_id")).unwrap_or(0),
                    node: nodes.get(&id).copied().unwrap_or(0),
                }
            })
            .collect();
        Topology { cpus, quota_cpus: cgroups.quota_cpus(), online_cpus: online.len() }
    }

    /// Threads that can run at once: the CPUs, or the quota rounded down when that is less (a thread more than the
    /// quota pays for gets all of them throttled together, the raft thread included). At least 1.
    pub fn usable_cpus(&self) -> usize {
        let by_quota = self.quota_cpus.map_or(usize::MAX, |quota| quota as usize);
        self.cpus.len().min(by_quota).max(1)
    }

    /// Whether the quota, not the CPUs, is the narrower limit. Then the CPUs are shared with others.
    pub fn is_quota_bound(&self) -> bool {
        self.quota_cpus.is_some_and(|quota| quota < self.cpus.len() as f64)
    }
}

/// The affinity mask of this process; `None` where it cannot be had (more CPUs than the mask type holds).
pub fn affinity() -> Option<BTreeSet<usize>> {
    let mask = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).ok()?;
    Some((0..nix::sched::CpuSet::count()).filter(|&cpu| mask.is_set(cpu).unwrap_or(false)).collect())
}

/// Reads `0-3,8,10-11`. `None` when it is no such list; an empty one is an empty set.
pub fn parse_cpu_list(text: &str) -> Option<BTreeSet<usize>> {
    let mut cpus = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > CPU_ID_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// Writes what `parse_cpu_list` reads.
pub fn format_cpu_list(cpus: &BTreeSet<usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match runs.last_mut() {
            Some(run) if run.1 + 1 == cpu => run.1 = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let parts =
        runs.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    parts.collect::<Vec<_>>().join(",")
}

fn read_cpu_list(path: &Path) -> Option<BTreeSet<usize>> {
    parse_cpu_list(&fs::read_to_string(path).ok()?)
}

fn read_number(path: &Path) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn read_nodes(dir: &Path) -> BTreeMap<usize, usize> {
    let mut nodes = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node")).and_then(|number| number.parse().ok());
        if let (Some(number), Some(cpus)) = (number, read_cpu_list(&entry.path().join("cpulist"))) {
            nodes.extend(cpus.into_iter().map(|cpu| (cpu, number)));
        }
    }
    nodes
}

/// The directories of our own cgroups, own first, up to what is mounted. Empty where the controller is not mounted.
struct Cgroups {
    v2: Vec<PathBuf>,
    v1_cpuset: Vec<PathBuf>,
    v1_cpu: Vec<PathBuf>,
}

impl Cgroups {
    fn read(root: &Path) -> Self {
        let mounts = mounts::parse(&fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default());
        let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let v1 = |controller: &str| {
            let mount = mounts.iter().find(|mount| mount.fs_type == "cgroup" && mount.has_super_option(controller));
            levels(root, mount, own_path(&own, controller))
        };
        let v2 = mounts.iter().find(|mount| mount.fs_type == "cgroup2");
        Cgroups { v2: levels(root, v2, own_path(&own, "")), v1_cpuset: v1("cpuset"), v1_cpu: v1("cpu") }
    }

    /// The CPU sets that bind us. The nearest level that has one decides: it lies within those above it.
    fn cpusets(&self) -> Vec<BTreeSet<usize>> {
        let nearest = |levels: &[PathBuf]| {
            // The second name is v1's word for the first; the last is what was asked for, not what is granted.
            let files = ["cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"];
            let mut candidates = levels.iter().flat_map(|level| files.iter().map(move |file| level.join(file)));
            candidates.find_map(|path| read_cpu_list(&path).filter(|cpus| !cpus.is_empty()))
        };
        [nearest(&self.v2), nearest(&self.v1_cpuset)].into_iter().flatten().collect()
    }

    /// The tightest quota of all levels: each one binds.
    fn quota_cpus(&self) -> Option<f64> {
        let v2 = self.v2.iter().filter_map(|level| parse_quota(&fs::read_to_string(level.join("cpu.max")).ok()?));
        let v1 = self.v1_cpu.iter().filter_map(|level| {
            let quota = fs::read_to_string(level.join("cpu.cfs_quota_us")).ok()?;
            let period = fs::read_to_string(level.join("cpu.cfs_period_us")).ok()?;
            parse_quota(&format!("{} {}", quota.trim(), period.trim()))
        });
        v2.chain(v1).min_by(f64::total_cmp)
    }
}

/// `max 100000` and `-1 100000` are no limit, `150000 100000` is one and a half CPUs.
fn parse_quota(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace().map(|word| word.parse::<f64>().ok().filter(|number| *number > 0.0));
    let (quota_us, period_us) = (words.next()??, words.next()??);
    Some(quota_us / period_us)
}

/// Our path in the hierarchy of `controller`; the empty name is v2, whose line reads `0::/path`.
fn own_path<'a>(text: &'a str, controller: &str) -> Option<&'a Path> {
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|other| other == controller).then_some(Path::new(path))
    })
}

fn levels(root: &Path, mount: Option<&Mount>, own: Option<&Path>) -> Vec<PathBuf> {
    let (Some(mount), Some(own)) = (mount, own) else {
        return Vec::new();
    };
    // In a container the mount may show only our own group, or our path may start outside of it (`/../x`): then what is
    // mounted is all there is to see.
    let below = own
        .strip_prefix(&mount.root)
        .ok()
        .filter(|below| below.components().all(|part| matches!(part, Component::Normal(_))));
    let point = root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
    let below = below.unwrap_or(Path::new(""));
    below.ancestors().take(CGROUP_DEPTH_MAX).map(|part| point.join(part)).collect()
}
