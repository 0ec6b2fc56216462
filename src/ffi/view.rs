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
    let (data, size_bytes) = match &view.data {
        Data::Bytes(b) => (b.as_ptr(), b.len()),
        Data::BytesMut(b) => (b.as_ptr(), b.len()),
        Data::Strings(s) => (s.as_ptr().cast(), size_of_val(*s)),
    };
    write_part(view.dtype, &view.shape, view.shape.first().copied(), (data, size_bytes))
}

/// The first rows of a tensor, so many, which begin there and take so many bytes.
#[inline]
pub(super) fn write_part(
    dtype: DType,
    shape: &Shape,
    rows: Option<usize>,
    (data, size_bytes): (*const u8, usize),
) -> Result<inferno_tensor> {
    let mut dims = shape.dims().map(|dim| dim as i64);
    let mut elements = 1;
    if let Some(rows) = rows {
        dims[0] = rows as i64;
        elements = shape[1..].iter().fold(rows, |product, dim| product * dim);
    }
    if size_bytes != elements * dtype.size_bytes() {
        return Err(of_another_size(shape, size_bytes));
    }
    Ok(inferno_tensor {
        dtype: dtype.onnx(),
        rank: shape.len() as i32,
        dims,
        data: if size_bytes == 0 { std::ptr::null_mut() } else { data.cast_mut().cast() },
        size_bytes,
    })
}

#[cold]
fn of_another_size(shape: &Shape, size_bytes: usize) -> error::Error {
    error::internal(format!("rows of a tensor of dims {shape} have {size_bytes} bytes"))
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
#[inline(always)]
pub(super) unsafe fn check(what: &str, tensor: *const inferno_tensor) -> Result<Checked> {
    // SAFETY: as this function's own contract.
    let Some(tensor) = (unsafe { slice_arg(what, tensor, 1) }?).first() else {
        return Err(error::internal("one tensor asked for, none given"));
    };
    let rank = tensor.rank as usize;
    // (What is behind the last dim may be anything.)
    let dims = std::array::from_fn(|axis| if axis < rank { tensor.dims[axis] } else { 0 });
    let (Some(dtype), 0..=MAX_RANK, true) = (
        DType::from_onnx(tensor.dtype),
        rank,
        dims.iter().all(|dim| usize::try_from(*dim).is_ok()),
    ) else {
        return Err(wrong(what, tensor));
    };
    let shape = Shape::padded(rank, dims.map(|dim| dim as usize)).map_err(|e| e.at(what))?;
    let expected = shape.size_bytes(dtype);
    if tensor.size_bytes != expected || tensor.data.is_null() && expected > 0 {
        return Err(wrong(what, tensor));
    }
    Ok(Checked { dtype, shape, data: tensor.data, size_bytes: expected })
}

/// What is wrong with a host's tensor.
#[cold]
fn wrong(what: &str, tensor: &inferno_tensor) -> error::Error {
    let Some(dtype) = DType::from_onnx(tensor.dtype) else {
        return error::invalid_argument(format!(
            "{what}.dtype is {}: expected an inferno_dtype",
            tensor.dtype
        ));
    };
    // SAFETY: `dims` is an array of the struct.
    let shape = match unsafe { shape_arg(tensor.rank, tensor.dims.as_ptr()) } {
        Ok(shape) => shape,
        Err(e) => return e.at(what),
    };
    let expected = shape.size_bytes(dtype);
    if tensor.size_bytes != expected {
        return error::size_mismatch(format!(
            "{what}.size_bytes is {}: expected {expected} for {dtype} {shape}",
            tensor.size_bytes
        ));
    }
    error::invalid_argument(format!("{what}.data is NULL: expected {expected} bytes"))
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
