//! The load: each thread owns its connections and drives them from one epoll loop, `clients` requests in flight,
//! the next one started when an answer comes. A request's clock starts when it is handed to its connection.
//!
//! Nothing here may wait for anything but epoll, except for the connecting at the start and after a break.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use etcd_uring::client::{Endpoint, Status};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeSpec, TimeValLike};
use std::os::fd::AsFd;

use crate::link::{Done, Link, Tag};
use crate::progress::Progress;
use crate::report::{Report, Results};
use crate::settings::Settings;

/// Bytes read from a connection at once: answers of a turn at 1000 clients fit.
const READ_BYTES: usize = 256 * 1024;

/// Events taken from one epoll call: every connection of the largest usual run.
const EVENTS_PER_TURN: usize = 1024;

/// Pause between attempts to bring a broken connection back: fast enough to see a new leader, slow enough not to
/// be a load of its own.
const REDIAL_PAUSE: Duration = Duration::from_millis(100);

/// Longest time one attempt to reconnect may hold up the thread.
const REDIAL_TIMEOUT: Duration = Duration::from_millis(250);

/// A run whose connections are all gone for so long is over.
const GIVE_UP: Duration = Duration::from_secs(30);

/// Latencies for which memory is reserved up front, so that it is not allocated while measuring.
const LATENCIES_RESERVED_MAX: u64 = 1 << 24;

/// What a command asks of the server.
pub trait Load: Sync {
    fn path(&self) -> &'static str;

    /// The message of the n-th request.
    fn message(&self, number: u64) -> Bytes;

    /// How many kinds of request are reported apart.
    fn classes(&self) -> usize {
        1
    }

    /// The kind of the n-th request, below `classes`.
    fn class(&self, _number: u64) -> usize {
        0
    }

    /// The message with which a request that has several goes on after this answer. `revision` is the one the
    /// pages of this request stay at; 0 until the first answer, which sets it.
    fn next_page(&self, _answer: &Bytes, _revision: &mut i64) -> Option<Bytes> {
        None
    }
}

/// A finished run.
pub struct Outcome {
    /// By class.
    pub results: Vec<Results>,
    pub wall_s: f64,
    /// User and system time of this process during the run.
    pub cpu_s: f64,
}

impl Outcome {
    /// What the generator itself cost: without it, a slow generator reads like a slow server.
    pub fn cpu_line(&self, settings: &Settings) -> String {
        let requests: u64 = self.results.iter().map(Results::requests).sum();
        let each_us = self.cpu_s * 1e6 / requests.max(1) as f64;
        let percent = self.cpu_s * 100.0 / self.wall_s.max(1e-9);
        let (cpu_s, threads) = (self.cpu_s, settings.threads);
        format!(
            "\nGenerator CPU: {cpu_s:.4} secs, {each_us:.2} us/request, {percent:.0}% of a core, threads {threads}\n"
        )
    }

    /// One report a class.
    pub fn reports<const CLASSES: usize>(self, settings: &Settings) -> [Report; CLASSES] {
        let report = |results| Report::new(results, self.wall_s, settings.precise, settings.sample);
        let reports: Vec<Report> = self.results.into_iter().map(report).collect();
        reports.try_into().unwrap_or_else(|_| panic!("the load has not {CLASSES} classes"))
    }
}

/// Runs the load to its end.
pub fn run(settings: &Settings, load: &dyn Load) -> Result<Outcome, String> {
    let tickets = Tickets { next: AtomicU64::new(0), total: settings.total };
    let share = |whole: usize, at: usize| whole / settings.threads + usize::from(at < whole % settings.threads);
    let mut threads = Vec::new();
    for at in 0..settings.threads {
        let (conns, clients) = (share(settings.conns, at), share(settings.clients, at));
        threads.push(Thread::new(settings, load, &tickets, conns, clients)?);
    }
    let cpu_start = cpu_s();
    let start = Instant::now();
    let mut progress = Progress::new(settings.total);
    let mut first = threads.remove(0);
    let results = std::thread::scope(|scope| {
        let others: Vec<_> = threads
            .into_iter()
            .map(|mut thread| scope.spawn(move || thread.run(start, &mut Progress::silent())))
            .collect();
        let mut results = first.run(start, &mut progress);
        for other in others {
            let theirs = other.join().expect("a generator thread does not panic");
            results.iter_mut().zip(theirs).for_each(|(ours, theirs)| ours.merge(theirs));
        }
        results
    });
    let outcome = Outcome { results, wall_s: start.elapsed().as_secs_f64(), cpu_s: cpu_s() - cpu_start };
    progress.finish(tickets.taken());
    Ok(outcome)
}

