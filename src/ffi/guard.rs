//! The guard around every entry: an error becomes a status and this thread's
//! text, a panic becomes `INTERNAL`, and nothing else leaves.

use super::options::{InitStruct, read_struct};
use super::status::inferno_status;
use crate::error::{self, Error, Kind, Result};
use crate::kernels::FloatMode;
use crate::log::log_line;
use crate::panics;
use crate::pool::Scope;
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_void};

/// Room for a thread's text with its NUL. Longer texts are cut, marked "…".
const TEXT_BYTES: usize = 4096;

// A thread's text lives in a `const` thread-local of a type without a
// destructor, so that it can be read at any time of the thread's life, other
// thread-locals' destructors included, and costs no allocation.
thread_local! {
    static TEXT: UnsafeCell<[u8; TEXT_BYTES]> = const { UnsafeCell::new([0; TEXT_BYTES]) };
}

/// Runs `body`, and answers its outcome as a status.
pub(super) fn guard(body: impl FnOnce() -> Result<()>) -> inferno_status {
    let _mode = FloatMode::standard();
    guard_in_hosts_mode(body)
}

/// The same for what computes nothing in floating point, or sees to its mode itself:
/// to read the register takes as long as many a short call's other work.
pub(super) fn guard_in_hosts_mode(body: impl FnOnce() -> Result<()>) -> inferno_status {
    // Inside, a tensor that cannot be had unwinds to here.
    let scope = Scope::open(u64::MAX);
    match panics::caught(body) {
        Ok(Ok(())) if !scope.is_past_soft() => {
            no_text();
            inferno_status::Ok
        }
        outcome => told(outcome, &scope),
    }
}

/// What the caller is told of an outcome: once for all entries.
#[cold]
#[inline(never)]
fn told(outcome: std::result::Result<Result<()>, String>, scope: &Scope<'_>) -> inferno_status {
    if let Some(text) = scope.past_soft() {
        log_line!(Warn, "{text}");
    }
    match (outcome, scope.settle()) {
        (Ok(Ok(())), _) => {
            no_text();
            inferno_status::Ok
        }
        // What failed for want of memory: the scope knows why there was none.
        (Ok(Err(e)), Err(short))
            if (e.kind(), short.kind()) == (Kind::OutOfMemory, Kind::OutOfBudget) =>
        {
            fail(&short)
        }
        (Ok(Err(e)), _) | (Err(_), Err(e)) => fail(&e),
        (Err(panic), Ok(())) => fail(&error::internal(format!("caught a panic: {panic}"))),
    }
}

#[cold]
fn fail(e: &Error) -> inferno_status {
    set_text(e.detail());
    e.kind().into()
}

fn no_text() {
    // SAFETY: as in `set_text`.
    TEXT.with(|cell| unsafe { (*cell.get())[0] = 0 });
}

fn set_text(text: &str) {
    TEXT.with(|cell| {
        // SAFETY: the cell belongs to this thread alone and no reference to
        // its content outlives this block; C code reads it only between calls.
        let buffer = unsafe { &mut *cell.get() };
        let mut end = text.len().min(TEXT_BYTES - 1);
        let cut = end < text.len();
        if cut {
            end -= "…".len();
            while !text.is_char_boundary(end) {
                end -= 1;
            }
        }
        for (to, from) in buffer.iter_mut().zip(text.as_bytes()[..end].iter()) {
            *to = if *from == 0 { b' ' } else { *from };
        }
        if cut {
            buffer[end..end + "…".len()].copy_from_slice("…".as_bytes());
            end += "…".len();
        }
        buffer[end] = 0;
    });
}

pub(super) fn last_error() -> *const c_char {
    TEXT.with(|cell| cell.get().cast())
}

/// A place for an output: checked now, written last.
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    pub(super) fn write(self, value: T) {
        // SAFETY: `out` checked for NULL and alignment, and its caller promised
        // a writable place.
        unsafe { self.0.write(value) }
    }
}

/// SAFETY: `place` is NULL or writable until the entry returns.
pub(super) unsafe fn out<T>(what: &str, place: *mut T) -> Result<Out<T>> {
    aligned(what, place)?;
    Ok(Out(place))
}

