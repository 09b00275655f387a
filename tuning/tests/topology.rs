//! Topologies of made-up machines: each case writes the files that sysfs, procfs and cgroups would show below a root of
//! its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use tuning::topology::{Topology, format_cpu_list, parse_cpu_list};

struct Machine {
    root: PathBuf,
}

impl Machine {
    /// A root with these files, each `path: content`, one per line.
    fn new(files: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("topology-test-{}-{number}", std::process::id()));
        for line in files.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            let (path, content) = line.split_once(": ").expect("path: content");
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("a temporary directory");
            fs::write(path, content.replace('|', "\n") + "\n").expect("a temporary file");
        }
        Machine { root }
    }

    fn read(&self, affinity: Option<&str>) -> Topology {
        Topology::read(&self.root, affinity.map(|list| parse_cpu_list(list).expect("a list")).as_ref())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.root);
    }
}

fn ids(topology: &Topology) -> String {
    format_cpu_list(&topology.cpus.iter().map(|cpu| cpu.id).collect())
}

fn check(name: &str, files: &str, affinity: Option<&str>, cpus: &str, quota_cpus: Option<f64>) {
    let topology = Machine::new(files).read(affinity);
    assert_eq!((ids(&topology).as_str(), topology.quota_cpus), (cpus, quota_cpus), "{name}");
}

const V2: &str = "proc/self/mountinfo: 1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup rw
    sys/devices/system/cpu/online: 0-7";
const V1: &str =
    "proc/self/mountinfo: 1 0 0:1 / /cg/cpuset rw - cgroup c rw,cpuset|2 0 0:2 / /cg/cpu rw - cgroup c rw,cpuacct,cpu
    sys/devices/system/cpu/online: 0-7";

#[test]
fn limits() {
    check("nothing to read", "", None, "0", None);
    check("only an affinity", "", Some("2-3"), "2-3", None);
    check("no cgroups", "sys/devices/system/cpu/online: 0-2,5", None, "0-2,5", None);
    check("affinity", "sys/devices/system/cpu/online: 0-7", Some("1,6-9"), "1,6-7", None);
    check("inconsistent", "sys/devices/system/cpu/online: 0-3", Some("8-9"), "0-3", None);
    check("garbage", "sys/devices/system/cpu/online: 0-x", Some("1"), "1", None);
    check("absurd", "sys/devices/system/cpu/online: 0-99999999999", Some("1"), "1", None);
}

#[test]
fn cgroup_v2() {
    let with = |more: &str| format!("{V2}\n{more}");
    check("own", &with("proc/self/cgroup: 0::/a/b\nsys/fs/cgroup/a/b/cpuset.cpus.effective: 2-3"), None, "2-3", None);
    check("parent", &with("proc/self/cgroup: 0::/a/b\nsys/fs/cgroup/a/cpuset.cpus.effective: 4"), None, "4", None);
    check(
        "mount",
        &with("proc/self/cgroup: 0::/a/b\nsys/fs/cgroup/cpuset.cpus.effective: 1,5"),
        Some("0-3"),
        "1",
        None,
    );
    let both = "proc/self/cgroup: 0::/a\nsys/fs/cgroup/a/cpuset.cpus.effective: 2\nsys/fs/cgroup/a/cpuset.cpus: 2-3";
    check("effective first", &with(both), None, "2", None);
    check("wish only", &with("proc/self/cgroup: 0::/a\nsys/fs/cgroup/a/cpuset.cpus: 2-3"), None, "2-3", None);
    let empty = "proc/self/cgroup: 0::/a\nsys/fs/cgroup/a/cpuset.cpus: \nsys/fs/cgroup/cpuset.cpus.effective: 6";
    check("empty is unset", &with(empty), None, "6", None);
    check("outside", &with("proc/self/cgroup: 0::/../x\nsys/fs/cgroup/cpuset.cpus.effective: 6"), None, "6", None);
    let bind = "proc/self/mountinfo: 1 0 0:1 /pod/c /sys/fs/cgroup rw - cgroup2 cgroup rw
        proc/self/cgroup: 0::/pod/c/d
        sys/devices/system/cpu/online: 0-7
        sys/fs/cgroup/d/cpu.max: 50000 100000";
    check("part of the tree is mounted", bind, None, "0-7", Some(0.5));
    check("no quota", &with("proc/self/cgroup: 0::/a\nsys/fs/cgroup/a/cpu.max: max 100000"), None, "0-7", None);
    check("quota", &with("proc/self/cgroup: 0::/a\nsys/fs/cgroup/a/cpu.max: 150000 100000"), None, "0-7", Some(1.5));
    let nested =
        "proc/self/cgroup: 0::/a/b\nsys/fs/cgroup/a/b/cpu.max: 400000 100000\nsys/fs/cgroup/a/cpu.max: 20000 10000";
    check("the tightest quota binds", &with(nested), None, "0-7", Some(2.0));
    for odd in ["", "100000", "0 100000", "100000 0", "x y", "-5 100000"] {
        check(odd, &with(&format!("proc/self/cgroup: 0::/a\nsys/fs/cgroup/a/cpu.max: {odd}")), None, "0-7", None);
    }
}

