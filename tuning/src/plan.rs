//! Gives roles to threads, from a topology: pure. Made once at start. There is always exactly one raft role, and every
//! shard number from 0 up appears once.

use crate::topology::{Cpu, Topology, format_cpu_list};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Shards at most: mailboxes and views are per pair of threads, and past this many the one raft thread is the limit
/// anyway.
pub const SHARDS_MAX: usize = 64;
/// CPUs from which threads are pinned and raft gets a core of its own. With fewer, a pinned raft thread is trapped
/// behind whatever else the kernel runs on its CPU.
pub const PINNED_CPUS_MIN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    pub raft: bool,
    /// The number of the shard this thread is.
    pub shard: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadPlan {
    /// At most 15 bytes: the kernel keeps no more.
    pub name: String,
    pub roles: Roles,
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
}

/// The raft thread comes first, then the shards in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub threads: Vec<ThreadPlan>,
}

/// What `--cores` asks for: `combined`, or `raft:1,shards:N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// One thread with both roles.
    Combined,
    /// A raft thread of its own and this many shards.
    Split { shards: usize },
}

/// Says what is wrong, and with which input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoresError(String);

impl fmt::Display for CoresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CoresError {}

impl FromStr for Cores {
    type Err = CoresError;

    fn from_str(input: &str) -> Result<Self, CoresError> {
        let error = |what: &str| {
            CoresError(format!(
                "invalid core plan {input:?}: {what} (expected \"combined\" or \"raft:1,shards:N\" with N from 1 to {SHARDS_MAX})"
            ))
        };
        if input == "combined" {
            return Ok(Cores::Combined);
        }
        let (mut raft, mut shards) = (None, None);
        for part in input.split(',') {
            let (role, count) = part.split_once(':').ok_or_else(|| error(&format!("{part:?} is not role:count")))?;
            let slot = match role {
                "raft" => &mut raft,
                "shards" => &mut shards,
                _ => return Err(error(&format!("unknown role {role:?}"))),
            };
            // Digits only: `parse` would also take a sign.
            let count = Some(count).filter(|count| count.bytes().all(|byte| byte.is_ascii_digit()));
            let count = count.and_then(|count| count.parse::<usize>().ok());
            let count = count.ok_or_else(|| error(&format!("{part:?} has no valid count")))?;
            if slot.replace(count).is_some() {
                return Err(error(&format!("{role:?} is given twice")));
            }
        }
        match (raft, shards) {
            (None, _) => Err(error("raft is missing")),
            (_, None) => Err(error("shards is missing")),
            (Some(1), Some(shards)) if (1..=SHARDS_MAX).contains(&shards) => Ok(Cores::Split { shards }),
            (Some(1), Some(_)) => Err(error("shards is out of range")),
            (Some(_), _) => Err(error("raft must be 1")),
        }
    }
}

impl Plan {
    /// `cores` overrides the number of threads; whether they are pinned still follows from the machine.
    pub fn new(topology: &Topology, cores: Option<Cores>) -> Self {
        let usable = topology.usable_cpus();
        let (is_combined, shards) = match cores {
            Some(Cores::Combined) => (true, 1),
            Some(Cores::Split { shards }) => (false, shards),
            None if usable < 3 => (true, 1),
            None if usable < PINNED_CPUS_MIN => (true, 2),
            None => (false, (usable - 1).min(SHARDS_MAX)),
        };
        assert!((1..=SHARDS_MAX).contains(&shards), "{shards} shards");
        let mut threads = Vec::new();
        if is_combined {
            threads.push(thread(true, Some(0)));
            threads.extend((1..shards).map(|shard| thread(false, Some(shard))));
        } else {
            threads.push(thread(true, None));
            threads.extend((0..shards).map(|shard| thread(false, Some(shard))));
        }
        // Under a quota the CPUs belong to others as well: pinned, we would wait for theirs while another one is free.
        let is_pinned = !is_combined
            && topology.cpus.len() >= PINNED_CPUS_MIN
            && threads.len() <= topology.cpus.len()
            && !topology.is_quota_bound();
        if is_pinned {
            for (thread, cpu) in threads.iter_mut().zip(pin_order(&topology.cpus)) {
                thread.cpu = Some(cpu);
            }
        }
        Plan { threads }
    }

    pub fn shards(&self) -> usize {
        self.threads.iter().filter(|thread| thread.roles.shard.is_some()).count()
    }

