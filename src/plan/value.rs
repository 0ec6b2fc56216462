//! A tensor as sessions hold it: shared, with its element type and shape.

use crate::error::{self, Result};
use crate::kernels::{as_floats, as_floats_mut};
use crate::model::{fill, strings, zeros};
use crate::tensor::{DType, Shape};
use std::sync::Arc;
use tract_onnx::prelude::{DatumType, IntoArcTensor, TValue, Tensor};

/// A tensor with its owner. Clones share the memory.
#[derive(Debug, Clone)]
pub struct Value {
    dtype: DType,
    shape: Shape,
    tensor: Arc<Tensor>,
}

impl Value {
    /// Zeros, 64-byte aligned; empty strings.
    pub fn zeros(dtype: DType, shape: Shape) -> Result<Value> {
        Ok(Value { dtype, shape, tensor: Arc::new(zeros(dtype, &shape)?) })
    }

    /// A copy of elements in memory order.
    pub fn from_bytes(dtype: DType, shape: Shape, bytes: &[u8]) -> Result<Value> {
        if dtype == DType::String || bytes.len() != shape.size_bytes(dtype) {
            return Err(error::size_mismatch(format!(
                "{} bytes: expected {} for {dtype} {shape}",
                bytes.len(),
                shape.size_bytes(dtype)
            )));
        }
        let mut tensor = zeros(dtype, &shape)?;
        fill(&mut tensor, bytes);
        Ok(Value { dtype, shape, tensor: Arc::new(tensor) })
    }

    /// A string tensor.
    pub fn from_strings(shape: Shape, values: Vec<String>) -> Result<Value> {
        let tensor = strings(&shape, values).map_err(|e| error::internal(format!("{e:#}")))?;
        Ok(Value { dtype: DType::String, shape, tensor: Arc::new(tensor) })
    }

    /// What a run gave. Memory that somebody else holds too (a weight, an
    /// input) is copied, so that the host may not reach it through a view.
    pub(super) fn from_run(value: TValue) -> Result<Value> {
        let mut tensor = value.into_arc_tensor();
        if tensor.datum_type() == DatumType::TDim {
            let cast = tensor.cast_to_dt(DatumType::I64);
            let cast = cast.map_err(|e| error::run_failed(format!("a symbolic output: {e:#}")))?;
            tensor = cast.into_owned().into_arc_tensor();
        }
        let dtype = dtype_of(tensor.datum_type())?;
        let shape = Shape::new(tensor.shape())?;
        if dtype != DType::String && !contiguous(&tensor) {
            return Err(error::internal(format!("an output of dims {shape} is not contiguous")));
        }
        if Arc::get_mut(&mut tensor).is_none() {
            tensor = Arc::new(Tensor::deep_clone(&tensor));
        }
        Ok(Value { dtype, shape, tensor })
    }

    /// Nobody else holds the elements.
    pub fn is_own(&self) -> bool {
        Arc::strong_count(&self.tensor) == 1 && Arc::weak_count(&self.tensor) == 0
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The elements of a tensor that is no string tensor.
    pub fn bytes(&self) -> &[u8] {
        match self.dtype {
            DType::String => &[],
            _ => self.tensor.as_bytes(),
        }
    }

    /// The elements of a tensor of f32.
    pub fn floats(&self) -> Option<&[f32]> {
        match self.dtype {
            DType::F32 => as_floats(self.tensor.as_bytes()),
            _ => None,
        }
    }

    /// The elements of a tensor of f32 to write to, unless a run or an output
    /// shares them.
    pub fn floats_mut(&mut self) -> Option<&mut [f32]> {
        match self.dtype {
            DType::F32 => as_floats_mut(Arc::get_mut(&mut self.tensor)?.as_bytes_mut()),
            _ => None,
        }
    }

    /// The elements to write to, unless a run or an output shares them.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match self.dtype {
            DType::String => None,
            _ => Arc::get_mut(&mut self.tensor).map(Tensor::as_bytes_mut),
        }
    }

    /// The elements of a string tensor.
    pub fn strings(&self) -> Result<Vec<&str>> {
        let view = self.tensor.to_plain_array_view::<String>();
        let view = view.map_err(|e| error::internal(format!("{e:#}")))?;
        Ok(view.into_iter().map(String::as_str).collect())
    }

    /// Makes every bool 0 or 1: a host may have written anything, and a bool of
    /// another value is undefined behaviour in Rust.
    pub fn settle_bools(&mut self) {
        if self.dtype == DType::Bool
            && let Some(bytes) = self.bytes_mut()
        {
            bytes.iter_mut().for_each(|b| *b = u8::from(*b != 0));
        }
    }

    /// The tensor itself, for the planner.
    pub(crate) fn tensor(&self) -> &Arc<Tensor> {
        &self.tensor
    }
}

fn contiguous(tensor: &Tensor) -> bool {
    tensor.as_bytes().len() == tensor.volume() * tensor.datum_type().size_of()
}

fn dtype_of(dt: DatumType) -> Result<DType> {
    Ok(match dt.unquantized() {
        DatumType::Bool => DType::Bool,
        DatumType::U8 => DType::U8,
        DatumType::U16 => DType::U16,
        DatumType::U32 => DType::U32,
        DatumType::U64 => DType::U64,
        DatumType::I8 => DType::I8,
        DatumType::I16 => DType::I16,
        DatumType::I32 => DType::I32,
        DatumType::I64 => DType::I64,
        DatumType::F16 => DType::F16,
        DatumType::F32 => DType::F32,
        DatumType::F64 => DType::F64,
        DatumType::String => DType::String,
        other => return Err(error::unsupported(format!("an output of type {other:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_checked_and_bools_settled() {
        let shape = Shape::new(&[3]).unwrap();
        assert!(Value::from_bytes(DType::F32, shape, &[0; 11]).is_err());
        let v = Value::from_bytes(DType::Bool, shape, &[0, 2, 255]).unwrap();
        assert_eq!(v.bytes(), [0, 1, 1]);
        let mut v = Value::zeros(DType::Bool, shape).unwrap();
        v.bytes_mut().unwrap()[1] = 7;
        v.settle_bools();
        assert_eq!(v.bytes(), [0, 1, 0]);
    }

    #[test]
    fn inputs_are_aligned_to_a_cache_line() {
        for n in [1, 3, 1000] {
            let mut v = Value::zeros(DType::F32, Shape::new(&[n]).unwrap()).unwrap();
            assert_eq!(v.bytes_mut().unwrap().as_ptr().addr() % 64, 0);
        }
    }

    #[test]
    fn shared_memory_is_copied_on_the_way_out() {
        let weight = Value::from_bytes(DType::U8, Shape::new(&[2]).unwrap(), &[1, 2]).unwrap();
        let mut out = Value::from_run(TValue::from_const(weight.tensor.clone())).unwrap();
        out.bytes_mut().unwrap()[0] = 9;
        assert_eq!(weight.bytes(), [1, 2]);
    }
}
