//! Puts a server together: what is on disk, which threads there are, and how their roles reach each other. It sees
//! everything once and keeps nothing.

use super::data_dir::{self, DataDir, Warning};
use super::identity;
use crate::config::{Config, Cores, ReactorChoice, WalSync};
use crate::core::{Core, Lifecycle, RaftSide, RemoteRaft, ShardSide};
use crate::driver::{self, Disk, Driver};
use crate::exchange::{FromRaft, ToRaft};
use crate::mailbox::{Receiver, Sender, mailbox};
use crate::ops::metrics::{RaftProbe, ServerProbe, ShardProbe};
use crate::published::{Identity, Published};
use crate::reactor::{self, DurableWrite, Reactor, Waker};
use crate::shard::web::MetricsPage;
use crate::shard::{self, CALLS_WAITING_MAX, Shard};
use engine::apply::cluster::Member;
use engine::disk::FileDisk;
use engine::replica::{self, OpenError, Opened, Replica};
use engine::request_id::RequestIds;
use engine::wal;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;
use tuning::plan::{self, Plan, ThreadPlan};
use tuning::probe::{IoUring, Kernel};
use tuning::topology::Topology;

/// etcd's default for `--quota-backend-bytes`, in bytes.
const QUOTA_BYTES_DEFAULT: u64 = 2 << 30;

/// How often a port or a log that somebody holds is tried, and the pause in between: a second in all, enough for the kernel
/// to finish with a killed process, short for a person who started a second server by mistake.
const HELD_ATTEMPTS_MAX: u32 = 50;
const HELD_PAUSE: Duration = Duration::from_millis(20);

/// A server that is running.
pub struct Running {
    lifecycle: Arc<Lifecycle>,
    threads: Vec<JoinHandle<()>>,
    pub plan: String,
}

impl Running {
    /// Ends it in order: calls under way are answered, the log is closed.
    pub fn stop(self) {
        self.lifecycle.stop();
        for thread in self.threads {
            // A thread that panicked has ended the process already.
            let _ = thread.join();
        }
    }
}

/// Starts the server; it serves when it has published itself. The error says what is wrong and with which input.
pub fn start(config: &Config) -> Result<Running, String> {
    let (plan, kind) = (core_plan(config), reactor_kind(config)?);
    let shards = plan.shards();
    tracing::info!(
        plan = plan.describe(),
        reactor = if kind == reactor::Kind::Epoll { "epoll" } else { "io_uring" },
        "core plan"
    );
    let sockets = bind(config, shards)?;
    let dir = data_dir::open(config).map_err(|refusal| refusal.to_string())?;
    for warning in &dir.warnings {
        match warning {
            Warning::Permission(text) => tracing::warn!(error = text, "check file permission"),
            Warning::Foreign(name) => tracing::warn!(filename = name, "found invalid file under data directory"),
        }
    }
    let now = driver::now(reactor::mono_ns());
    let lanes = shards as u64 + 1;
    let (opened, disk) = open_replica(config, &dir, lanes, now)?;
    let identity = Identity { cluster_id: opened.cluster_id, member_id: opened.member_id };
    let published = Arc::new(Published::new(identity));
    let page = MetricsPage {
        shards: (0..shards).map(|_| Arc::new(ShardProbe::default())).collect(),
        raft: Arc::new(RaftProbe::default()),
        server: Arc::new(ServerProbe::default()),
    };
    page.server.set_server_id(identity.member_id);
    page.server.set_quota_bytes(QUOTA_BYTES_DEFAULT);
    let settings = shard::Settings {
        max_request_bytes: config.max_request_bytes as usize,
        max_txn_ops: config.max_txn_ops as usize,
        max_concurrent_streams: config.max_concurrent_streams,
        keepalive: net::h2::keepalive::Rules {
            ping_min_ms: config.grpc_keepalive.ping_min_ms,
            interval_ms: config.grpc_keepalive.interval_ms,
            timeout_ms: config.grpc_keepalive.timeout_ms,
        },
    };
    let reader = opened.replica.reader();
    let driver = Driver::new(
        opened.replica,
        disk,
        Arc::clone(&published),
        Arc::clone(&page.raft),
        Arc::clone(&page.server),
        lanes,
    );
    let shards = sockets.into_iter().enumerate().map(|(lane, sockets)| {
        let ids = RequestIds::new(identity.member_id, now.unix_ms, lane as u64, lanes);
        let probe = Arc::clone(&page.shards[lane]);
        Shard::new(settings.clone(), Arc::clone(&published), reader.clone(), probe, page.clone(), ids, sockets)
    });
    let shards: Vec<Shard> = shards.collect();
    spawn(config, kind, &plan, driver, shards)
}

