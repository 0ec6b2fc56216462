//! The free places of a queue, on several shelves: producers that are neighbours take from
//! and give back to different ones, and do not wait for each other's cache lines.

use super::apart::Apart;
use super::free::Free;
use super::inbox::{Closed, Linked};

const SHELVES: usize = 8;

/// All of them.
pub(crate) struct Shelves([Apart<Free>; SHELVES]);

impl Shelves {
    /// With all of `jobs`.
    pub(super) fn all<L: Linked>(jobs: &[L]) -> Shelves {
        // (Neighbours in memory are on one shelf.)
        let each = jobs.len().div_ceil(SHELVES);
        let indices =
            |shelf: usize| (shelf * each) as u32..jobs.len().min((shelf + 1) * each) as u32;
        let shelf = |shelf| Apart::new(Free::of(jobs, indices(shelf).rev()));
        Shelves(std::array::from_fn(shelf))
    }

    /// A place for a job of this producer, when there is one on any shelf.
    pub(super) fn take<L: Linked>(&self, jobs: &[L], producer: u64) -> Result<Option<u32>, Closed> {
        let own = (producer % SHELVES as u64) as usize;
        for shelf in self.0[own..].iter().chain(&self.0[..own]) {
            if let Some(place) = shelf.take(jobs)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Gives a place back, which a job of this producer had; refused when they are closed.
    pub(super) fn give<L: Linked>(
        &self,
        jobs: &[L],
        index: u32,
        producer: u64,
    ) -> Result<(), Closed> {
        self.0[(producer % SHELVES as u64) as usize].give(jobs, index)
    }

    /// Takes all that are there, once and for all.
    pub(super) fn close<L: Linked>(&self, jobs: &[L], mut each: impl FnMut(u32)) {
        self.0.iter().for_each(|shelf| shelf.close(jobs, &mut each));
    }
}