fn aligned<T>(what: &str, place: *const T) -> Result<()> {
    if place.is_null() {
        return Err(error::invalid_argument(format!("{what} is NULL: expected a pointer")));
    }
    if !place.is_aligned() {
        return Err(error::invalid_argument(format!(
            "{what} is misaligned: expected a multiple of {} bytes",
            align_of::<T>()
        )));
    }
    Ok(())
}

/// SAFETY: `text` is NULL or a NUL-terminated string that outlives `'a`.
pub(super) unsafe fn str_arg<'a>(what: &str, text: *const c_char) -> Result<&'a str> {
    if text.is_null() {
        return Err(error::invalid_argument(format!("{what} is NULL: expected a string")));
    }
    // SAFETY: not NULL, and as this function's own contract.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|e| {
        error::invalid_argument(format!("{what} is not UTF-8: bad byte at {}", e.valid_up_to()))
    })
}

/// SAFETY: `items` is NULL or holds `count` readable items that outlive `'a`.
pub(super) unsafe fn slice_arg<'a, T>(
    what: &str,
    items: *const T,
    count: usize,
) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    aligned(what, items)?;
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(error::invalid_argument(format!("{what}: no memory holds {count} items")));
    }
    // SAFETY: not NULL, aligned, and as this function's own contract.
    Ok(unsafe { std::slice::from_raw_parts(items, count) })
}

/// SAFETY: `items` is NULL or holds `count` writable items that outlive `'a` and that
/// nothing else reads or writes meanwhile: see [`apart`].
pub(super) unsafe fn slice_mut_arg<'a, T>(
    what: &str,
    items: *mut T,
    count: usize,
) -> Result<&'a mut [T]> {
    // SAFETY: as this function's own contract.
    let size = unsafe { slice_arg(what, items.cast_const(), count) }?.len();
    match size {
        0 => Ok(&mut []),
        // SAFETY: as this function's own contract.
        _ => Ok(unsafe { std::slice::from_raw_parts_mut(items, count) }),
    }
}

/// What has a name and bytes: where they begin, and how many.
pub(super) type Extent<'a> = (&'a str, *const c_void, usize);

/// Checks that no two share a byte.
pub(super) fn apart(all: &[Extent<'_>]) -> Result<()> {
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            let (a, b) = (one.1.addr(), other.1.addr());
            if one.2 > 0
                && other.2 > 0
                && a < b.saturating_add(other.2)
                && b < a.saturating_add(one.2)
            {
                return Err(error::invalid_argument(format!(
                    "{} and {} share memory: expected them apart",
                    one.0, other.0
                )));
            }
        }
    }
    Ok(())
}

/// Reads an option struct; NULL means the defaults.
///
/// SAFETY: `options` is NULL or points to its `struct_size` readable bytes.
pub(super) unsafe fn opt_struct<T: InitStruct>(options: *const T) -> Result<T> {
    if options.is_null() {
        return Ok(T::defaults());
    }
    // SAFETY: as this function's own contract.
    unsafe { struct_prefix(options) }
}

/// Reads a struct that says its size, which is not NULL.
///
/// SAFETY: `place` points to its `struct_size` readable bytes.
pub(super) unsafe fn struct_prefix<T: InitStruct>(place: *const T) -> Result<T> {
    aligned(T::NAME, place)?;
    // SAFETY: as this function's own contract.
    unsafe { read_struct(place) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        // SAFETY: the thread's own text is always NUL-terminated.
        unsafe { CStr::from_ptr(last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_becomes_internal_with_its_message() {
        let status = guard(|| panic!("lost the plot"));
        assert_eq!(status, inferno_status::Internal);
        assert!(text().contains("lost the plot"), "{}", text());
        assert!(text().contains("guard.rs"), "{}", text());
        assert_eq!(guard(|| Ok(())), inferno_status::Ok);
        assert_eq!(text(), "");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        guard(|| Err(error::io("é".repeat(TEXT_BYTES))));
        let text = text();
        assert!(text.len() < TEXT_BYTES);
        assert!(text.ends_with("é…"));
    }
}
