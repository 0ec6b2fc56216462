//! Time by step, for `benches/peers.sh --profile`; only with the feature
//! `profile`, for it costs two looks at the clock a step.

use std::cell::RefCell;
use std::time::Duration;

/// One step, once.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who asked for it.
    pub name: String,
    /// A step of ours, or a region as a whole.
    pub is_native: bool,
    /// It is within a region that has an entry of its own.
    pub is_within: bool,
    /// How long it took.
    pub time: Duration,
    /// Floating-point operations, where they are counted.
    pub flop: u64,
    /// Bytes read and written, as far as they are known.
    pub bytes: u64,
}

thread_local! {
    static ENTRIES: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// Notes a step of this thread.
pub(super) fn note(entry: Entry) {
    ENTRIES.with(|entries| entries.borrow_mut().push(entry));
}

/// The steps of this thread since the last call, in their order.
pub fn take() -> Vec<Entry> {
    ENTRIES.with(RefCell::take)
}
