//! Room for what a failing call still needs: texts, the unwinding of a panic.
//! It is used from the front and starts over when all of it came back.

use crate::sync::{AtomicU64, Ordering};
use std::alloc::Layout;

/// Hands out parts of a room; where the room is, is its user's matter.
#[derive(Debug)]
pub(crate) struct Bump {
    /// The high half counts live parts, the low half is how far it is used.
    state: AtomicU64,
}

const USED: u64 = u32::MAX as u64;
const ONE: u64 = 1 << 32;

impl Bump {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Bump {
        Bump { state: AtomicU64::new(0) }
    }

    #[cfg(loom)]
    pub(super) fn new() -> Bump {
        Bump { state: AtomicU64::new(0) }
    }

    /// Where a part of this layout begins in the room of `bytes` at `start`, an
    /// address. The part is the caller's until it calls [`Bump::give`].
    pub(super) fn take(&self, start: usize, bytes: usize, layout: Layout) -> Option<usize> {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let used = if state < ONE { 0 } else { (state & USED) as usize };
            let skip = start.wrapping_add(used).wrapping_neg() & (layout.align() - 1);
            let end = used.checked_add(skip)?.checked_add(layout.size())?;
            if end > bytes || end as u64 > USED {
                return None;
            }
            let next = ((state & !USED) + ONE) | end as u64;
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(used + skip),
                Err(now) => state = now,
            }
        }
    }

    /// A part that was taken is not used any more.
    pub(super) fn give(&self) {
        self.state.fetch_sub(ONE, Ordering::AcqRel);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_starts_over_when_all_came_back() {
        const BYTES: usize = 256 << 10;
        let bump = Bump::new();
        let layout = Layout::from_size_align(BYTES / 2 - 64, 64).unwrap();
        let take = || bump.take(8, BYTES, layout);
        let first = take().unwrap();
        assert_eq!((8 + first) % 64, 0);
        assert!(take().unwrap() >= first + layout.size());
        assert_eq!(take(), None, "it is full");
        bump.give();
        assert_eq!(take(), None, "one is still live");
        bump.give();
        assert_eq!(take(), Some(first));
    }
}
