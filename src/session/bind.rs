//! What crosses to the host by address: its own buffers, bound to inputs and
//! outputs, and our strings, as C strings.

#![allow(unsafe_code)]

use crate::error::{self, Result};
use crate::plan::Value;
use crate::tensor::{DType, Shape};
use std::ffi::{CString, c_char};

/// Memory of the host's that an input is read from.
pub struct BoundInput {
    dtype: DType,
    shape: Shape,
    data: *const u8,
}

/// Memory of the host's that an output is written to.
pub struct BoundOutput {
    dtype: DType,
    shape: Shape,
    data: *mut u8,
}

// SAFETY: who binds promises memory that may be read from any thread that is
// inside the session, until the binding ends.
unsafe impl Send for BoundInput {}
// SAFETY: as above, for writing; only the thread inside the session does.
unsafe impl Send for BoundOutput {}

fn plain(dtype: DType) -> Result<()> {
    if dtype == DType::String {
        return Err(error::unsupported("a string tensor cannot be bound: set or view it"));
    }
    Ok(())
}

impl BoundInput {
    /// Memory to bind.
    ///
    /// # Safety
    ///
    /// `data` has the bytes of `dtype` and `shape`, readable whenever a
    /// run of the session is under way, until the binding ends.
    pub unsafe fn new(dtype: DType, shape: Shape, data: *const u8) -> Result<BoundInput> {
        plain(dtype)?;
        Ok(BoundInput { dtype, shape, data })
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The host's memory itself, where it is of floats that lie as floats do.
    pub(super) fn floats(&self) -> Option<&[f32]> {
        let (data, len) = (self.data.cast::<f32>(), self.shape.size_bytes(self.dtype) / 4);
        if self.dtype != DType::F32 || len == 0 || !data.is_aligned() {
            return None;
        }
        // SAFETY: `new`'s contract: it may be read while a run is under way, and
        // only a run asks; the address is a float's, and all bits make one.
        Some(unsafe { std::slice::from_raw_parts(data, len) })
    }

    /// The host's memory itself.
    pub(super) fn bytes(&self) -> &[u8] {
        let len = self.shape.size_bytes(self.dtype);
        if len == 0 {
            return &[];
        }
        // SAFETY: `new`'s contract: it may be read while a run is under way, and
        // only a run asks.
        unsafe { std::slice::from_raw_parts(self.data, len) }
    }

    /// Copies the host's elements into `value`, which has the same shape.
    pub(super) fn read_into(&self, value: &mut Value) -> Result<()> {
        let len = self.shape.size_bytes(self.dtype);
        if len == 0 {
            return Ok(());
        }
        let to = value
            .bytes_mut()
            .filter(|to| to.len() == len)
            .ok_or_else(|| error::internal("a bound input of another size than its value"))?;
        // SAFETY: `new`'s contract; `to` is ours, so they do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(self.data, to.as_mut_ptr(), len) };
        Ok(())
    }
}

impl BoundOutput {
    /// Memory to bind.
    ///
    /// # Safety
    ///
    /// `data` has the bytes of `dtype` and `shape`, writable whenever a
    /// run of the session is under way, until the binding ends.
    pub unsafe fn new(dtype: DType, shape: Shape, data: *mut u8) -> Result<BoundOutput> {
        plain(dtype)?;
        Ok(BoundOutput { dtype, shape, data })
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether `value` may be written here.
    pub(super) fn accepts(&self, value: &Value) -> Result<()> {
        if value.dtype() != self.dtype {
            return Err(error::dtype_mismatch(format!(
                "the run gave {}, the bound buffer is {}",
                value.dtype(),
                self.dtype
            )));
        }
        let (have, need) = (self.shape.size_bytes(self.dtype), value.bytes().len());
        if have != need {
            return Err(error::size_mismatch(format!(
                "the run gave dims {} ({need} bytes), the bound buffer has {} ({have} bytes)",
                value.shape(),
                self.shape
            )));
        }
        Ok(())
    }

    /// Whether as many floats may be written here.
    pub(super) fn accepts_floats(&self, shape: &Shape) -> bool {
        self.dtype == DType::F32
            && self.shape.size_bytes(self.dtype) == shape.size_bytes(self.dtype)
    }

    /// Writes floats that were accepted.
    pub(super) fn write_floats(&mut self, floats: &[f32]) {
        if floats.is_empty() {
            return;
        }
        let bytes = size_of_val(floats);
        // SAFETY: `new`'s contract, and `accepts_floats` compared the sizes; the
        // floats are ours, so they do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(floats.as_ptr().cast(), self.data, bytes) };
    }

    /// Writes a value that was accepted.
    pub(super) fn write(&mut self, value: &Value) {
        let bytes = value.bytes();
        if bytes.is_empty() {
            return; // An empty buffer may have no address.
        }
        // SAFETY: `new`'s contract, and `accepts` compared the sizes; the value
        // is ours, so they do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.data, bytes.len()) };
    }
}

/// Strings of an output as C sees them, with their addresses.
#[derive(Default)]
pub(crate) struct CStrings {
    /// Owns what `pointers` point to; never changed after `new`.
    _texts: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers point into `_texts` beside them: owned, immutable memory
// that any thread may read and that moves with this value.
unsafe impl Send for CStrings {}

impl CStrings {
    /// C has no NUL inside a string: it becomes a space.
    pub(super) fn new(texts: &[&str]) -> CStrings {
        let texts: Vec<CString> =
            texts.iter().map(|t| CString::new(t.replace('\0', " ")).unwrap_or_default()).collect();
        CStrings { pointers: texts.iter().map(|s| s.as_ptr()).collect(), _texts: texts }
    }

    pub(super) fn pointers(&self) -> &[*const c_char] {
        &self.pointers
    }
}