/// User and system time of this process so far.
pub fn cpu_s() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the kernel counts our time");
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

/// Numbers of the requests still to be made.
struct Tickets {
    next: AtomicU64,
    total: u64,
}

impl Tickets {
    fn take(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.total).then_some(number)
    }

    fn taken(&self) -> u64 {
        self.next.load(Ordering::Relaxed).min(self.total)
    }
}

/// Gives each idle client its moment: one per interval, in the order of asking. Moments nobody asked for are not saved
/// up, and being woken late loses none, so the rate holds as long as clients are idle.
struct Pace {
    interval_ns: f64,
    next_ns: f64,
}

impl Pace {
    fn reserve(&mut self, now_ns: u64) -> u64 {
        let due_ns = self.next_ns.max(now_ns as f64);
        self.next_ns = due_ns + self.interval_ns;
        due_ns as u64
    }
}

/// A client without a request.
#[derive(Clone, Copy)]
struct Idle {
    group: usize,
    /// When it may start one.
    due_ns: u64,
}

/// One of etcd's "connections": a link to every endpoint, used in turn.
struct Group {
    turn: usize,
    /// Requests that wait for a link to come back.
    stranded: Vec<u64>,
}

struct Thread<'a> {
    settings: &'a Settings,
    load: &'a dyn Load,
    tickets: &'a Tickets,
    pace: Option<Pace>,
    epoll: Epoll,
    groups: Vec<Group>,
    /// Group by group, in each one per endpoint. None while broken.
    links: Vec<Option<Link>>,
    /// Links whose socket was full at the last flush.
    full: Vec<bool>,
    idle: VecDeque<Idle>,
    /// Links with something to flush.
    dirty: Vec<usize>,
    finished: Vec<Done>,
    buffer: Vec<u8>,
    /// By class.
    results: Vec<Results>,
    in_flight: usize,
    start: Instant,
    start_unix_ns: u64,
    next_redial: Option<Instant>,
    broken_since: Option<Instant>,
}