    /// One line for the log.
    pub fn describe(&self) -> String {
        let raft = &self.threads[0];
        let others = self.threads.len() - 1;
        let plural = if others == 1 { "" } else { "s" };
        let who =
            if raft.roles.shard.is_some() { "raft and shard 0 on one thread" } else { "raft on a thread of its own" };
        let more = if raft.roles.shard.is_some() { "further " } else { "" };
        let shards = if others == 0 { String::new() } else { format!(", {others} {more}shard{plural}") };
        let cpus: BTreeSet<usize> = self.threads[1..].iter().filter_map(|thread| thread.cpu).collect();
        let cpu_word = if cpus.len() == 1 { "CPU" } else { "CPUs" };
        match raft.cpu {
            Some(cpu) => format!("{who} (CPU {cpu}){shards} ({cpu_word} {})", format_cpu_list(&cpus)),
            None => format!("{who}{shards}, not pinned"),
        }
    }
}

fn thread(raft: bool, shard: Option<usize>) -> ThreadPlan {
    let name = match (raft, shard) {
        (true, Some(shard)) => format!("raft+shard-{shard}"),
        (true, None) => "raft".to_string(),
        (false, Some(shard)) => format!("shard-{shard}"),
        (false, None) => unreachable!("a thread has a role"),
    };
    assert!(name.len() <= 15, "thread name {name}");
    ThreadPlan { name, roles: Roles { raft, shard }, cpu: None }
}

