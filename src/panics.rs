//! Panics, caught with their message and place.
//!
//! Rust's default hook prints a panic on stderr. A panic that is caught here is
//! an error with a text, not a line in the host's terminal, so the C artefacts
//! (feature `capi`) put a hook over their own copy of the standard library: it
//! keeps the message of a panic inside [`caught`], and hands every other panic
//! to the hook that was there before. Without `capi` no hook is touched.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs `body`; a panic comes back as its message with file and line.
#[inline]
pub(crate) fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    if !HOOK.is_completed() {
        HOOK.call_once(install);
    }
    // (It has no destructor, so it is there during a thread's teardown, too.)
    let outcome = DEPTH.with(|depth| {
        depth.set(depth.get() + 1);
        let outcome = panic::catch_unwind(AssertUnwindSafe(body));
        depth.set(depth.get() - 1);
        outcome
    });
    outcome.map_err(text_of)
}

#[cold]
fn text_of(payload: Box<dyn Any + Send>) -> String {
    // During thread teardown this one may be gone.
    let kept = MESSAGE.try_with(|m| m.borrow_mut().take()).ok().flatten();
    let text = kept.unwrap_or_else(|| message(&*payload));
    // A payload's own destructor may panic; what that leaves is let go.
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
    text
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

#[cfg(feature = "capi")]
fn install() {
    // (From now on the standard library calls into this one.)
    crate::host::stay_loaded();
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
            return before(info);
        }
        let place = info.location().map(|l| format!(" ({}:{})", short(l.file()), l.line()));
        let text = message(info.payload()) + &place.unwrap_or_default();
        let _ = MESSAGE.try_with(|m| *m.borrow_mut() = Some(text));
    }));
}

/// A dependency's file without the folders of the machine that built it.
#[cfg(feature = "capi")]
fn short(file: &str) -> &str {
    let registry = file.split_once("/registry/src/").and_then(|(_, f)| f.split_once('/'));
    registry.map_or(file, |(_, file)| file)
}

#[cfg(not(feature = "capi"))]
fn install() {}

#[cfg(test)]
mod tests {
    use super::caught;

    #[test]
    fn nested_panics_keep_their_own_message() {
        let outer = caught(|| {
            let inner = caught(|| panic!("inner {}", 1));
            assert!(inner.unwrap_err().contains("inner 1"));
            panic!("outer");
        });
        assert!(outer.unwrap_err().starts_with("outer"));
        assert_eq!(caught(|| 7), Ok(7));
    }
}