impl<'a> Thread<'a> {
    fn new(
        settings: &'a Settings,
        load: &'a dyn Load,
        tickets: &'a Tickets,
        conns: usize,
        clients: usize,
    ) -> Result<Thread<'a>, String> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
        let mut links = Vec::new();
        for _ in 0..conns {
            for endpoint in &settings.endpoints {
                let link = Link::dial(endpoint, settings.dial_timeout)
                    .map_err(|error| format!("dial error: {}: {error}", endpoint.text))?;
                watch(&epoll, &link, links.len())?;
                links.push(Some(link));
            }
        }
        let share = settings.rate.map(|rate| rate as f64 * clients as f64 / settings.clients as f64);
        let pace = share.map(|rate| Pace { interval_ns: 1e9 / rate, next_ns: 0.0 });
        let reserved = settings.total.min(LATENCIES_RESERVED_MAX) as usize / settings.threads;
        let empty = || Results { latencies_ns: Vec::with_capacity(reserved), ..Results::default() };
        let results = std::iter::repeat_with(empty).take(load.classes()).collect();
        let mut thread = Thread {
            settings,
            load,
            tickets,
            pace,
            epoll,
            groups: (0..conns).map(|turn| Group { turn, stranded: Vec::new() }).collect(),
            full: vec![false; links.len()],
            links,
            idle: VecDeque::with_capacity(clients),
            dirty: Vec::new(),
            finished: Vec::new(),
            buffer: vec![0; READ_BYTES],
            results,
            in_flight: 0,
            start: Instant::now(),
            start_unix_ns: 0,
            next_redial: None,
            broken_since: None,
        };
        for client in 0..clients {
            thread.rest(client % conns, 0);
        }
        Ok(thread)
    }

    /// A client of the group has nothing to do.
    fn rest(&mut self, group: usize, now_ns: u64) {
        let due_ns = self.pace.as_mut().map_or(0, |pace| pace.reserve(now_ns));
        self.idle.push_back(Idle { group, due_ns });
    }

    fn run(&mut self, start: Instant, progress: &mut Progress) -> Vec<Results> {
        self.start = start;
        self.start_unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let mut events = vec![EpollEvent::empty(); EVENTS_PER_TURN];
        loop {
            let now_ns = self.now_ns();
            self.issue(now_ns);
            self.flush();
            self.redial();
            if self.in_flight == 0 && (self.is_done() || self.has_given_up()) {
                return std::mem::take(&mut self.results);
            }
            let count = self.wait(&mut events);
            for event in &events[..count] {
                self.serve(event.data() as usize, event.events());
            }
            progress.update(|| self.tickets.taken());
        }
    }

    /// Whether nothing is in flight, waiting for its moment, or waiting for a connection.
    fn is_done(&self) -> bool {
        self.in_flight == 0 && self.idle.is_empty() && self.groups.iter().all(|group| group.stranded.is_empty())
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn wait(&mut self, events: &mut [EpollEvent]) -> usize {
        let mut until = self.next_redial;
        if let Some(idle) = self.idle.front() {
            let due = self.start + Duration::from_nanos(idle.due_ns);
            until = Some(until.map_or(due, |redial| redial.min(due)));
        }
        if let Some(until) = until {
            // Epoll itself only counts milliseconds, far too coarse for a pace.
            let left = TimeSpec::from_duration(until.saturating_duration_since(Instant::now()));
            let mut fds = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
            match ppoll(&mut fds, Some(left), None) {
                Ok(0) | Err(nix::Error::EINTR) => return 0,
                other => other.expect("poll of our own descriptor"),
            };
            return self.epoll.wait(events, EpollTimeout::ZERO).unwrap_or(0);
        }
        match self.epoll.wait(events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => panic!("epoll: {error}"),
        }
    }

    /// Starts requests for idle clients, as many as the pace allows.
    fn issue(&mut self, now_ns: u64) {
        while let Some(Idle { group, due_ns }) = self.idle.front().copied() {
            if self.tickets.taken() >= self.tickets.total {
                self.idle.clear();
                return;
            }
            if due_ns > now_ns {
                return;
            }
            self.idle.pop_front();
            if let Some(number) = self.tickets.take() {
                self.start_request(group, number, now_ns);
            }
        }
    }

    fn start_request(&mut self, group: usize, number: u64, now_ns: u64) {
        let width = self.settings.endpoints.len();
        for _ in 0..width {
            let turn = self.groups[group].turn % width;
            self.groups[group].turn = turn + 1;
            let at = group * width + turn;
            if let Some(link) = self.links[at].as_mut().filter(|link| link.is_usable()) {
                let tag = Tag { start_ns: now_ns, revision: 0, class: self.load.class(number) as u8 };
                link.start(self.load.path(), self.load.message(number), tag);
                self.in_flight += 1;
                self.mark_dirty(at);
                return;
            }
        }
        self.groups[group].stranded.push(number);
    }

    fn mark_dirty(&mut self, at: usize) {
        if self.dirty.last() != Some(&at) {
            self.dirty.push(at);
        }
    }

    /// Handles the events of one link, and starts and sends what follows from them before the next link's turn.
    fn serve(&mut self, at: usize, events: EpollFlags) {
        if self.links[at].is_none() {
            return;
        }
        if events.contains(EpollFlags::EPOLLOUT) {
            self.mark_dirty(at);
        }
        if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            let link = self.links[at].as_mut().expect("checked above");
            let finished = &mut self.finished;
            let result = link.receive(&mut self.buffer, |done| finished.push(done));
            let now_ns = self.start.elapsed().as_nanos() as u64;
            self.finish(at, now_ns);
            if result.is_err() {
                self.drop_link(at);
            }
            self.issue(now_ns);
        }
        self.flush();
    }

    /// Takes the finished requests of a link into the results; their clients are idle again.
    fn finish(&mut self, at: usize, now_ns: u64) {
        let group = at / self.settings.endpoints.len();
        let mut finished = std::mem::take(&mut self.finished);
        for done in finished.drain(..) {
            self.in_flight -= 1;
            if !done.status.is_ok() {
                let status = Status::new(done.status.code.number(), done.status.message);
                *self.results[done.tag.class as usize].errors.entry(status.to_string()).or_default() += 1;
                self.rest(group, now_ns);
                continue;
            }
            let mut tag = done.tag;
            if let Some(page) = self.load.next_page(&done.message, &mut tag.revision)
                && let Some(link) = self.links[at].as_mut().filter(|link| link.is_usable())
            {
                link.start(self.load.path(), page, tag);
                self.in_flight += 1;
                self.mark_dirty(at);
                continue;
            }
            let latency_ns = now_ns.saturating_sub(tag.start_ns);
            let results = &mut self.results[tag.class as usize];
            results.latencies_ns.push(latency_ns);
            if self.settings.sample {
                let unix_s = (self.start_unix_ns + tag.start_ns) / 1_000_000_000;
                results.add_to_second(unix_s, latency_ns);
            }
            self.rest(group, now_ns);
        }
        self.finished = finished;
    }

    fn flush(&mut self) {
        while let Some(at) = self.dirty.pop() {
            let Some(link) = self.links[at].as_mut() else { continue };
            match link.flush() {
                Ok(done) => self.set_full(at, !done),
                // The reading side will find the same and end the requests.
                Err(_) => self.set_full(at, false),
            }
        }
    }

    /// Asks epoll for room in the socket only while there is none.
    fn set_full(&mut self, at: usize, full: bool) {
        if self.full[at] == full {
            return;
        }
        self.full[at] = full;
        let Some(link) = &self.links[at] else { return };
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, full);
        let mut event = EpollEvent::new(flags, at as u64);
        self.epoll.modify(link.fd(), &mut event).expect("the link is watched");
    }

    fn drop_link(&mut self, at: usize) {
        if let Some(link) = self.links[at].take() {
            // Closing the socket takes it out of the epoll set.
            drop(link);
            self.full[at] = false;
        }
        let now = Instant::now();
        self.next_redial.get_or_insert(now);
        self.broken_since.get_or_insert(now);
    }

    /// Tries once more to bring back every broken link, when it is time.
    fn redial(&mut self) {
        let Some(next) = self.next_redial else { return };
        if Instant::now() < next {
            return;
        }
        let width = self.settings.endpoints.len();
        let mut still_broken = false;
        for at in 0..self.links.len() {
            if self.links[at].is_some() {
                continue;
            }
            match self.dial(at, &self.settings.endpoints[at % width]) {
                Some(link) => {
                    self.links[at] = Some(link);
                    self.broken_since = None;
                    let now_ns = self.now_ns();
                    for number in std::mem::take(&mut self.groups[at / width].stranded) {
                        self.start_request(at / width, number, now_ns);
                    }
                }
                None => {
                    still_broken = true;
                    break;
                }
            }
        }
        self.next_redial = still_broken.then(|| Instant::now() + REDIAL_PAUSE);
        self.flush();
    }

    fn dial(&self, at: usize, endpoint: &Endpoint) -> Option<Link> {
        let link = Link::dial(endpoint, REDIAL_TIMEOUT).ok()?;
        watch(&self.epoll, &link, at).ok()?;
        Some(link)
    }

    fn has_given_up(&mut self) -> bool {
        let gone = self.in_flight == 0 && self.broken_since.is_some_and(|since| since.elapsed() > GIVE_UP);
        if gone {
            let text = format!("no connection for {} seconds", GIVE_UP.as_secs());
            for number in self.groups.iter().flat_map(|g| &g.stranded) {
                *self.results[self.load.class(*number)].errors.entry(text.clone()).or_default() += 1;
            }
        }
        gone
    }
}

fn watch(epoll: &Epoll, link: &Link, at: usize) -> Result<(), String> {
    let event = EpollEvent::new(EpollFlags::EPOLLIN, at as u64);
    epoll.add(link.fd(), event).map_err(|error| format!("epoll: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_neither_saves_up_nor_loses() {
        let mut pace = Pace { interval_ns: 100.0, next_ns: 0.0 };
        let mut due = |now_ns| pace.reserve(now_ns);
        assert_eq!((due(0), due(0), due(0)), (0, 100, 200));
        // Asked late but for a moment still ahead: the grid stays.
        assert_eq!(due(290), 300);
        // After a pause it starts afresh.
        assert_eq!((due(1250), due(1250)), (1250, 1350));
    }

    #[test]
    fn tickets_end() {
        let tickets = Tickets { next: AtomicU64::new(0), total: 2 };
        assert_eq!((tickets.take(), tickets.take(), tickets.take()), (Some(0), Some(1), None));
        assert_eq!(tickets.taken(), 2);
    }
}
