//! Counts of values in buckets whose width is a fixed part of their value.
//!
//! Values below 32 have a bucket each; each power of two above has 32 of one width,
//! so a bucket is at most 1/32 of its values wide: two significant digits, as
//! HdrHistogram keeps them, in a flat array that a run can count in with one
//! addition. What is 2^37 ns (137 s) or more counts in the last bucket.

/// log2 of the buckets of a power of two.
const BITS: u32 = 5;
const PER_OCTAVE: u64 = 1 << BITS;
/// Values of so many bits have their own buckets.
const MOST_BITS: u32 = 37;

/// How many buckets there are.
pub(super) const BUCKETS: usize = ((MOST_BITS - BITS + 1) as usize) << BITS;

/// The bucket of a value.
#[inline]
pub(super) fn bucket(value: u64) -> usize {
    if value < PER_OCTAVE {
        return value as usize;
    }
    // Of the leading one and the five bits below it.
    let shift = value.ilog2() - BITS;
    let index = u64::from(shift) * PER_OCTAVE + (value >> shift);
    (index as usize).min(BUCKETS - 1)
}

/// The largest value of a bucket.
pub(super) fn highest(bucket: usize) -> u64 {
    let (octave, within) = (bucket as u64 >> BITS, bucket as u64 & (PER_OCTAVE - 1));
    match octave {
        0 => within,
        _ => ((PER_OCTAVE + within + 1) << (octave - 1)) - 1,
    }
}

/// Counts by bucket, with what buckets alone do not tell.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[u64]>,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS].into_boxed_slice(), sum: 0, max: 0 }
    }
}

impl Histogram {
    /// One value more.
    pub fn record(&mut self, value: u64) {
        self.add(bucket(value), 1);
        self.note(value, value);
    }

    /// `more` values more in a bucket.
    pub(super) fn add(&mut self, bucket: usize, more: u64) {
        self.counts[bucket] += more;
    }

    /// A sum of values, and the largest of them.
    pub(super) fn note(&mut self, sum: u64, max: u64) {
        self.sum = self.sum.wrapping_add(sum);
        self.max = self.max.max(max);
    }

    /// All that `other` counted, too.
    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(to, from)| *to += from);
        self.note(other.sum, other.max);
    }

    /// What was counted since `before`, an earlier state. The largest value is then
    /// known by its bucket.
    pub fn since(&self, before: &Histogram) -> Histogram {
        let pairs = self.counts.iter().zip(&before.counts);
        let counts: Box<[u64]> = pairs.map(|(now, then)| now.saturating_sub(*then)).collect();
        let last = counts.iter().rposition(|count| *count > 0);
        let max = last.map_or(0, |at| highest(at).min(self.max));
        Histogram { counts, sum: self.sum.wrapping_sub(before.sum), max }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest of them; 0 when there is none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that the part `quantile` of all is not above: exact to 1/32, never
    /// too low. 0 when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let count = self.count();
        let rank = (quantile.clamp(0.0, 1.0) * count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, here) in self.counts.iter().enumerate() {
            seen += here;
            if seen >= rank {
                return highest(at).min(self.max);
            }
        }
        0
    }

    /// How many values are `bound` or less, where `bound` ends a bucket.
    pub(super) fn up_to(&self, bound: u64) -> u64 {
        self.counts[..=bucket(bound)].iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from 0 to about 2^37, most of them small.
    fn values() -> impl Iterator<Item = u64> {
        let mut state = 88_172_645_463_325_252u64;
        (0..20_000).map(move |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 27) >> (state % 37)
        })
    }

    #[test]
    fn buckets_follow_each_other_and_hold_their_values() {
        for at in 0..BUCKETS - 1 {
            assert_eq!(bucket(highest(at)), at);
            assert_eq!(bucket(highest(at) + 1), at + 1);
        }
        assert_eq!(highest(BUCKETS - 1), (1 << MOST_BITS) - 1);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        for value in values() {
            assert!(highest(bucket(value)) - value <= value / 32, "{value}");
        }
    }

    #[test]
    fn quantiles_are_those_of_hdrhistogram() {
        let mut ours = Histogram::default();
        let mut theirs = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 37, 3).unwrap();
        for value in values() {
            ours.record(value);
            theirs.record(value).unwrap();
        }
        assert_eq!((ours.count(), ours.max()), (20_000, values().max().unwrap()));
        assert_eq!(ours.sum(), values().sum::<u64>());
        for q in [0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0] {
            let (a, b) = (ours.quantile(q), theirs.value_at_quantile(q));
            assert!(a.abs_diff(b) <= b / 30 + 1, "{q}: {a}, {b}");
        }
    }

    #[test]
    fn an_interval_is_the_difference_of_two_states() {
        let mut all = Histogram::default();
        all.record(1_000_000);
        let before = all.clone();
        assert_eq!((before.since(&before).count(), before.since(&before).quantile(0.5)), (0, 0));
        all.record(100);
        all.record(200);
        let lately = all.since(&before);
        assert_eq!((lately.count(), lately.sum()), (2, 300));
        assert!((200..=206).contains(&lately.max()), "{}", lately.max());
        assert_eq!(all.up_to(highest(bucket(100))), 1);
        let mut twice = all.clone();
        twice.merge(&all);
        assert_eq!((twice.count(), twice.max()), (6, 1_000_000));
    }
}
