//! A block: 16 bytes that name its source and its account, then what was asked
//! for.

use super::accounts::Id;
use super::source::{self, SourceId};
use std::alloc::Layout;
use std::ptr::null_mut;

/// What stands in the 16 bytes before every block.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub(super) struct Header {
    source: SourceId,
    owner: Id,
}

const HEADER: usize = size_of::<Header>();
const _: () = assert!(HEADER == 16);

/// The layout of a block with its header, and how far in the block begins.
fn outer(layout: Layout) -> Option<(Layout, usize)> {
    let before = layout.align().max(HEADER);
    let size = layout.size().checked_add(before)?;
    Some((Layout::from_size_align(size, before).ok()?, before))
}

/// A block from `source` for the account `owner`, or NULL.
pub(super) fn take(source: SourceId, owner: Id, layout: Layout, zeroed: bool) -> *mut u8 {
    let Some((whole, before)) = outer(layout) else {
        return null_mut();
    };
    let start = source::alloc(source, whole, zeroed);
    if start.is_null() {
        return start;
    }
    // SAFETY: the source gave `before + layout.size()` bytes aligned to
    // `before`, a multiple of 16: the header has its place right before the
    // block (invariant 1).
    unsafe {
        let block = start.add(before);
        block.sub(HEADER).cast::<Header>().write(Header { source, owner });
        block
    }
}

/// Whose it is.
///
/// SAFETY: `block` is live and came from `take`.
pub(super) unsafe fn owner(block: *mut u8) -> Id {
    // SAFETY: invariant 1.
    unsafe { (*block.sub(HEADER).cast::<Header>()).owner }
}

/// Gives it back; whose it was.
///
/// SAFETY: `block` is live and came from `take` with this layout.
pub(super) unsafe fn give(block: *mut u8, layout: Layout) -> Id {
    // SAFETY: invariants 1 and 2.
    unsafe {
        let header = block.sub(HEADER).cast::<Header>().read();
        if let Some((whole, before)) = outer(layout) {
            source::free(header.source, block.sub(before), whole);
        }
        header.owner
    }
}

/// The same block with another size where the system can do that without a
/// copy; NULL when it cannot, and then nothing changed.
///
/// SAFETY: `block` is live and came from `take` with this layout; `size` is not
/// 0.
pub(super) unsafe fn resize(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    let Some((whole, before)) = outer(layout) else {
        return null_mut();
    };
    // SAFETY: invariant 1.
    let header = unsafe { block.sub(HEADER).cast::<Header>().read() };
    let larger = size.checked_add(before).filter(|s| *s <= isize::MAX as usize - before);
    let (SourceId::SYSTEM, Some(larger), true) = (header.source, larger, before == HEADER) else {
        return null_mut();
    };
    // SAFETY: invariant 2; the size was checked. The header moves along.
    unsafe {
        let start = source::resize(block.sub(before), whole, larger);
        if start.is_null() { start } else { start.add(before) }
    }
}
