//! Where chunks come from, and go to.

use super::chunk::Kind;
use super::ledger;
use super::source::{self, SourceId};
#[cfg(all(windows, not(miri)))]
use super::windows as system;
use std::alloc::Layout;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::time::Instant;

/// Milliseconds since the pool first looked.
pub(super) fn now() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    BEGIN.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// Memory for a chunk, aligned to its size, or NULL. Hosts give chunks of pages
/// only: the address space of a region is theirs to spend.
pub(super) fn map(source: SourceId, kind: Kind) -> *mut u8 {
    let chunk = match (source, kind) {
        #[cfg(all(any(unix, windows), not(miri)))]
        (SourceId::SYSTEM, _) => system::map(kind.bytes()),
        (_, Kind::Pages) => source::alloc(source, layout(kind), false),
        (_, Kind::Region) => null_mut(),
    };
    if !chunk.is_null() {
        ledger::count_source_call();
    }
    chunk
}

/// Makes fresh units usable; false when the system has no memory for them. Where the
/// system gives pages as they are touched, they are usable already.
///
/// SAFETY: the units lie in a chunk from `map` with this source, and are the caller's.
pub(super) unsafe fn commit(source: SourceId, units: *mut u8, bytes: usize) -> bool {
    #[cfg(all(windows, not(miri)))]
    if source == SourceId::SYSTEM {
        ledger::count_source_call();
        // SAFETY: by this function's contract.
        return unsafe { system::commit(units, bytes) };
    }
    let _ = (source, units, bytes);
    true
}

/// SAFETY: `chunk` came from `map` with these, and nothing points into it.
pub(super) unsafe fn unmap(source: SourceId, kind: Kind, chunk: *mut u8) {
    ledger::count_source_call();
    #[cfg(all(any(unix, windows), not(miri)))]
    if source == SourceId::SYSTEM {
        // SAFETY: by this function's contract.
        return unsafe { system::unmap(chunk, kind.bytes()) };
    }
    // SAFETY: by this function's contract.
    unsafe { source::free(source, chunk, layout(kind)) }
}

/// Gives the pages of a free run back, but not its addresses; the system's only. Those of
/// the system may be larger than ours (16 KiB or 64 KiB on 64-bit ARM): what shares one with
/// a neighbour stays.
///
/// SAFETY: the run lies in a chunk from `map(SourceId::SYSTEM, _)`, and nobody
/// needs what it holds.
pub(super) unsafe fn purge(run: *mut u8, bytes: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    // SAFETY: by this function's contract.
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE).max(1) as usize;
        let (before, bytes) = whole_pages(run.addr(), bytes, page);
        if bytes > 0 {
            ledger::count_source_call();
            libc::madvise(run.add(before).cast(), bytes, libc::MADV_DONTNEED);
        }
    }
    #[cfg(all(windows, not(miri)))]
    // SAFETY: by this function's contract.
    unsafe {
        ledger::count_source_call();
        system::decommit(run, bytes);
    }
    let _ = (run, bytes);
}

/// The whole pages among the bytes from `at` on: how far from there, and their bytes.
#[cfg(all(target_os = "linux", not(miri)))]
fn whole_pages(at: usize, bytes: usize, page: usize) -> (usize, usize) {
    let before = at.next_multiple_of(page) - at;
    (before, bytes.saturating_sub(before) / page * page)
}

/// Whether the process is ending, so that no lock may be waited for and nothing needs to
/// be given back.
#[inline]
pub(super) fn is_ending() -> bool {
    #[cfg(all(windows, not(miri)))]
    return system::is_ending();
    #[cfg(not(all(windows, not(miri))))]
    false
}

fn layout(kind: Kind) -> Layout {
    // SAFETY: the size of a chunk is a power of two.
    unsafe { Layout::from_size_align_unchecked(kind.bytes(), kind.bytes()) }
}

#[cfg(all(unix, not(miri)))]
mod system {
    use std::ptr::null_mut;

    /// So many bytes, a power of two, aligned to as much, or NULL.
    pub(super) fn map(bytes: usize) -> *mut u8 {
        // The last place may do by chance; otherwise what is too much at either
        // end is given back.
        let chunk = pages(bytes);
        if chunk.is_null() || chunk.addr().is_multiple_of(bytes) {
            return chunk;
        }
        // SAFETY: just mapped; the parts of the larger mapping are its own.
        unsafe {
            unmap(chunk, bytes);
            let wide = pages(bytes * 2);
            if wide.is_null() {
                return wide;
            }
            let before = wide.addr().wrapping_neg() & (bytes - 1);
            let chunk = wide.add(before);
            if before > 0 {
                unmap(wide, before);
            }
            unmap(chunk.add(bytes), bytes - before);
            chunk
        }
    }

    fn pages(bytes: usize) -> *mut u8 {
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON | NORESERVE);
        // SAFETY: a new mapping.
        let pages = unsafe { libc::mmap(null_mut(), bytes, access, flags, -1, 0) };
        if pages == libc::MAP_FAILED { null_mut() } else { pages.cast() }
    }

    #[cfg(target_os = "linux")]
    const NORESERVE: i32 = libc::MAP_NORESERVE;
    #[cfg(not(target_os = "linux"))]
    const NORESERVE: i32 = 0;

    /// SAFETY: whole pages of ours.
    pub(super) unsafe fn unmap(pages: *mut u8, bytes: usize) {
        if bytes > 0 {
            // SAFETY: by this function's contract.
            unsafe { libc::munmap(pages.cast(), bytes) };
        }
    }
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_shared_is_not_given_back() {
        const KIB: usize = 1024;
        assert_eq!(whole_pages(20 * KIB, 12 * KIB, 4 * KIB), (0, 12 * KIB));
        assert_eq!(whole_pages(20 * KIB, 64 * KIB, 16 * KIB), (12 * KIB, 48 * KIB));
        assert_eq!(whole_pages(64 * KIB, 20 * KIB, 16 * KIB), (0, 16 * KIB));
        assert_eq!(whole_pages(68 * KIB, 56 * KIB, 64 * KIB), (60 * KIB, 0));
    }
}