fn core_plan(config: &Config) -> Plan {
    let cores = match config.cores {
        Cores::Auto => None,
        Cores::Combined => Some(plan::Cores::Combined),
        Cores::Split { shards } => Some(plan::Cores::Split { shards: usize::from(shards) }),
    };
    Plan::new(&Topology::of_this_process(), cores)
}

/// The ring, or epoll where the kernel does not let us have one.
fn reactor_kind(config: &Config) -> Result<reactor::Kind, String> {
    if config.reactor == ReactorChoice::Epoll {
        return Ok(reactor::Kind::Epoll);
    }
    match Kernel::probe().io_uring {
        IoUring::Available(_) => Ok(reactor::Kind::Ring),
        IoUring::Unavailable { reason, .. } if config.reactor == ReactorChoice::Ring => {
            Err(format!("--reactor=ring cannot be had: {reason}; allow io_uring, or start with --reactor=auto"))
        }
        IoUring::Unavailable { reason, .. } => {
            tracing::warn!(reason, "starting on epoll");
            Ok(reactor::Kind::Epoll)
        }
    }
}

/// Listening sockets, a set for each shard: bound before anything is written, so that a taken port changes nothing.
fn bind(config: &Config, shards: usize) -> Result<Vec<Vec<OwnedFd>>, String> {
    let reuse_port = shards > 1 || config.socket_reuse_port;
    let mut sets: Vec<Vec<OwnedFd>> = (0..shards).map(|_| Vec::new()).collect();
    for url in &config.listen_client_urls {
        let refuse = |error: io::Error| {
            let error = error.to_string().to_lowercase();
            let error = error.split(" (os error").next().unwrap_or_default();
            format!("listen tcp {}:{}: bind: {error} (--listen-client-urls={url})", url.host(), url.port())
        };
        let addresses: Vec<SocketAddr> = (url.host(), url.port()).to_socket_addrs().map_err(refuse)?.collect();
        // As Go: a name is served on one of its addresses, IPv4 first.
        let address = addresses.iter().find(|a| a.is_ipv4()).or(addresses.first());
        let address = *address.ok_or_else(|| format!("--listen-client-urls={url}: the host has no address"))?;
        let free = || reactor::socket::listen_tcp(address, config.socket_reuse_port);
        // SO_REUSEPORT would let a second server share the port unnoticed: see that it is free without it first.
        drop(patiently(free, |error| error.kind() == io::ErrorKind::AddrInUse).map_err(refuse)?);
        for set in &mut sets {
            set.push(reactor::socket::listen_tcp(address, reuse_port).map_err(refuse)?);
        }
    }
    Ok(sets)
}

/// Tries again for a while when what is wanted is still held by somebody. A killed server's descriptors are closed by the
/// kernel a moment after the process is gone, when the last of its ring's operations has ended: without this, a restart
/// right after kill -9 would find its own port taken and its own log locked.
fn patiently<T, E>(attempt: impl Fn() -> Result<T, E>, is_held: impl Fn(&E) -> bool) -> Result<T, E> {
    for _ in 1..HELD_ATTEMPTS_MAX {
        match attempt() {
            Err(error) if is_held(&error) => std::thread::sleep(HELD_PAUSE),
            other => return other,
        }
    }
    attempt()
}