/// CPU numbers in the order they are given out, raft's first. Raft takes the last core of the largest NUMA node, away
/// from CPU 0, where interrupts land by default. Then one hyper-thread of each core, near cores first, then the second
/// ones, and the other half of raft's core last of all.
fn pin_order(cpus: &[Cpu]) -> Vec<usize> {
    let node_cpus = |node: usize| cpus.iter().filter(|cpu| cpu.node == node).count();
    let thread_rank = |cpu: &Cpu| cpus.iter().filter(|other| other.core == cpu.core && other.id < cpu.id).count();
    let raft = cpus
        .iter()
        .filter(|cpu| thread_rank(cpu) == 0)
        .max_by_key(|cpu| (node_cpus(cpu.node), std::cmp::Reverse(cpu.node), cpu.id))
        .expect("a topology has a CPU");
    let mut others: Vec<&Cpu> = cpus.iter().filter(|cpu| cpu.id != raft.id).collect();
    others.sort_by_key(|cpu| {
        let is_far = (cpu.node != raft.node, cpu.package != raft.package);
        (cpu.core == raft.core, thread_rank(cpu), is_far, cpu.id)
    });
    std::iter::once(raft).chain(others).map(|cpu| cpu.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cores` cores of `threads` hyper-threads each, numbered as Linux does: all first threads, then all second ones.
    fn machine(cores: usize, threads: usize, nodes: usize) -> Topology {
        let node = |core: usize| core * nodes / cores;
        let cpu = |id: usize| Cpu { id, core: id % cores, package: node(id % cores), node: node(id % cores) };
        Topology { cpus: (0..cores * threads).map(cpu).collect(), quota_cpus: None, online_cpus: cores * threads }
    }

    fn with_quota(mut topology: Topology, quota: f64) -> Topology {
        topology.quota_cpus = Some(quota);
        topology
    }

    fn check(name: &str, topology: &Topology, cores: Option<&str>, expect: &str) {
        let plan = Plan::new(topology, cores.map(|cores| cores.parse().expect("a valid override")));
        assert_eq!(plan.describe(), expect, "{name}");
        assert_eq!(plan.threads.iter().filter(|thread| thread.roles.raft).count(), 1, "{name}");
        let shards: Vec<usize> = plan.threads.iter().filter_map(|thread| thread.roles.shard).collect();
        assert_eq!(shards, (0..plan.shards()).collect::<Vec<_>>(), "{name}");
        let pins: BTreeSet<usize> = plan.threads.iter().filter_map(|thread| thread.cpu).collect();
        assert!(pins.is_empty() || pins.len() == plan.threads.len(), "{name}: one thread per CPU");
        assert!(pins.iter().all(|pin| topology.cpus.iter().any(|cpu| cpu.id == *pin)), "{name}");
    }

    #[test]
    fn plans() {
        const ONE: &str = "raft and shard 0 on one thread, not pinned";
        const TWO: &str = "raft and shard 0 on one thread, 1 further shard, not pinned";
        let own = |rest: &str| format!("raft on a thread of its own{rest}");
        check("1", &machine(1, 1, 1), None, ONE);
        check("2", &machine(2, 1, 1), None, ONE);
        check("3", &machine(3, 1, 1), None, TWO);
        check("4", &machine(4, 1, 1), None, &own(" (CPU 3), 3 shards (CPUs 0-2)"));
        check("4, SMT", &machine(2, 2, 1), None, &own(" (CPU 1), 3 shards (CPUs 0,2-3)"));
        check("8", &machine(8, 1, 1), None, &own(" (CPU 7), 7 shards (CPUs 0-6)"));
        check("64, two nodes", &machine(32, 2, 2), None, &own(" (CPU 15), 63 shards (CPUs 0-14,16-63)"));
        // 127 CPUs are left for 64 shards: both sockets' cores, and then one second thread of the near one.
        check("128, two nodes", &machine(64, 2, 2), None, &own(" (CPU 31), 64 shards (CPUs 0-30,32-64)"));
        check("quota 1.5 of 8", &with_quota(machine(8, 1, 1), 1.5), None, ONE);
        check("quota 0.1 of 8", &with_quota(machine(8, 1, 1), 0.1), None, ONE);
        check("quota 3.9 of 64", &with_quota(machine(64, 1, 1), 3.9), None, TWO);
        check("quota 4 of 64", &with_quota(machine(64, 1, 1), 4.0), None, &own(", 3 shards, not pinned"));
        check("quota above", &with_quota(machine(4, 1, 1), 16.0), None, &own(" (CPU 3), 3 shards (CPUs 0-2)"));
        check("override on 2", &machine(2, 1, 1), Some("raft:1,shards:2"), &own(", 2 shards, not pinned"));
        check("override on 8", &machine(8, 1, 1), Some("shards:1,raft:1"), &own(" (CPU 7), 1 shard (CPU 0)"));
        check("override over 4", &machine(4, 1, 1), Some("raft:1,shards:4"), &own(", 4 shards, not pinned"));
        check("combined on 8", &machine(8, 1, 1), Some("combined"), ONE);
        check("all there are", &machine(2, 1, 1), Some("raft:1,shards:64"), &own(", 64 shards, not pinned"));
    }

    #[test]
    fn the_other_half_of_the_raft_core_comes_last() {
        let pins = |topology: &Topology| {
            Plan::new(topology, None).threads.iter().filter_map(|thread| thread.cpu).collect::<Vec<_>>()
        };
        assert_eq!(pins(&machine(3, 2, 1)), [2, 0, 1, 3, 4, 5]);
        assert_eq!(pins(&machine(4, 2, 2)), [1, 0, 2, 3, 4, 6, 7, 5]);
        // The larger node wins, also when its numbers are odd.
        let cpu = |id: usize, node: usize| Cpu { id, core: id, package: 0, node };
        let cpus = vec![cpu(3, 0), cpu(5, 1), cpu(9, 1), cpu(12, 0), cpu(40, 1)];
        assert_eq!(pins(&Topology { cpus, quota_cpus: None, online_cpus: 64 }), [40, 5, 9, 3, 12]);
    }

    #[test]
    fn names() {
        let names = |topology: &Topology| {
            Plan::new(topology, None).threads.into_iter().map(|thread| thread.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&machine(3, 1, 1)), ["raft+shard-0", "shard-1"]);
        assert_eq!(names(&machine(4, 1, 1)), ["raft", "shard-0", "shard-1", "shard-2"]);
    }

    #[test]
    fn overrides() {
        assert_eq!("combined".parse(), Ok(Cores::Combined));
        assert_eq!("raft:1,shards:2".parse(), Ok(Cores::Split { shards: 2 }));
        let rows = [
            ("", "\"\" is not role:count"),
            ("Combined", "\"Combined\" is not role:count"),
            ("raft:1", "shards is missing"),
            ("shards:1", "raft is missing"),
            ("raft:2,shards:1", "raft must be 1"),
            ("raft:0,shards:1", "raft must be 1"),
            ("raft:1,shards:0", "shards is out of range"),
            ("raft:1,shards:65", "shards is out of range"),
            ("raft:1,shards:+2", "\"shards:+2\" has no valid count"),
            ("raft:1,shards:", "\"shards:\" has no valid count"),
            ("raft:1,shards:99999999999999999999999", "has no valid count"),
            ("raft:1,raft:1", "\"raft\" is given twice"),
            ("raft:1,shards:1,", "\"\" is not role:count"),
            ("raft:1,disks:1", "unknown role \"disks\""),
            ("raft:1, shards:1", "unknown role \" shards\""),
        ];
        for (input, what) in rows {
            let error = input.parse::<Cores>().expect_err(input).to_string();
            assert!(error.contains(what) && error.contains(&format!("{input:?}")), "{input:?}: {error}");
        }
    }
}
