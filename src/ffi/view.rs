//! Tensors across the boundary: a host's struct checked, ours written.

use super::guard::slice_arg;
use super::tensor::{INFERNO_MAX_RANK, inferno_tensor};
use crate::error::{self, Result};
use crate::plan::Value;
use crate::session::{BoundInput, BoundOutput};
use crate::tensor::{DType, Data, MAX_RANK, Shape, View};
use std::ffi::{c_char, c_void};

const _: () = assert!(INFERNO_MAX_RANK == MAX_RANK);

/// Our view as the host's struct. An empty tensor has no address.
pub(super) fn write_view(view: &View<'_>) -> Result<inferno_tensor> {
    let mut dims = [0i64; INFERNO_MAX_RANK];
    for (to, from) in dims.iter_mut().zip(view.shape.iter()) {
        *to = *from as i64;
    }
    let (data, size_bytes) = match &view.data {
        Data::Bytes(b) => (b.as_ptr().cast_mut().cast::<c_void>(), b.len()),
        Data::BytesMut(b) => (b.as_ptr().cast_mut().cast(), b.len()),
        Data::Strings(s) => (s.as_ptr().cast_mut().cast(), size_of_val(*s)),
    };
    let expected = view.shape.size_bytes(view.dtype);
    if size_bytes != expected {
        return Err(error::internal(format!(
            "a tensor of dims {} has {size_bytes} bytes, expected {expected}",
            view.shape
        )));
    }
    Ok(inferno_tensor {
        dtype: view.dtype.onnx(),
        rank: view.shape.len() as i32,
        dims,
        data: if size_bytes == 0 { std::ptr::null_mut() } else { data },
        size_bytes,
    })
}

/// SAFETY: `dims` is NULL or holds `rank` readable values.
pub(super) unsafe fn shape_arg(rank: i32, dims: *const i64) -> Result<Shape> {
    let rank = usize::try_from(rank).ok().filter(|r| *r <= MAX_RANK).ok_or_else(|| {
        error::invalid_argument(format!("rank is {rank}: expected 0 to {MAX_RANK}"))
    })?;
    // SAFETY: as this function's own contract.
    let given = unsafe { slice_arg("dims", dims, rank) }?;
    let mut dims = [0usize; MAX_RANK];
    for (axis, (to, from)) in dims.iter_mut().zip(given).enumerate() {
        *to = usize::try_from(*from).map_err(|_| {
            error::invalid_argument(format!("dims[{axis}] is {from}: expected 0 or more"))
        })?;
    }
    Shape::new(&dims[..rank])
}

/// A host's tensor, its parts checked against each other.
pub(super) struct Checked {
    pub(super) dtype: DType,
    pub(super) shape: Shape,
    pub(super) data: *mut c_void,
    pub(super) size_bytes: usize,
}

/// SAFETY: `tensor` is NULL or readable.
pub(super) unsafe fn check(what: &str, tensor: *const inferno_tensor) -> Result<Checked> {
    // SAFETY: as this function's own contract.
    let Some(tensor) = (unsafe { slice_arg(what, tensor, 1) }?).first() else {
        return Err(error::internal("one tensor asked for, none given"));
    };
    let dtype = DType::from_onnx(tensor.dtype).ok_or_else(|| {
        error::invalid_argument(format!(
            "{what}.dtype is {}: expected an inferno_dtype",
            tensor.dtype
        ))
    })?;
    // SAFETY: `dims` is an array of the struct.
    let shape = unsafe { shape_arg(tensor.rank, tensor.dims.as_ptr()) }.map_err(|e| e.at(what))?;
    let expected = shape.size_bytes(dtype);
    if tensor.size_bytes != expected {
        return Err(error::size_mismatch(format!(
            "{what}.size_bytes is {}: expected {expected} for {dtype} {shape}",
            tensor.size_bytes
        )));
    }
    if tensor.data.is_null() && expected > 0 {
        return Err(error::invalid_argument(format!(
            "{what}.data is NULL: expected {expected} bytes"
        )));
    }
    Ok(Checked { dtype, shape, data: tensor.data, size_bytes: tensor.size_bytes })
}

/// Copies a host's tensor into a value of ours.
///
/// SAFETY: `tensor` is NULL or a tensor over `size_bytes` readable bytes; its
/// strings are NUL-terminated.
pub(super) unsafe fn read_tensor(what: &str, tensor: *const inferno_tensor) -> Result<Value> {
    // SAFETY: as this function's own contract.
    unsafe {
        let t = check(what, tensor)?;
        if t.dtype == DType::String {
            let pointers =
                slice_arg::<*const c_char>(what, t.data.cast_const().cast(), t.shape.volume())?;
            let strings = pointers.iter().enumerate().map(|(i, p)| {
                Ok(super::guard::str_arg(&format!("{what}.data[{i}]"), *p)?.to_owned())
            });
            return Value::from_strings(t.shape, strings.collect::<Result<_>>()?);
        }
        let bytes = slice_arg::<u8>(what, t.data.cast_const().cast(), t.size_bytes)?;
        Value::from_bytes(t.dtype, t.shape, bytes)
    }
}

/// SAFETY: `tensor` is NULL or a tensor over readable memory that outlives the
/// binding.
pub(super) unsafe fn view_const(
    what: &str,
    tensor: *const inferno_tensor,
) -> Result<Option<BoundInput>> {
    if tensor.is_null() {
        return Ok(None);
    }
    // SAFETY: as this function's own contract.
    unsafe {
        let t = check(what, tensor)?;
        BoundInput::new(t.dtype, t.shape, t.data.cast_const().cast()).map(Some)
    }
}

/// SAFETY: `tensor` is NULL or a tensor over writable memory that outlives the
/// binding.
pub(super) unsafe fn view_mut(
    what: &str,
    tensor: *const inferno_tensor,
) -> Result<Option<BoundOutput>> {
    if tensor.is_null() {
        return Ok(None);
    }
    // SAFETY: as this function's own contract.
    unsafe {
        let t = check(what, tensor)?;
        BoundOutput::new(t.dtype, t.shape, t.data.cast()).map(Some)
    }
}

/// Copies `bytes` into the caller's buffer, all or nothing.
///
/// SAFETY: `buffer` is NULL or has `size_bytes` writable bytes; `needed` is NULL
/// or writable.
pub(super) unsafe fn copy_out(
    bytes: &[u8],
    buffer: *mut c_void,
    size_bytes: usize,
    needed: *mut usize,
) -> Result<()> {
    if buffer.is_null() && size_bytes > 0 {
        return Err(error::invalid_argument(format!(
            "buffer is NULL with size_bytes {size_bytes}: expected both or neither"
        )));
    }
    let asks = buffer.is_null() && !needed.is_null();
    // SAFETY: as this function's own contract; the copied length was checked.
    unsafe {
        if !needed.is_null() {
            needed.write_unaligned(bytes.len());
        }
        if !asks {
            if size_bytes < bytes.len() {
                return Err(error::size_mismatch(format!(
                    "the buffer has {size_bytes} bytes: expected at least {}",
                    bytes.len()
                )));
            }
            buffer.cast::<u8>().copy_from(bytes.as_ptr(), bytes.len());
        }
    }
    Ok(())
}