fn open_replica(
    config: &Config,
    dir: &DataDir,
    lanes: u64,
    now: engine::effect::Now,
) -> Result<(Opened, Disk), String> {
    let mut members = Vec::new();
    let mut ids = None;
    if dir.start == data_dir::Start::New {
        let bootstrap = config.bootstrap.as_ref().ok_or("--initial-cluster is needed for a first start")?;
        let found = identity::of_bootstrap(&config.name, bootstrap);
        for (name, id) in &found.members {
            let peer_urls = bootstrap.members[name].iter().map(ToString::to_string).collect();
            members.push(Member { id: *id, name: name.clone(), peer_urls, ..Member::default() });
        }
        ids = Some(found);
    }
    let settings = replica_config(config, ids.as_ref().map_or(0, |found| found.member_id), lanes, now);
    let open = || {
        let mut files = FileDisk::new("");
        let start = match &ids {
            Some(found) => replica::Start::New { cluster_id: found.cluster_id, members: &members },
            None => replica::Start::Restart,
        };
        replica::open(settings.clone(), &mut files, &dir.wal, start, now).map(|opened| (opened, files))
    };
    let is_locked = |error: &OpenError| matches!(error, OpenError::Log(wal::RecoverError::Locked { .. }));
    let (mut opened, mut files) = patiently(open, is_locked).map_err(|error| error.to_string())?;
    let log_file = files.take(opened.log_file).ok_or("the log is not open")?;
    let disk = Disk::new(&dir.wal, opened.log_file, log_file).map_err(|e| format!("{}: {e}", dir.wal.display()))?;
    log_start(config, &dir.wal, &opened, ids.is_some());
    if opened.torn_bytes > 0 {
        tracing::warn!(bytes = opened.torn_bytes, "repaired WAL: cut off a write that a crash left unfinished");
    }
    check_alone(&mut opened.replica)?;
    Ok((opened, disk))
}

fn replica_config(config: &Config, member_id: u64, lanes: u64, now: engine::effect::Now) -> replica::Config {
    replica::Config {
        member_id,
        name: config.name.clone(),
        client_urls: config.advertise_client_urls.iter().map(ToString::to_string).collect(),
        tick_ns: config.heartbeat_interval_ms * 1_000_000,
        election_ticks: config.election_ticks() as usize,
        pre_vote: config.pre_vote,
        // etcd's request timeout.
        request_timeout_ns: 5_000_000_000 + 2 * config.election_timeout_ms * 1_000_000,
        seed: now.unix_ms ^ u64::from(std::process::id()) << 32,
        id_lanes: lanes,
        wal: wal::Config::default(),
    }
}

fn log_start(config: &Config, wal: &Path, opened: &Opened, new: bool) {
    tracing::info!(
        "etcd-version" = env!("CARGO_PKG_VERSION"),
        name = config.name,
        "data-dir" = config.data_dir.display().to_string(),
        "wal-dir" = wal.display().to_string(),
        "local-member-id" = format!("{:x}", opened.member_id),
        "cluster-id" = format!("{:x}", opened.cluster_id),
        "new-member" = new,
        "log-entries" = opened.entries,
        "starting an etcd server"
    );
}

/// Peers are not spoken to yet: a log with several members needs them.
fn check_alone(replica: &mut Replica) -> Result<(), String> {
    let members = replica.cluster().members().count();
    if members > 1 {
        return Err(format!(
            "the data directory belongs to a cluster of {members} members; this version serves clusters of one only"
        ));
    }
    Ok(())
}

/// What a thread is given once all threads have shown their wakers.
struct Roles {
    shard: Option<ShardSide>,
    raft: Option<RaftSide>,
}

/// Starts the threads. A reactor must be made on its own thread, and a mailbox needs the waker of its receiver: so each
/// thread opens its reactor first, shows the waker, and is then given its roles.
fn spawn(
    config: &Config,
    kind: reactor::Kind,
    plan: &Plan,
    driver: Driver,
    shards: Vec<Shard>,
) -> Result<Running, String> {
    let lifecycle = Arc::new(Lifecycle::new(shards.len()));
    let failing = Arc::new(AtomicBool::new(false));
    let settings = reactor::Settings {
        spin: Duration::from_micros(u64::from(config.spin_us)),
        durable_write: match config.wal_sync {
            WalSync::Auto | WalSync::Dsync => DurableWrite::Dsync,
            WalSync::Fdatasync => DurableWrite::Fdatasync,
        },
        ..reactor::Settings::default()
    };
    let mut threads = Vec::new();
    let mut started = Vec::new();
    for row in &plan.threads {
        let (show_waker, waker) = mpsc::channel();
        let (give_roles, roles) = mpsc::channel();
        let (row, settings) = (row.clone(), settings.clone());
        let (lifecycle, failing) = (Arc::clone(&lifecycle), Arc::clone(&failing));
        let name = row.name.clone();
        let body = move || run_thread(&row, kind, &settings, &show_waker, &roles, lifecycle, &failing);
        threads.push(
            std::thread::Builder::new().name(name).spawn(body).map_err(|e| format!("cannot start a thread: {e}"))?,
        );
        let waker: Waker = waker.recv().map_err(|_| "a thread ended before it began")??;
        started.push((give_roles, waker));
    }
    let roles = assign(plan, driver, shards, &started.iter().map(|(_, waker)| waker.clone()).collect::<Vec<_>>());
    for ((give_roles, waker), roles) in started.into_iter().zip(roles) {
        lifecycle.enlist(waker);
        give_roles.send(roles).map_err(|_| "a thread ended before it was given its roles")?;
    }
    Ok(Running { lifecycle, threads, plan: plan.describe() })
}

