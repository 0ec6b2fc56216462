//! Element types, shapes, and views over memory with an owner. No tract here.

use crate::error::{self, Error, Result};
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, c_char};
use std::fmt;
use std::ops::Deref;

/// The most dims a tensor has at the library's surface.
pub const MAX_RANK: usize = 8;

/// An element type; the discriminants are ONNX's `TensorProto.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum DType {
    F32 = 1,
    U8 = 2,
    I8 = 3,
    U16 = 4,
    I16 = 5,
    I32 = 6,
    I64 = 7,
    String = 8,
    Bool = 9,
    F16 = 10,
    F64 = 11,
    U32 = 12,
    U64 = 13,
}

impl DType {
    /// Every element type.
    pub const ALL: [DType; 13] = [
        DType::F32,
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::String,
        DType::Bool,
        DType::F16,
        DType::F64,
        DType::U32,
        DType::U64,
    ];

    /// The element type with this ONNX number, when it is one we carry.
    pub fn from_onnx(number: i32) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.onnx() == number)
    }

    /// ONNX's number.
    pub fn onnx(self) -> i32 {
        self as i32
    }

    /// Bytes an element takes in a view; a string is a pointer.
    pub fn size_bytes(self) -> usize {
        match self {
            DType::U8 | DType::I8 | DType::Bool => 1,
            DType::U16 | DType::I16 | DType::F16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
            DType::String => size_of::<*const c_char>(),
        }
    }

    /// The short name, such as `f32`, for C.
    pub fn c_name(self) -> &'static CStr {
        match self {
            DType::F32 => c"f32",
            DType::U8 => c"u8",
            DType::I8 => c"i8",
            DType::U16 => c"u16",
            DType::I16 => c"i16",
            DType::I32 => c"i32",
            DType::I64 => c"i64",
            DType::String => c"string",
            DType::Bool => c"bool",
            DType::F16 => c"f16",
            DType::F64 => c"f64",
            DType::U32 => c"u32",
            DType::U64 => c"u64",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.c_name().to_str().unwrap_or("?"))
    }
}

/// A shape of at most [`MAX_RANK`] dims whose element count fits memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub struct Shape {
    rank: u8,
    dims: [usize; MAX_RANK],
}

impl Shape {
    /// A checked shape.
    pub fn new(dims: &[usize]) -> Result<Shape> {
        if dims.len() > MAX_RANK {
            return Err(error::unsupported(format!(
                "a tensor of rank {}: expected at most {MAX_RANK}",
                dims.len()
            )));
        }
        let mut padded = [0; MAX_RANK];
        padded[..dims.len()].copy_from_slice(dims);
        Shape::padded(dims.len(), padded)
    }

    /// A checked shape of the first `rank` dims; the others are zero.
    #[inline]
    pub fn padded(rank: usize, dims: [usize; MAX_RANK]) -> Result<Shape> {
        debug_assert!(rank <= MAX_RANK && dims[rank..].iter().all(|dim| *dim == 0));
        // A zero among the dims must not hide an overflow of the others.
        let volume = dims.iter().filter(|d| **d > 0).try_fold(1usize, |n, d| n.checked_mul(*d));
        // The widest element takes 16 bytes (a string inside tract takes 24).
        let shape = Shape { rank: rank as u8, dims };
        match volume {
            Some(n) if n <= isize::MAX as usize / 32 => Ok(shape),
            _ => Err(shape.too_large()),
        }
    }

    #[cold]
    fn too_large(&self) -> Error {
        error::limit_exceeded(format!("a tensor of dims {self}: no memory holds it"))
    }

    /// The dims, and zeros behind them.
    #[inline]
    pub fn dims(&self) -> &[usize; MAX_RANK] {
        &self.dims
    }

    /// How many elements there are.
    pub fn volume(&self) -> usize {
        self.iter().product()
    }

    /// Bytes a view of this shape takes.
    pub fn size_bytes(&self, dtype: DType) -> usize {
        self.volume() * dtype.size_bytes()
    }
}

impl TryFrom<Vec<usize>> for Shape {
    type Error = Error;

    fn try_from(dims: Vec<usize>) -> Result<Shape> {
        Shape::new(&dims)
    }
}

impl From<Shape> for Vec<usize> {
    fn from(shape: Shape) -> Vec<usize> {
        shape.to_vec()
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..usize::from(self.rank)]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_dims(f, self.iter().map(|d| d as &dyn fmt::Display))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Writes dims the way every message shows them: `[1, 3, 224, 224]`.
pub(crate) fn fmt_dims<'a>(
    f: &mut fmt::Formatter<'_>,
    dims: impl Iterator<Item = &'a dyn fmt::Display>,
) -> fmt::Result {
    f.write_str("[")?;
    for (i, dim) in dims.enumerate() {
        write!(f, "{}{dim}", if i == 0 { "" } else { ", " })?;
    }
    f.write_str("]")
}

/// A view of a tensor that somebody owns.
#[derive(Debug)]
pub struct View<'a> {
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Shape,
    /// Elements.
    pub data: Data<'a>,
}

/// The elements of a view.
#[derive(Debug)]
pub enum Data<'a> {
    /// To be read.
    Bytes(&'a [u8]),
    /// To be read or written.
    BytesMut(&'a mut [u8]),
    /// Strings to be read, as C strings.
    Strings(&'a [*const c_char]),
}

impl View<'_> {
    /// The elements as bytes; a string tensor has none.
    pub fn bytes(&self) -> Result<&[u8]> {
        match &self.data {
            Data::Bytes(b) => Ok(b),
            Data::BytesMut(b) => Ok(b),
            Data::Strings(_) => Err(error::unsupported(
                "a string tensor has no plain bytes: read it through its view",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_checked() {
        assert_eq!(Shape::new(&[2, 3]).unwrap().volume(), 6);
        assert_eq!(Shape::new(&[]).unwrap().volume(), 1);
        assert_eq!(Shape::new(&[0, 5]).unwrap().volume(), 0);
        assert!(Shape::new(&[usize::MAX, 2]).is_err());
        assert!(Shape::new(&[0, usize::MAX, 2]).is_err());
        assert!(Shape::new(&[1; 9]).is_err());
        assert_eq!(Shape::new(&[1, 3]).unwrap().to_string(), "[1, 3]");
    }

    #[test]
    fn dtypes_round_trip() {
        for d in DType::ALL {
            assert_eq!(DType::from_onnx(d.onnx()), Some(d));
        }
        assert_eq!(DType::from_onnx(16), None, "bfloat16");
    }
}
