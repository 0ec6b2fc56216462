//! The host's own memory, as two callbacks.

#![allow(unsafe_code)]

use std::ffi::c_void;

/// Gives `size_bytes` bytes aligned to `alignment` (a power of two), or NULL.
pub type AllocFn = unsafe extern "C" fn(
    user_data: *mut c_void,
    size_bytes: usize,
    alignment: usize,
) -> *mut c_void;
/// Takes back what `AllocFn` gave, with the same size and alignment.
pub type FreeFn = unsafe extern "C" fn(
    user_data: *mut c_void,
    block: *mut c_void,
    size_bytes: usize,
    alignment: usize,
);

/// A host's allocator. Its callbacks may be called from any thread, several at
/// once, for as long as the process lives.
#[derive(Debug, Clone, Copy)]
pub struct HostMemory {
    user_data: *mut c_void,
    alloc: AllocFn,
    free: FreeFn,
}

// SAFETY: `new` asks for callbacks that any thread may call, several at once;
// `user_data` is only handed through.
unsafe impl Send for HostMemory {}
// SAFETY: as above.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    /// The host's callbacks, taken over.
    ///
    /// # Safety
    ///
    /// The callbacks keep their contracts, on any thread, until the process
    /// ends, and do not unwind.
    pub unsafe fn new(user_data: *mut c_void, alloc: AllocFn, free: FreeFn) -> HostMemory {
        HostMemory { user_data, alloc, free }
    }

    /// Whether both are the same callbacks over the same data.
    pub(crate) fn same(&self, other: &HostMemory) -> bool {
        self.user_data == other.user_data
            && self.alloc as usize == other.alloc as usize
            && self.free as usize == other.free as usize
    }

    /// A block, or NULL; a misaligned answer is given back and counts as none.
    pub(crate) fn alloc(&self, size: usize, align: usize) -> *mut u8 {
        // SAFETY: the contract of `new`.
        let block = unsafe { (self.alloc)(self.user_data, size, align) };
        if block.addr() & (align - 1) != 0 {
            // SAFETY: `alloc` gave this very block.
            unsafe { (self.free)(self.user_data, block, size, align) };
            return std::ptr::null_mut();
        }
        block.cast()
    }

    /// SAFETY: `block` came from `alloc` with the same size and alignment, and
    /// is given back once.
    pub(crate) unsafe fn free(&self, block: *mut u8, size: usize, align: usize) {
        // SAFETY: as this function's own contract.
        unsafe { (self.free)(self.user_data, block.cast(), size, align) }
    }
}
