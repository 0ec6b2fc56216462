//! Tensors as they cross the ABI: a plain struct over memory with an owner.

use crate::tensor::DType;
use std::ffi::{c_char, c_void};

/// The most dims a tensor has at this interface.
pub const INFERNO_MAX_RANK: usize = 8;

/// An element type. The values are ONNX's `TensorProto.DataType`; those absent
/// here (bfloat16, float8, int4, complex) are refused with
/// `INFERNO_STATUS_UNSUPPORTED` when a model that uses them is loaded.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_dtype {
    /// No type.
    Undefined = 0,
    /// 32-bit IEEE float.
    F32 = 1,
    /// Unsigned 8-bit integer.
    U8 = 2,
    /// Signed 8-bit integer.
    I8 = 3,
    /// Unsigned 16-bit integer.
    U16 = 4,
    /// Signed 16-bit integer.
    I16 = 5,
    /// Signed 32-bit integer.
    I32 = 6,
    /// Signed 64-bit integer.
    I64 = 7,
    /// A string: each element is a `const char *` to NUL-terminated UTF-8.
    String = 8,
    /// One byte, 0 or 1; any other value counts as 1.
    Bool = 9,
    /// 16-bit IEEE float.
    F16 = 10,
    /// 64-bit IEEE float.
    F64 = 11,
    /// Unsigned 32-bit integer.
    U32 = 12,
    /// Unsigned 64-bit integer.
    U64 = 13,
}

/// A tensor: a dtype, a shape and a memory. Elements are contiguous, last dim
/// fastest, in the machine's byte order. This struct is frozen: it never grows.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_tensor {
    /// An `inferno_dtype`.
    pub dtype: i32,
    /// Number of dims, 0 (a scalar) to `INFERNO_MAX_RANK`.
    pub rank: i32,
    /// The dims, each 0 or more; those past `rank` are 0.
    pub dims: [i64; INFERNO_MAX_RANK],
    /// The elements. NULL when `size_bytes` is 0.
    pub data: *mut c_void,
    /// Product of the dims times the element size.
    pub size_bytes: usize,
}

/// What a model says of one of its inputs or outputs. This struct is frozen.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_tensor_info {
    /// The name, UTF-8. Belongs to the model.
    pub name: *const c_char,
    /// An `inferno_dtype`.
    pub dtype: i32,
    /// Number of dims; -1 when the model does not say.
    pub rank: i32,
    /// The dims; -1 for one that the model leaves open.
    pub dims: [i64; INFERNO_MAX_RANK],
    /// For each open dim its symbol, such as "batch", or NULL when it has none;
    /// NULL for fixed dims. The strings belong to the model.
    pub symbols: [*const c_char; INFERNO_MAX_RANK],
}

/// Gives the size of an element of a dtype in bytes; 0 for a value that is no
/// dtype.
///
/// Threads: any.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_dtype_size(dtype: i32) -> usize {
    DType::from_onnx(dtype).map_or(0, DType::size_bytes)
}

/// Gives the name of a dtype, such as "f32"; "undefined" for a value that is
/// no dtype. Never NULL.
///
/// Ownership: a static string.
/// Threads: any.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_dtype_name(dtype: i32) -> *const c_char {
    DType::from_onnx(dtype).map_or(c"undefined", DType::c_name).as_ptr()
}
