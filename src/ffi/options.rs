//! Structs that carry their size, so that the ABI can grow.
//!
//! A caller built against an older header passes fewer bytes: the rest are
//! defaults. One built against a newer header passes more: the bytes we do not
//! know must be zero, because anything else asks for something we cannot do.

use crate::error::{self, Result};
use std::mem::MaybeUninit;

/// A `repr(C)` struct whose first field is `struct_size: usize` and which is
/// valid for any bits in its other fields.
pub trait InitStruct: Copy {
    /// The struct's name in the header.
    const NAME: &'static str;
    /// Every field's default; `struct_size` is our own size.
    fn defaults() -> Self;
}

/// The largest `struct_size` that is believed; no release will come near it.
const LARGEST: usize = 4096;

fn check_size<T: InitStruct>(struct_size: usize) -> Result<()> {
    // The first release's structs are as they are now; a later one that grows
    // a struct keeps the first size here.
    let smallest = size_of::<T>();
    if struct_size < smallest || struct_size > LARGEST {
        return Err(error::invalid_argument(format!(
            "{}.struct_size is {struct_size}: expected sizeof({}), at least {smallest}",
            T::NAME,
            T::NAME
        )));
    }
    Ok(())
}

/// Fills a caller's struct with defaults, and what we do not know with zeros.
///
/// SAFETY: `place` is NULL or points to `struct_size` writable bytes.
pub(super) unsafe fn init_struct<T: InitStruct>(place: *mut T, struct_size: usize) -> Result<()> {
    if place.is_null() {
        return Err(error::invalid_argument(format!("{} is NULL: expected a pointer", T::NAME)));
    }
    check_size::<T>(struct_size)?;
    // SAFETY: `struct_size` bytes are writable and at least `size_of::<T>()`;
    // the copy is bytewise, so alignment does not matter. The struct's first
    // field is its size.
    unsafe {
        let bytes = place.cast::<u8>();
        bytes.write_bytes(0, struct_size);
        bytes.cast::<T>().write_unaligned(T::defaults());
        bytes.cast::<usize>().write_unaligned(struct_size);
    }
    Ok(())
}

/// Reads a caller's struct.
///
/// SAFETY: `place` is aligned and points to as many readable bytes as its first
/// field says.
pub(super) unsafe fn read_struct<T: InitStruct>(place: *const T) -> Result<T> {
    // SAFETY: the first field is within the readable bytes.
    let struct_size = unsafe { place.cast::<usize>().read() };
    check_size::<T>(struct_size)?;
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: `check_size` saw at least `size_of::<T>()` bytes, all readable; any
    // bits are valid for an `InitStruct`; the tail is `u8`s within the struct.
    unsafe {
        std::ptr::copy_nonoverlapping(place, value.as_mut_ptr(), 1);
        let tail = std::slice::from_raw_parts(
            place.cast::<u8>().add(size_of::<T>()),
            struct_size - size_of::<T>(),
        );
        if let Some(at) = tail.iter().position(|b| *b != 0) {
            return Err(error::invalid_argument(format!(
                "{} has a field at byte {} which this library (version {}) does not know: \
                 expected zero",
                T::NAME,
                size_of::<T>() + at,
                env!("CARGO_PKG_VERSION")
            )));
        }
        Ok(value.assume_init())
    }
}

/// The size that a caller's out-struct says, which [`fill_struct`] could fill.
///
/// SAFETY: `place` is NULL or points to as many writable bytes as its first
/// field says.
pub(super) unsafe fn out_struct<T: InitStruct>(place: *mut T) -> Result<usize> {
    if place.is_null() || !place.is_aligned() {
        return Err(error::invalid_argument(format!(
            "{} is NULL or misaligned: expected a pointer",
            T::NAME
        )));
    }
    // SAFETY: as this function's own contract.
    let struct_size = unsafe { place.cast::<usize>().read() };
    check_size::<T>(struct_size)?;
    Ok(struct_size)
}

/// Fills a caller's out-struct, which says its size, with `value`.
///
/// SAFETY: as [`out_struct`].
pub(super) unsafe fn fill_struct<T: InitStruct>(place: *mut T, value: T) -> Result<()> {
    // SAFETY: as this function's own contract; then `struct_size` bytes are
    // writable and at least `size_of::<T>()`.
    unsafe {
        let struct_size = out_struct(place)?;
        place.cast::<u8>().write_bytes(0, struct_size);
        place.write(value);
        place.cast::<usize>().write(struct_size);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Now {
        struct_size: usize,
        threads: u64,
    }

    impl InitStruct for Now {
        const NAME: &'static str = "now";
        fn defaults() -> Self {
            Now { struct_size: size_of::<Now>(), threads: 3 }
        }
    }

    #[repr(C)]
    struct Later {
        now: Now,
        added: u64,
    }

    #[test]
    fn a_newer_caller_is_read_when_the_new_fields_are_zero() {
        let mut later = Later { now: Now { struct_size: 0, threads: 0 }, added: 9 };
        let whole = &raw mut later;
        let place = whole.cast::<Now>();
        // SAFETY: `place` points to a `Later`, whose size is given.
        unsafe {
            init_struct(place, size_of::<Later>()).unwrap();
            assert_eq!(((*whole).now.threads, (*whole).added), (3, 0));
            assert_eq!(read_struct(place.cast_const()).unwrap().threads, 3);
            (*whole).added = 1;
            let e = read_struct(place.cast_const()).err().unwrap();
            assert!(e.detail().contains("byte 16"), "{e}");
        }
    }

    #[test]
    fn sizes_no_release_had_are_refused() {
        let mut now = Now::defaults();
        for size in [0, 8, 15, LARGEST + 1, usize::MAX] {
            now.struct_size = size;
            // SAFETY: the size is refused before anything else is read.
            assert!(unsafe { read_struct(&raw const now) }.is_err());
        }
        // SAFETY: NULL is allowed.
        assert!(unsafe { init_struct::<Now>(std::ptr::null_mut(), 16) }.is_err());
    }
}
