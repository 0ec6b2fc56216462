//! What belongs to whoever has a job.

#![allow(unsafe_code)]

use crate::sync::UnsafeCell;

/// A value without a lock: whose it is says the job's phase ([`super::phase`], 5).
pub(crate) struct Owned<T>(UnsafeCell<T>);

// SAFETY: one thread at a time has it, by the contract of `change`; several read it at
// once only if that is what it is for, by the bound of `read`.
unsafe impl<T: Send> Sync for Owned<T> {}

impl<T> Owned<T> {
    pub(super) fn new(value: T) -> Owned<T> {
        Owned(UnsafeCell::new(value))
    }

    /// Works with it.
    ///
    /// # Safety
    ///
    /// The job is the caller's: nobody else changes or reads it meanwhile, `work` itself
    /// included.
    #[inline]
    pub(super) unsafe fn change<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: as this function's own contract.
        self.0.with_mut(|value| work(unsafe { &mut *value }))
    }

    /// Looks at it.
    ///
    /// # Safety
    ///
    /// Nobody changes it meanwhile.
    #[inline]
    pub(super) unsafe fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R
    where
        T: Sync,
    {
        // SAFETY: as this function's own contract.
        self.0.with(|value| look(unsafe { &*value }))
    }
}
