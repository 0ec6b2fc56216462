//! What a queue runs its batches with: sessions, or what a test puts in their place.

use super::job::Input;
use crate::error::Result;

/// How a job goes into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Rows that it takes.
    pub rows: u32,
    /// The same for all that may be joined.
    pub key: u64,
}

/// Puts the inputs of a job into a batch.
pub type Put<'a> = &'a mut dyn FnMut(&[Input]) -> Result<()>;
/// Puts in all jobs of a batch.
pub type Jobs<'a> = &'a mut dyn FnMut(Put<'_>) -> Result<()>;

/// Runs batches, several at once.
pub trait Engine: Send + Sync + 'static {
    /// What a job gets of a batch.
    type Outputs: Send + Sync + 'static;
    /// Where a batch runs. It is given back by a drop.
    type Lane<'a>;

    /// How many inputs a job has.
    fn inputs(&self) -> usize;

    /// Whether it could run with such inputs, and with whom.
    fn fit(&self, inputs: &[Input]) -> Result<Fit>;

    /// A place for a batch of so many rows, of inputs like these.
    fn lane(&self, like: &[Input], rows: u32) -> Result<Self::Lane<'_>>;

    /// Calls `jobs` with what puts a job's inputs behind those of the one before.
    fn fill(&self, lane: &mut Self::Lane<'_>, jobs: Jobs<'_>) -> Result<()>;

    /// Runs the batch.
    fn run(&self, lane: &mut Self::Lane<'_>) -> Result<()>;

    /// What came of so many rows.
    fn outputs(&self, lane: &Self::Lane<'_>, row: u32, rows: u32) -> Self::Outputs;
}
