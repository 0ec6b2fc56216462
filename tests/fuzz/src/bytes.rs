//! An input read as a series of choices. Past its end every choice is zero, so
//! that any prefix of an input is an input.

pub struct Bytes<'a>(&'a [u8]);

/// Numbers at which something may overflow, wrap, or be taken for another.
const ODD: [i64; 20] = [
    -1,
    -2,
    7,
    9,
    16,
    255,
    256,
    65_535,
    1 << 16,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 32,
    1 << 40,
    1 << 58,
    1 << 61,
    1 << 62,
    i64::MAX - 1,
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
];

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Bytes(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// One of `count` choices.
    pub fn below(&mut self, count: usize) -> usize {
        self.byte() as usize % count.max(1)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Whether something happens that happens once in `times`; never at the end.
    pub fn rarely(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub fn u64(&mut self) -> u64 {
        let mut bits = [0; 8];
        let taken = self.take(8);
        bits[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bits)
    }

    /// A number that fits nothing.
    pub fn odd(&mut self) -> i64 {
        let at = self.byte() as usize;
        ODD.get(at % (ODD.len() + 1)).copied().unwrap_or_else(|| self.u64() as i64)
    }

    /// A dim: mostly small, seldom odd.
    pub fn dim(&mut self) -> i64 {
        match self.byte() {
            n @ 0..200 => n as i64 % 5,
            n @ 200..240 => n as i64 - 195,
            _ => self.odd(),
        }
    }
}
