//! Random numbers and random damage for fuzzing, all from one seed. Knows nothing of what the bytes mean.

pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self((seed ^ 0x2545_f491_4f6c_dd1d).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) * u128::from(bound)) >> 64) as u64
    }

    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// Numbers at which things go wrong, and others.
    pub fn number(&mut self) -> i64 {
        match self.below(8) {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => i64::MIN,
            4 => self.below(1 << 40) as i64,
            _ => self.below(40) as i64,
        }
    }

    pub fn bytes(&mut self, len_max: u64) -> Vec<u8> {
        let len = self.below(len_max);
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// One wound.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return bytes.push(self.below(256) as u8);
        }
        let at = self.index(bytes.len());
        let len = (1 + self.below(600) as usize).min(bytes.len() - at);
        match self.below(8) {
            0 | 1 => bytes[at] ^= 1 << self.below(8),
            2 => bytes[at] = self.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            3 => bytes.truncate(at),
            4 => bytes[at..at + len].fill(0),
            5 => (at..at + len).for_each(|i| bytes[i] = self.below(256) as u8),
            6 => drop(bytes.drain(at..at + len)),
            _ => {
                let (piece, to) = (bytes[at..at + len].to_vec(), self.index(bytes.len()));
                bytes.splice(to..to, piece);
            }
        }
    }
}
