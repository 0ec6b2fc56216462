//! Arithmetic of 8-bit numbers: products that are summed as integers, and the way
//! from floats to bytes and back.
//!
//! A byte q stands for (q - zero) · scale. Bytes are unsigned here: signed ones are
//! taken 128 higher, and their zero with them. Sums are of 32 bits and wrap around,
//! as those of ONNX do; they are the same integers whatever the instruction set.

mod depthwise;
mod finish;
mod gemm;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod pool;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use depthwise::QDepthwise;
pub use finish::{Correction, QOut};
pub use gemm::{QGemm, row_sums};
pub use pack::{QPacked, QPackedRef};
pub use pool::QPool;
pub use rows::{QAdd, Scale, dequantize, dynamic_scale, quantize, to_floats};

/// Bytes that are multiplied and summed by one instruction.
pub const QUAD: usize = 4;
