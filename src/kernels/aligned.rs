//! Floats on cache lines.

use crate::error::{self, Result};

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Zeros at first, 64-byte aligned; a multiple of 16 floats.
#[derive(Debug, Clone)]
pub struct Aligned {
    lines: Vec<Line>,
}

impl Aligned {
    /// At least `count` floats.
    pub fn zeros(count: usize) -> Result<Aligned> {
        let count = count.div_ceil(16);
        let mut lines = Vec::new();
        lines.try_reserve_exact(count).map_err(|_| {
            error::out_of_memory(format!("no memory for {} bytes", count.saturating_mul(64)))
        })?;
        lines.resize(count, Line([0.0; 16]));
        Ok(Aligned { lines })
    }

    /// All of them.
    pub fn floats(&self) -> &[f32] {
        let (from, count) = (self.lines.as_ptr().cast(), self.lines.len() * 16);
        // SAFETY: each line is sixteen floats and nothing else, and the lines are
        // one after the other.
        unsafe { std::slice::from_raw_parts(from, count) }
    }

    /// All of them, to write to.
    pub fn floats_mut(&mut self) -> &mut [f32] {
        let (from, count) = (self.lines.as_mut_ptr().cast(), self.lines.len() * 16);
        // SAFETY: as above, and they are borrowed as long as this is.
        unsafe { std::slice::from_raw_parts_mut(from, count) }
    }
}

/// Bytes as the floats that they are; none where they do not lie as floats do.
#[inline]
pub fn as_floats(bytes: &[u8]) -> Option<&[f32]> {
    if bytes.is_empty() {
        return Some(&[]); // Such bytes may have any address.
    }
    if !lie_as_floats(bytes) {
        return None;
    }
    let (from, count) = (bytes.as_ptr().cast::<f32>(), bytes.len() / size_of::<f32>());
    // SAFETY: aligned; all bits make a float.
    Some(unsafe { std::slice::from_raw_parts(from, count) })
}

/// Whether bytes are whole floats where floats may be. (`align_to` says so, too,
/// but looks for the first such place.)
#[inline]
fn lie_as_floats(bytes: &[u8]) -> bool {
    bytes.as_ptr().cast::<f32>().is_aligned() && bytes.len().is_multiple_of(size_of::<f32>())
}

/// As [`as_floats`], to write to.
#[inline]
pub fn as_floats_mut(bytes: &mut [u8]) -> Option<&mut [f32]> {
    if bytes.is_empty() {
        return Some(&mut []);
    }
    if !lie_as_floats(bytes) {
        return None;
    }
    let (from, count) = (bytes.as_mut_ptr().cast::<f32>(), bytes.len() / size_of::<f32>());
    // SAFETY: aligned; all bits make a float, and all floats make bytes.
    Some(unsafe { std::slice::from_raw_parts_mut(from, count) })
}

/// Floats as the bytes that they are.
#[inline]
pub fn as_bytes(floats: &[f32]) -> &[u8] {
    // SAFETY: all bits of a float make bytes, and those need no alignment.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), size_of_val(floats)) }
}

/// As [`as_bytes`], to write to.
#[inline]
pub fn as_bytes_mut(floats: &mut [f32]) -> &mut [u8] {
    // SAFETY: as above, and all bytes make a float.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), size_of_val(floats)) }
}

/// Bytes as the signed ones that have their bits.
#[inline]
pub fn as_signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: of one size and alignment, and all bits make either.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

/// As [`as_signed`], to write to.
#[inline]
pub fn as_signed_mut(bytes: &mut [u8]) -> &mut [i8] {
    // SAFETY: of one size and alignment, and all bits make either.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) }
}

/// Floats as the integers that have their bits.
#[inline]
pub fn as_ints(floats: &[f32]) -> &[i32] {
    // SAFETY: of one size and alignment, and all bits make either.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), floats.len()) }
}

/// As [`as_ints`], to write to.
#[inline]
pub fn as_ints_mut(floats: &mut [f32]) -> &mut [i32] {
    // SAFETY: of one size and alignment, and all bits make either.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), floats.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_floats() {
        let mut floats = Aligned::zeros(17).unwrap();
        assert_eq!((floats.floats().len(), floats.floats().as_ptr().addr() % 64), (32, 0));
        floats.floats_mut()[31] = 2.0;
        assert_eq!(floats.floats().iter().sum::<f32>(), 2.0);
        assert!(Aligned::zeros(0).unwrap().floats_mut().is_empty());
        assert!(Aligned::zeros(usize::MAX).is_err());
    }

    #[test]
    fn bytes_are_floats_where_they_lie_so() {
        let mut lines = Aligned::zeros(16).unwrap();
        let floats = lines.floats_mut();
        floats[1] = 1.5;
        let from: *mut u8 = floats.as_mut_ptr().cast();
        // SAFETY: 64 bytes of the floats above, which are not used meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts_mut(from, 64) };
        assert_eq!(as_floats(bytes).unwrap()[1], 1.5);
        assert!(as_floats(&bytes[1..5]).is_none() && as_floats(&bytes[..6]).is_none());
        as_floats_mut(bytes).unwrap()[2] = 2.5;
        assert!(as_floats_mut(&mut bytes[2..6]).is_none());
        assert_eq!(lines.floats()[..3], [0.0, 1.5, 2.5]);
        assert!(as_floats(&[]).is_some() && as_floats_mut(&mut []).is_some());
    }
}
