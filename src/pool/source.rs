//! Where memory comes from: the system, the host's callbacks, a small reserve.

use super::reserve::Bump;
use crate::error::{self, Result};
use crate::host::HostMemory;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A source, as a block's header names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceId(u32);

impl SourceId {
    pub(super) const SYSTEM: SourceId = SourceId(0);
    pub(super) const RESERVE: SourceId = SourceId(1);
    /// The first of the host's.
    const HOST: u32 = 2;
}

/// The most different allocators that hosts may bring to one process: plug-ins
/// share the library, and blocks of each must find their way back.
const MOST_HOSTS: usize = 16;

static HOSTS: [OnceLock<HostMemory>; MOST_HOSTS] = [const { OnceLock::new() }; MOST_HOSTS];
static CURRENT: AtomicU32 = AtomicU32::new(SourceId::SYSTEM.0);

/// Takes new blocks from `host` from now on, or from the system again.
pub fn use_host(host: Option<HostMemory>) -> Result<()> {
    let Some(host) = host else {
        CURRENT.store(SourceId::SYSTEM.0, Ordering::Release);
        return Ok(());
    };
    for (index, place) in HOSTS.iter().enumerate() {
        if place.get_or_init(|| host).same(&host) {
            CURRENT.store(SourceId::HOST + index as u32, Ordering::Release);
            return Ok(());
        }
    }
    Err(error::limit_exceeded(format!(
        "{MOST_HOSTS} different allocators were given in this process: no more can be"
    )))
}

/// Whether any host ever brought an allocator.
pub(super) fn hosts_were_used() -> bool {
    HOSTS[0].get().is_some()
}

/// Where new blocks come from.
pub(super) fn current() -> SourceId {
    SourceId(CURRENT.load(Ordering::Acquire))
}

/// A block of `source`, or NULL.
pub(super) fn alloc(source: SourceId, layout: Layout, zeroed: bool) -> *mut u8 {
    if layout.size() == 0 {
        return null_mut();
    }
    match source {
        // SAFETY: the size is not 0.
        SourceId::SYSTEM if zeroed => unsafe { System.alloc_zeroed(layout) },
        // SAFETY: the size is not 0.
        SourceId::SYSTEM => unsafe { System.alloc(layout) },
        _ => {
            let block = match source {
                SourceId::RESERVE => RESERVE.alloc(layout),
                SourceId(host) => {
                    host_of(host).map_or(null_mut(), |h| h.alloc(layout.size(), layout.align()))
                }
            };
            if zeroed && !block.is_null() {
                // SAFETY: the block has this many bytes.
                unsafe { block.write_bytes(0, layout.size()) };
            }
            block
        }
    }
}

/// SAFETY: `block` came from `alloc` with this source and layout, and is given
/// back once.
pub(super) unsafe fn free(source: SourceId, block: *mut u8, layout: Layout) {
    match source {
        // SAFETY: as this function's own contract.
        SourceId::SYSTEM => unsafe { System.dealloc(block, layout) },
        SourceId::RESERVE => RESERVE.bump.give(),
        SourceId(host) => {
            if let Some(host) = host_of(host) {
                // SAFETY: as this function's own contract.
                unsafe { host.free(block, layout.size(), layout.align()) }
            }
        }
    }
}

/// A larger or smaller block in the place of one of the system's, or NULL.
///
/// SAFETY: `block` came from `alloc(SourceId::SYSTEM, layout, _)`; `size` is not
/// 0 and fits `layout`'s alignment.
pub(super) unsafe fn resize(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: as this function's own contract.
    unsafe { System.realloc(block, layout, size) }
}

fn host_of(id: u32) -> Option<&'static HostMemory> {
    HOSTS.get((id - SourceId::HOST) as usize)?.get()
}

/// The reserve: what a failing call still needs.
pub(crate) struct Reserve {
    room: UnsafeCell<[u8; RESERVE_BYTES]>,
    bump: Bump,
}

const RESERVE_BYTES: usize = 256 << 10;

static RESERVE: Reserve = Reserve { room: UnsafeCell::new([0; RESERVE_BYTES]), bump: Bump::new() };

// SAFETY: `bump` hands every byte of `room` to one block at a time.
unsafe impl Sync for Reserve {}

impl Reserve {
    fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.room.get().cast::<u8>();
        match self.bump.take(start.addr(), RESERVE_BYTES, layout) {
            // SAFETY: within the room.
            Some(at) => unsafe { start.add(at) },
            None => null_mut(),
        }
    }
}
