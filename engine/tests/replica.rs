//! One replica alone, on a simulated disk: its end at every moment, a disk that is full or does not answer.

use engine::apply::cluster::Member;
use engine::disk::SimDisk;
use engine::effect::Now;
use engine::limits::PROPOSALS_PENDING_BYTES_MAX;
use engine::pb::etcdserverpb::{self, InternalRaftRequest, PutRequest, internal_raft_request};
use engine::replica::{self, Config, Effect, Error, Input, Replica, Start};
use engine::request_id::RequestIds;
use engine::wal;
use prost::Message as _;
use std::path::Path;

const LANES: u64 = 2;
const TICK_NS: u64 = 100_000_000;
const TIMEOUT_NS: u64 = 7_000_000_000;

fn wal_dir() -> &'static Path {
    Path::new("wal")
}

struct Alone {
    disk: SimDisk,
    replica: Replica,
    ids: RequestIds,
    now: Now,
    answers: Vec<(u64, Result<(), Error>)>,
    stopped: bool,
}

impl Alone {
    fn new() -> Self {
        Self::open(SimDisk::new(1, wal_dir()), true, Now { mono_ns: 1, unix_ms: 1_700_000_000_000 })
    }

    fn open(mut disk: SimDisk, new: bool, now: Now) -> Self {
        let member = Member { id: 1, peer_urls: vec!["http://m1:2380".into()], ..Member::default() };
        let members = [member];
        let config = Config {
            member_id: 1,
            name: "m1".into(),
            client_urls: vec!["http://m1:2379".into()],
            tick_ns: TICK_NS,
            election_ticks: 10,
            pre_vote: true,
            campaign_at_once: true,
            request_timeout_ns: TIMEOUT_NS,
            seed: 1,
            id_lanes: LANES,
            wal: wal::Config {
                segment_bytes: 64 << 10,
                batch_bytes_max: 8 << 10,
                zero_piece_bytes: 4 << 10,
                zero_gap_bytes: 8 << 10,
            },
        };
        let start = if new { Start::New { cluster_id: 7, members: &members } } else { Start::Restart };
        let replica = replica::open(config, &mut disk, wal_dir(), start, now).unwrap().replica;
        Self { disk, replica, ids: RequestIds::new(1, now.unix_ms, 0, LANES), now, answers: Vec::new(), stopped: false }
    }

    fn input(&mut self, input: Input) {
        self.replica.handle(input, self.now);
        self.effects();
    }

    fn effects(&mut self) {
        while let Some(effect) = self.replica.poll_effect() {
            match effect {
                Effect::File { id, op } => self.disk.submit(id, op),
                Effect::Answer { id, result } => self.answers.push((id, result.map(|_| ()))),
                Effect::Stopped => self.stopped = true,
                Effect::Fatal(why) => panic!("{why}"),
                Effect::Send(message) => panic!("a message to {}", message.to),
                Effect::Status(_) | Effect::Event(_) | Effect::ReadReady { .. } => {}
            }
        }
    }

    /// One file operation ends. False when none was under way.
    fn disk_step(&mut self) -> bool {
        let Some((id, result, buf)) = self.disk.complete() else { return false };
        self.input(Input::FileDone { id, result, buf });
        true
    }

    fn settle(&mut self) {
        while self.disk_step() {}
    }

    fn pass_ns(&mut self, ns: u64) {
        self.now.mono_ns += ns;
        self.input(Input::Tick);
    }

    fn put(&mut self, value_bytes: usize) -> u64 {
        let id = self.ids.next_id();
        let put = PutRequest { key: "k".into(), value: vec![7; value_bytes].into(), ..Default::default() };
        let request = InternalRaftRequest {
            header: Some(etcdserverpb::RequestHeader { id, ..Default::default() }),
            request: Some(internal_raft_request::Request::Put(put)),
            ..Default::default()
        };
        self.input(Input::Propose { id, request: request.encode_to_vec().into() });
        id
    }

    fn answer(&self, id: u64) -> Option<&Result<(), Error>> {
        self.answers.iter().find(|(of, _)| *of == id).map(|(_, result)| result)
    }
}

#[test]
fn it_can_be_stopped_at_every_moment() {
    for steps in 0..60 {
        let mut alone = Alone::new();
        alone.effects();
        let mut done = 0;
        while done < steps && alone.disk_step() {
            done += 1;
        }
        let asked: Vec<u64> = (0..3).map(|_| alone.put(100)).collect();
        alone.input(Input::Stop);
        let late = alone.put(100);
        alone.settle();
        assert!(alone.stopped, "after {steps} file operations");
        assert_eq!(alone.answer(late), Some(&Err(Error::Stopped)));
        let acked = asked.iter().filter(|id| alone.answer(**id) == Some(&Ok(()))).count() as i64;
        assert!(asked.iter().all(|id| alone.answer(*id).is_some()), "everybody is answered");
        let now = Now { mono_ns: 1, unix_ms: alone.now.unix_ms + 1000 };
        let mut again = Alone::open(alone.disk, false, now);
        again.effects();
        again.settle();
        let revision = again.replica.reader().pin().revision();
        assert!(revision > acked, "{acked} acked, revision {revision} after {steps} file operations");
    }
}

#[test]
fn a_disk_that_does_not_answer_holds_a_bounded_amount_of_memory() {
    let mut alone = Alone::new();
    alone.effects();
    alone.settle();
    let before = alone.put(10);
    alone.settle();
    assert_eq!(alone.answer(before), Some(&Ok(())));
    // From here on nothing completes. Clients give up after their time and come again.
    let applied = alone.replica.status().applied;
    for _ in 0..20 {
        for _ in 0..100 {
            let id = alone.put(1 << 20);
            assert!(matches!(alone.answer(id), None | Some(Err(Error::TooManyRequests))));
        }
        alone.pass_ns(TIMEOUT_NS + TICK_NS);
    }
    // The disk comes back: what was held is written, no more than the limits allow, and the next is served.
    alone.settle();
    let held_bytes = (alone.replica.status().applied - applied) << 20;
    assert!(held_bytes <= 2 * PROPOSALS_PENDING_BYTES_MAX as u64, "{held_bytes} bytes were held");
    let after = alone.put(10);
    alone.settle();
    assert_eq!(alone.answer(after), Some(&Ok(())));
}
