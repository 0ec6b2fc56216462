//! Where the regions are: blocks of a region are told by it from blocks that
//! have a mapping of their own.

use crate::sync::{AtomicUsize, Ordering};

/// A table of addresses, 0 for none.
#[derive(Debug)]
pub(crate) struct Regions<const N: usize> {
    places: [AtomicUsize; N],
}

impl<const N: usize> Regions<N> {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Regions<N> {
        Regions { places: [const { AtomicUsize::new(0) }; N] }
    }

    #[cfg(loom)]
    pub(super) fn new() -> Regions<N> {
        Regions { places: std::array::from_fn(|_| AtomicUsize::new(0)) }
    }

    /// Puts a region in, before a block of it is handed out; false when there
    /// are too many.
    pub(super) fn add(&self, region: usize) -> bool {
        self.places.iter().any(|place| {
            place.compare_exchange(0, region, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Takes a region out, after its last block came back.
    pub(super) fn remove(&self, region: usize) {
        for place in &self.places {
            let _ = place.compare_exchange(region, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Whether this is a region. Who has a block of it, may rely on it: the
    /// block was handed on after the region was put in, and it stays in.
    pub(super) fn has(&self, region: usize) -> bool {
        self.places.iter().any(|place| place.load(Ordering::Acquire) == region)
    }
}