#[test]
fn cgroup_v1_and_hybrid() {
    let with = |more: &str| format!("{V1}\nproc/self/cgroup: 5:cpuset:/k/p|4:cpu,cpuacct:/k|0::/\n{more}");
    check("nothing set", &with(""), None, "0-7", None);
    check("set", &with("cg/cpuset/k/p/cpuset.cpus: 1-2"), None, "1-2", None);
    check(
        "effective",
        &with("cg/cpuset/k/p/cpuset.cpus: 1-2\ncg/cpuset/k/p/cpuset.effective_cpus: 1"),
        None,
        "1",
        None,
    );
    check("walks up", &with("cg/cpuset/k/cpuset.cpus: 3"), None, "3", None);
    let quota = "cg/cpu/k/cpu.cfs_quota_us: 250000\ncg/cpu/k/cpu.cfs_period_us: 100000";
    check("quota", &with(quota), None, "0-7", Some(2.5));
    let none = "cg/cpu/k/cpu.cfs_quota_us: -1\ncg/cpu/k/cpu.cfs_period_us: 100000";
    check("no quota", &with(none), None, "0-7", None);
    let own = "cg/cpu/cpu.cfs_quota_us: 100000\ncg/cpu/cpu.cfs_period_us: 100000";
    check("quota above", &with(&format!("{quota}\n{own}")), None, "0-7", Some(1.0));
    let hybrid =
        "proc/self/mountinfo: 1 0 0:1 / /cg/cpuset rw - cgroup c rw,cpuset|2 0 0:2 / /cg/unified rw - cgroup2 c rw
        sys/devices/system/cpu/online: 0-7
        proc/self/cgroup: 5:cpuset:/k|0::/u
        cg/cpuset/k/cpuset.cpus: 0-5
        cg/unified/u/cpuset.cpus.effective: 4-7
        cg/unified/u/cpu.max: 300000 100000";
    check("both hierarchies bind", hybrid, None, "4-5", Some(3.0));
}

#[test]
fn cores_packages_and_nodes() {
    let mut files = "sys/devices/system/cpu/online: 0-7\nsys/devices/system/node/node0/cpulist: 0-1,4-5
        sys/devices/system/node/node1/cpulist: 2-3,6-7\nsys/devices/system/node/possible: 0-1\n"
        .to_string();
    for id in 0..8 {
        let core = id % 4;
        let dir = format!("sys/devices/system/cpu/cpu{id}/topology");
        files += &format!("{dir}/thread_siblings_list: {core},{}\n{dir}/physical_package_id: {}\n", core + 4, core / 2);
    }
    let topology = Machine::new(&files).read(Some("1-7"));
    let rows: Vec<_> = topology.cpus.iter().map(|cpu| (cpu.id, cpu.core, cpu.package, cpu.node)).collect();
    let expect = [(1, 1, 0, 0), (2, 2, 1, 1), (3, 3, 1, 1), (4, 0, 0, 0), (5, 1, 0, 0), (6, 2, 1, 1), (7, 3, 1, 1)];
    assert_eq!(rows, expect);
    assert_eq!((topology.online_cpus, topology.usable_cpus()), (8, 7));
}

#[test]
fn lists() {
    let rows = [
        ("0", Some("0")),
        ("0-3,8,10-11\n", Some("0-3,8,10-11")),
        ("3,1,2", Some("1-3")),
        ("", Some("")),
        ("\n", Some("")),
    ];
    for (text, expect) in rows {
        assert_eq!(parse_cpu_list(text).as_ref().map(format_cpu_list).as_deref(), expect, "{text:?}");
    }
    for text in ["a", "1-", "-1", "3-1", "1-2-3", "9999999", "0-8192"] {
        assert_eq!(parse_cpu_list(text), None, "{text:?}");
    }
    assert_eq!(parse_cpu_list("0-8191").map(|cpus| cpus.len()), Some(8192));
}

#[test]
fn this_machine() {
    let topology = Topology::of_this_process();
    let mask = tuning::topology::affinity().expect("a mask");
    let cpus: BTreeSet<usize> = topology.cpus.iter().map(|cpu| cpu.id).collect();
    assert!(!cpus.is_empty() && cpus.is_subset(&mask), "{topology:?}");
    println!("{topology:?}\n{}", tuning::plan::Plan::new(&topology, None).describe());
}
