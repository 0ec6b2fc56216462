//! What many threads write, on cache lines where nothing else is.

use std::ops::Deref;

/// A value with room around it. (Room, not alignment: aligned memory is what tensors
/// have, and may be refused: see [`crate::pool`].)
#[repr(C)]
pub(super) struct Apart<T> {
    _before: [u8; 64],
    value: T,
    _after: [u8; 64],
}

impl<T> Apart<T> {
    pub(super) const fn new(value: T) -> Apart<T> {
        Apart { _before: [0; 64], value, _after: [0; 64] }
    }
}

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
