//! Memory that a host lends to a job until it is answered.

#![allow(unsafe_code)]

/// The host's bytes.
pub struct Lent {
    data: *const u8,
    len: usize,
}

// SAFETY: who lends promises memory that any thread may read until the job is answered.
unsafe impl Send for Lent {}

impl Lent {
    /// Borrows bytes.
    ///
    /// # Safety
    ///
    /// `data` has `len` readable bytes, which nobody changes until the job that they
    /// are given to is answered.
    pub unsafe fn new(data: *const u8, len: usize) -> Lent {
        Lent { data, len }
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        if self.len == 0 {
            return &[]; // An empty tensor may have no address.
        }
        // SAFETY: `new`'s contract; the queue lets go of it before it answers.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}
