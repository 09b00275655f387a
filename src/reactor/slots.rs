//! A table of things named by slot and generation. Owned by one reactor. A number handed out once must never name a
//! later occupant of the same slot: late completions and stale ids are recognised by their generation.

/// Bits of the generation in an id. The two bits above stay free: the ring marks completions with them.
const GENERATION_BITS: u32 = 30;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

pub(super) struct Slots<T> {
    entries: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, value: T) -> u64 {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 slots");
                self.entries.push(Slot { generation: 0, value: None });
                index
            }
        };
        let slot = &mut self.entries[index as usize];
        assert!(slot.value.is_none(), "a free slot is empty");
        slot.value = Some(value);
        u64::from(slot.generation) << 32 | u64::from(index)
    }

    pub(super) fn get(&self, id: u64) -> Option<&T> {
        let slot = self.entries.get(id as u32 as usize)?;
        if slot.generation == (id >> 32) as u32 { slot.value.as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let slot = self.entries.get_mut(id as u32 as usize)?;
        if slot.generation == (id >> 32) as u32 { slot.value.as_mut() } else { None }
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        let slot = self.entries.get_mut(id as u32 as usize)?;
        if slot.generation != (id >> 32) as u32 {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.free.push(id as u32);
        Some(value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.len() == self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_names_nothing() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        assert!(slots.is_empty());
        let second = slots.insert('b');
        assert_eq!(first as u32, second as u32, "the slot is used again");
        assert_eq!((slots.get(first), slots.get(second)), (None, Some(&'b')));
        assert_eq!((slots.remove(first), slots.get_mut(first)), (None, None));
        assert!(slots.contains(second) && !slots.is_empty());
    }

    #[test]
    fn the_two_highest_bits_of_an_id_stay_clear() {
        let mut slots = Slots::new();
        let id = slots.insert(());
        slots.entries[0].generation = GENERATION_MASK;
        assert!(slots.remove(id).is_none());
        let last = u64::from(GENERATION_MASK) << 32;
        assert_eq!(last >> 62, 0);
        assert!(slots.remove(last).is_some());
        assert_eq!(slots.insert(()), 0, "the generation wraps");
    }
}
