//! Chunks of Windows: addresses are reserved first, and each page is committed before its
//! first use, because Windows counts a committed page against its limit, touched or not.

use super::chunk::HEADER_BYTES;
use std::ptr::{null, null_mut};
use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_DECOMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_READWRITE, VirtualAlloc, VirtualFree,
};

/// How often a place that was found is asked for: another thread may take it first.
const ATTEMPTS: usize = 16;

/// Addresses for so many bytes, a power of two, aligned to as much, with room for a
/// chunk's header; or NULL.
pub(super) fn map(bytes: usize) -> *mut u8 {
    let chunk = reserve_aligned(bytes);
    // SAFETY: just reserved, and nobody else's.
    unsafe {
        if chunk.is_null() || commit(chunk, HEADER_BYTES) {
            return chunk;
        }
        unmap(chunk, bytes);
    }
    null_mut()
}

fn reserve_aligned(bytes: usize) -> *mut u8 {
    let first = reserve(null_mut(), bytes);
    if first.is_null() || first.addr().is_multiple_of(bytes) {
        return first;
    }
    // SAFETY: just reserved; it is all that begins there.
    unsafe { unmap(first, bytes) };
    // A part of a reservation cannot be given back, so a wider one only finds the place.
    for _ in 0..ATTEMPTS {
        let wide = reserve(null_mut(), bytes * 2);
        if wide.is_null() {
            return wide;
        }
        let place = wide.map_addr(|at| at.next_multiple_of(bytes));
        // SAFETY: as above.
        unsafe { unmap(wide, bytes * 2) };
        let chunk = reserve(place, bytes);
        if !chunk.is_null() {
            return chunk;
        }
    }
    null_mut()
}

/// Reserves addresses at `place`, or where there is room for NULL.
fn reserve(place: *mut u8, bytes: usize) -> *mut u8 {
    let place = if place.is_null() { null() } else { place.cast_const().cast() };
    // SAFETY: a new reservation, or none.
    unsafe { VirtualAlloc(place, bytes, MEM_RESERVE, PAGE_READWRITE).cast() }
}

/// Makes pages usable, those that are already included; false when there is no memory.
///
/// SAFETY: whole pages of a chunk from `map`.
pub(super) unsafe fn commit(pages: *mut u8, bytes: usize) -> bool {
    // SAFETY: by this function's contract.
    unsafe { !VirtualAlloc(pages.cast(), bytes, MEM_COMMIT, PAGE_READWRITE).is_null() }
}

/// Gives the memory of pages back, and keeps their addresses.
///
/// SAFETY: whole pages of a chunk from `map`, which nobody needs.
pub(super) unsafe fn decommit(pages: *mut u8, bytes: usize) {
    // SAFETY: by this function's contract. What fails stays committed, which does no harm.
    unsafe { VirtualFree(pages.cast(), bytes, MEM_DECOMMIT) };
}

/// Gives a whole reservation back, however long it is.
///
/// SAFETY: `chunk` came from `map`, and nothing points into it.
pub(super) unsafe fn unmap(chunk: *mut u8, _: usize) {
    // SAFETY: by this function's contract.
    unsafe { VirtualFree(chunk.cast(), 0, MEM_RELEASE) };
}

/// Whether the process is ending. Its other threads are gone by then, with whatever locks
/// they held, while thread-locals of the last one are still dropped.
pub(super) fn is_ending() -> bool {
    #[link(name = "ntdll")]
    unsafe extern "system" {
        safe fn RtlDllShutdownInProgress() -> u8;
    }
    RtlDllShutdownInProgress() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_when_they_are_committed_and_go_when_not() {
        let bytes = 2 << 20;
        let chunk = map(bytes);
        assert!(!chunk.is_null() && chunk.addr().is_multiple_of(bytes));
        // SAFETY: of the chunk's two halves, the second is committed and then not.
        unsafe {
            chunk.add(HEADER_BYTES - 1).write(1);
            let half = chunk.add(bytes / 2);
            assert!(commit(half, bytes / 2));
            half.write_bytes(7, bytes / 2);
            decommit(half, bytes / 2);
            assert!(commit(half, bytes / 2));
            assert_eq!(half.read(), 0, "the page is another one");
            unmap(chunk, bytes);
        }
    }
}
