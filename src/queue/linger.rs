//! Whether to look for a while before sleeping pays: learned. Pure.
//!
//! Where there are processors to spare, what a thread waits for is often there before the
//! thread would sleep, and to sleep and be woken takes several times as long as to look.
//! Where there are none, to look only keeps those from running who are waited for.

use crate::sync::{AtomicU32, Ordering::Relaxed};

/// What an answer that came in time counts for, in those that did not.
const GAIN: u32 = 3;
/// Below this it does not pay.
const EVEN: u32 = 32;
const MOST: u32 = 2 * EVEN;
/// When it does not pay, one in so many looks all the same, to see.
const TRIAL: u32 = 32;

/// What came of the last ones: a score, and how often nobody looked since.
pub(super) struct Linger {
    score: AtomicU32,
    skipped: AtomicU32,
}

impl Default for Linger {
    fn default() -> Linger {
        Linger { score: AtomicU32::new(MOST), skipped: AtomicU32::new(0) }
    }
}

impl Linger {
    /// Whether to look. (Several threads ask at once, and may miss what others learned.)
    pub(super) fn pays(&self) -> bool {
        if self.score.load(Relaxed) >= EVEN {
            return true;
        }
        let skipped = self.skipped.load(Relaxed) + 1;
        self.skipped.store(skipped % TRIAL, Relaxed);
        skipped == TRIAL
    }

    /// Who looked found something in time, or did not.
    pub(super) fn learn(&self, found: bool) {
        let score = self.score.load(Relaxed);
        let new = if found { (score + GAIN).min(MOST) } else { score.saturating_sub(1) };
        self.score.store(new, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_pays_where_one_in_four_finds_something() {
        let rate = |finds: u32, of: u32| {
            let linger = Linger::default();
            let looked = |turn: u32| {
                let looks = linger.pays();
                if looks {
                    linger.learn(turn % of < finds);
                }
                looks
            };
            (0..500).for_each(|turn| _ = looked(turn));
            (0..1000).filter(|turn| looked(*turn)).count()
        };
        assert_eq!((rate(1, 1), rate(1, 3)), (1000, 1000));
        assert!((20..50).contains(&rate(0, 1)), "now and then, to see: {}", rate(0, 1));
        let linger = Linger::default();
        (0..200).for_each(|_| linger.learn(false));
        assert!(!linger.pays());
        (0..20).for_each(|_| linger.learn(true));
        assert!(linger.pays(), "it may pay again");
    }
}
