//! The streams of one connection: a slab of recycled slots and a small open-addressing index from stream id to slot.
//! A warm connection opens and closes streams without allocating.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

use super::flow::RecvWindow;
use super::limits::STREAM_WINDOW_BYTES;
use super::send::{Chunk, Tail};

/// Place of an open stream. Valid until that stream is removed; never kept across calls from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u32);

/// Chunks of capacity an idle slot may keep.
const MAX_IDLE_CHUNKS: usize = 8;

/// One open stream; `call` belongs to the layer above.
#[derive(Debug)]
pub struct Stream<S> {
    pub id: u32,
    pub remote_closed: bool,
    pub local_closed: bool,
    /// A client's stream whose HEADERS wait for the peer's stream limit: nothing of it may leave.
    pub parked: bool,
    pub(super) queued: bool,
    /// May be negative after the peer lowered INITIAL_WINDOW_SIZE.
    pub(super) send_window: i64,
    pub(super) recv: RecvWindow,
    pub(super) pending: VecDeque<Chunk>,
    pub(super) pending_bytes: usize,
    pub(super) tail: Tail,
    pub call: S,
}

/// All open streams. `index` has (id, slot) pairs, id 0 = empty, at most half full, linear probing.
#[derive(Debug)]
pub struct Streams<S> {
    slots: Vec<Stream<S>>,
    free: Vec<u32>,
    index: Vec<(u32, u32)>,
    len: usize,
}

const INITIAL_INDEX: usize = 16;

impl<S: Default> Streams<S> {
    pub fn new() -> Self {
        Streams { slots: Vec::new(), free: Vec::new(), index: vec![(0, 0); INITIAL_INDEX], len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ids of one side step by two, so neighbours in time are neighbours here and never collide.
    #[inline]
    fn home(&self, id: u32) -> usize {
        (id >> 1) as usize & (self.index.len() - 1)
    }

    #[inline]
    pub fn find(&self, id: u32) -> Option<Slot> {
        let mask = self.index.len() - 1;
        let mut at = self.home(id);
        loop {
            let (key, slot) = self.index[at];
            if key == id && id != 0 {
                return Some(Slot(slot));
            }
            if key == 0 {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    pub fn insert(&mut self, id: u32, send_window: i64) -> Slot {
        assert!(id != 0 && self.find(id).is_none(), "stream opened twice");
        if (self.len + 1) * 2 > self.index.len() {
            self.grow();
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Stream::vacant());
                (self.slots.len() - 1) as u32
            }
        };
        let stream = &mut self.slots[slot as usize];
        assert!(stream.id == 0 && stream.pending_bytes == 0);
        stream.id = id;
        stream.send_window = send_window;
        self.place(id, slot);
        self.len += 1;
        Slot(slot)
    }

    fn place(&mut self, id: u32, slot: u32) {
        let mask = self.index.len() - 1;
        let mut at = self.home(id);
        while self.index[at].0 != 0 {
            at = (at + 1) & mask;
        }
        self.index[at] = (id, slot);
    }

    fn grow(&mut self) {
        let doubled = self.index.len() * 2;
        let old = std::mem::replace(&mut self.index, vec![(0, 0); doubled]);
        for (id, slot) in old {
            if id != 0 {
                self.place(id, slot);
            }
        }
    }

    /// Forgets the stream and returns what the layer above kept in it.
    pub fn remove(&mut self, slot: Slot) -> S {
        let stream = &mut self.slots[slot.0 as usize];
        let id = std::mem::take(&mut stream.id);
        assert!(id != 0, "stream removed twice");
        let call = stream.recycle();
        self.unplace(id);
        self.free.push(slot.0);
        self.len -= 1;
        call
    }

    /// Backward-shift deletion: no tombstones, so a long-lived connection never slows down.
    fn unplace(&mut self, id: u32) {
        let mask = self.index.len() - 1;
        let mut hole = self.home(id);
        while self.index[hole].0 != id {
            assert!(self.index[hole].0 != 0, "stream missing from the index");
            hole = (hole + 1) & mask;
        }
        let mut at = (hole + 1) & mask;
        while self.index[at].0 != 0 {
            let distance_from_home = at.wrapping_sub(self.home(self.index[at].0)) & mask;
            if distance_from_home >= (at.wrapping_sub(hole) & mask) {
                self.index[hole] = self.index[at];
                hole = at;
            }
            at = (at + 1) & mask;
        }
        self.index[hole] = (0, 0);
    }

    /// Every open stream's place, in no order.
    pub fn open(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().enumerate().filter(|(_, s)| s.id != 0).map(|(at, _)| Slot(at as u32))
    }
}

impl<S: Default> Default for Streams<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Default> Stream<S> {
    fn vacant() -> Self {
        Stream {
            id: 0,
            remote_closed: false,
            local_closed: false,
            parked: false,
            queued: false,
            send_window: 0,
            recv: RecvWindow::new(STREAM_WINDOW_BYTES),
            pending: VecDeque::new(),
            pending_bytes: 0,
            tail: Tail::None,
            call: S::default(),
        }
    }

    fn recycle(&mut self) -> S {
        let call = std::mem::take(&mut self.call);
        self.pending.clear();
        if self.pending.capacity() > MAX_IDLE_CHUNKS {
            self.pending = VecDeque::new();
        }
        // Field by field: a whole new stream would be built and copied for each call.
        self.remote_closed = false;
        self.local_closed = false;
        self.parked = false;
        self.queued = false;
        self.send_window = 0;
        self.recv = RecvWindow::new(STREAM_WINDOW_BYTES);
        self.pending_bytes = 0;
        self.tail = Tail::None;
        call
    }
}

impl<S> Index<Slot> for Streams<S> {
    type Output = Stream<S>;
    #[inline]
    fn index(&self, slot: Slot) -> &Stream<S> {
        &self.slots[slot.0 as usize]
    }
}

impl<S> IndexMut<Slot> for Streams<S> {
    #[inline]
    fn index_mut(&mut self, slot: Slot) -> &mut Stream<S> {
        &mut self.slots[slot.0 as usize]
    }
}
