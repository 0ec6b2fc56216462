//! A job: what it is made of, and its place in the queue.

use super::inbox::Linked;
use super::lent::Lent;
use super::owned::Owned;
use super::phase::Phase;
use super::policy::Arrival;
use crate::error::{self, Error, Kind, Result};
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::tensor::{DType, Shape};

/// An input of a job.
pub struct Input {
    dtype: DType,
    shape: Shape,
    /// A copy; kept when the job ends, for the next one.
    copy: Vec<u8>,
    lent: Option<Lent>,
}

impl Input {
    fn new() -> Input {
        Input { dtype: DType::F32, shape: Shape::default(), copy: Vec::new(), lent: None }
    }

    /// Copies a tensor in.
    pub fn copy(&mut self, dtype: DType, shape: &Shape, bytes: &[u8]) -> Result<()> {
        (self.dtype, self.shape) = (dtype, *shape);
        self.copy_again(bytes)
    }

    /// Copies another tensor of the same type and shape in.
    #[inline]
    pub fn copy_again(&mut self, bytes: &[u8]) -> Result<()> {
        self.lent = None;
        self.copy.clear();
        if self.copy.capacity() < bytes.len() {
            self.copy
                .try_reserve_exact(bytes.len())
                .map_err(|_| error::out_of_memory(format!("no {} bytes for a job", bytes.len())))?;
        }
        self.copy.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes a tensor where it is.
    pub fn lend(&mut self, dtype: DType, shape: &Shape, lent: Lent) {
        (self.dtype, self.shape, self.lent) = (dtype, *shape, Some(lent));
    }

    /// Whether it is the host's memory.
    pub(super) fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// The host may have its memory back.
    pub(super) fn let_go(&mut self) {
        self.lent = None;
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dims.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The elements.
    pub fn bytes(&self) -> &[u8] {
        self.lent.as_ref().map_or(&self.copy, Lent::bytes)
    }
}

/// Who is told when a job has ended.
pub trait Note: Send + 'static {
    /// It ended so. Called once, on the thread that answers, with no lock held.
    fn tell(self, failed: Option<Kind>);
}

/// What a job is submitted with, besides its inputs.
pub struct Request<N> {
    /// Whose job it is.
    pub producer: u64,
    /// Its priority, below [`super::policy::LEVELS`].
    pub level: u8,
    /// How long it is wanted; 0 for always.
    pub timeout_ns: u64,
    /// Who is told of its end.
    pub note: Option<N>,
}

/// What the thread that has a job works with: see [`super::phase`], 5.
pub(crate) struct Content<N> {
    pub(super) inputs: Vec<Input>,
    pub(super) note: Option<N>,
}

/// What came of a job, when it has ended.
pub(crate) type Outcome<O> = Option<Result<O, Error>>;

/// The place of a job. (Apart from others by room, not by alignment: aligned memory is
/// what tensors have, and may be refused: see [`crate::pool`].)
#[repr(C)]
pub(crate) struct Cell<O, N> {
    _apart: [u8; 64],
    below: AtomicU32,
    pub(super) phase: Phase,
    /// Where who waits for it sleeps.
    pub(super) bell: AtomicU32,
    /// Level, tries, rows, PLAIN.
    packed: AtomicU32,
    producer: AtomicU64,
    /// In ticks.
    at: AtomicU64,
    deadline: AtomicU64,
    key: AtomicU64,
    pub(super) content: Owned<Content<N>>,
    pub(super) outcome: Owned<Outcome<O>>,
}

const PLAIN: u32 = 1 << 31;

impl<O, N> Linked for Cell<O, N> {
    fn below(&self) -> &AtomicU32 {
        &self.below
    }
}

impl<O, N> Cell<O, N> {
    pub(super) fn new(inputs: usize) -> Cell<O, N> {
        let inputs = (0..inputs).map(|_| Input::new()).collect();
        Cell {
            _apart: [0; 64],
            below: AtomicU32::new(0),
            phase: Phase::new(),
            bell: AtomicU32::new(0),
            packed: AtomicU32::new(0),
            producer: AtomicU64::new(0),
            at: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
            key: AtomicU64::new(0),
            content: Owned::new(Content { inputs, note: None }),
            outcome: Owned::new(None),
        }
    }

    /// Writes what the policy wants to know. The caller has the place alone, and
    /// publishes it by a push.
    pub(super) fn set_arrival(&self, arrival: &Arrival, is_plain: bool) {
        let plain = if is_plain { PLAIN } else { 0 };
        self.packed.store(u32::from(arrival.level) | arrival.rows << 8 | plain, Relaxed);
        self.producer.store(arrival.producer, Relaxed);
        self.at.store(arrival.at, Relaxed);
        self.deadline.store(arrival.deadline, Relaxed);
        self.key.store(arrival.key, Relaxed);
    }

    /// Reads it. The caller took the job from the inbox.
    pub(super) fn arrival(&self) -> Arrival {
        let packed = self.packed.load(Relaxed);
        Arrival {
            producer: self.producer.load(Relaxed),
            level: (packed & 3) as u8,
            at: self.at.load(Relaxed),
            deadline: self.deadline.load(Relaxed),
            rows: (packed & !PLAIN) >> 8,
            key: self.key.load(Relaxed),
        }
    }

    /// Whose job it is, or was.
    pub(super) fn producer(&self) -> u64 {
        self.producer.load(Relaxed)
    }

    /// Whether nobody is told of its end, and nothing was lent to it.
    pub(super) fn is_plain(&self) -> bool {
        self.packed.load(Relaxed) & PLAIN != 0
    }

    /// How often its run was tried, besides the first time.
    pub(super) fn tries(&self) -> u32 {
        self.packed.load(Relaxed) >> 2 & 63
    }

    /// It is tried once more.
    pub(super) fn try_again(&self) {
        self.packed.fetch_add(4, Relaxed);
    }
}