/// Joins the roles on the threads of the plan by mailboxes, except where they share a thread.
fn assign(plan: &Plan, driver: Driver, shards: Vec<Shard>, wakers: &[Waker]) -> Vec<Roles> {
    let raft_thread = plan.threads.iter().position(|t| t.roles.raft).expect("every plan has the raft role");
    let remote = plan.threads.iter().filter(|t| t.roles.shard.is_some() && !t.roles.raft).count();
    // A slot for every call that a shard lets wait: neither queue can be full.
    let (requests_in, requests): (Sender<ToRaft>, Receiver<ToRaft>) =
        mailbox((remote * CALLS_WAITING_MAX).max(1), wakers[raft_thread].clone());
    let mut answers: Vec<Option<Sender<FromRaft>>> = shards.iter().map(|_| None).collect();
    let mut shards: Vec<Option<Shard>> = shards.into_iter().map(Some).collect();
    let mut roles: Vec<Roles> = plan
        .threads
        .iter()
        .zip(wakers)
        .map(|(thread, waker)| {
            let shard = thread.roles.shard.map(|lane| {
                let shard = shards[lane].take().expect("every shard stands once in the plan");
                let remote = (!thread.roles.raft).then(|| {
                    let (sender, receiver) = mailbox(CALLS_WAITING_MAX, waker.clone());
                    answers[lane] = Some(sender);
                    RemoteRaft { requests: requests_in.clone(), answers: receiver }
                });
                ShardSide { shard, lane, remote }
            });
            Roles { shard, raft: None }
        })
        .collect();
    roles[raft_thread].raft = Some(RaftSide { driver, requests: (remote > 0).then_some(requests), shards: answers });
    roles
}

/// A thread that panics takes the process with it, whatever the build's panic setting: the others would go on serving, or
/// wait for it for ever.
struct EndsWithPanic;

impl Drop for EndsWithPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

fn run_thread(
    row: &ThreadPlan,
    kind: reactor::Kind,
    settings: &reactor::Settings,
    show_waker: &mpsc::Sender<Result<Waker, String>>,
    roles: &mpsc::Receiver<Roles>,
    lifecycle: Arc<Lifecycle>,
    failing: &AtomicBool,
) {
    let _guard = EndsWithPanic;
    if let Some(cpu) = row.cpu
        && let Err(error) = tuning::pin::pin_current_thread(cpu)
    {
        tracing::warn!(cpu, error = error.to_string(), "cannot pin a thread to its CPU");
    }
    let reactor = match reactor::open(kind, settings) {
        Ok(reactor) => reactor,
        Err(error) => {
            let _ = show_waker.send(Err(format!("cannot open the reactor: {error}")));
            return;
        }
    };
    let _ = show_waker.send(Ok(reactor.waker()));
    let Ok(Roles { shard, raft }) = roles.recv() else { return };
    if let Err(why) = Core::new(reactor, shard, raft, lifecycle).run() {
        // The first to fail says why; the process ends without an orderly stop, since the log is not to be trusted.
        if !failing.swap(true, SeqCst) {
            tracing::error!(error = why, "stopping: this member must not go on");
            crate::ops::log::flush();
            std::process::exit(1);
        }
    }
}
