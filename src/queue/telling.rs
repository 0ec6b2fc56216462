//! Whether this thread is inside a callback of a queue's.

use std::cell::Cell;

thread_local! {
    static IS_TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Calls the host.
pub(super) fn tell(call: impl FnOnce()) {
    let outer = IS_TELLING.replace(true);
    call();
    IS_TELLING.set(outer);
}

/// Whether this thread is inside a callback: what waits for jobs is refused there.
pub fn is_telling() -> bool {
    IS_TELLING.get()
}
