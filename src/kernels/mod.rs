//! The arithmetic, and the processor that does it: written with intrinsics for
//! each instruction set, beside a scalar reference that it is tested against.
//!
//! - [`Isa`]: which instructions may be used;
//! - [`Packed`], [`PackedRef`], [`pack_into`]: matrices as the products read them;
//! - [`gemm`], [`Gemm`], [`Matmul`]: matrix products;
//! - [`Windows`]: products with the windows of an image, convolutions;
//! - [`recur`]: recurrent layers, with [`Weights`] packed for a [`Cell`];
//! - [`unary`]: y = f(x), float by float;
//! - [`binary`], [`binary_rows`], [`binary_columns`]: y = a ∘ b, float by float;
//! - [`softmax`], [`log_softmax`], [`softmax_masked`], [`softmax_strided`]: of
//!   rows, and over an axis;
//! - [`layer_norm`], [`rms_norm`]: of rows;
//! - [`reduce`]: sums and their like over an axis;
//! - [`Depthwise`], [`Pool`]: convolutions and pools of each channel on its own,
//!   over images whose channels lie together;
//! - [`QGemm`], [`QDepthwise`], [`quantize`]: the same of 8-bit numbers;
//! - [`Winograd`]: convolutions of 3×3, channels last, with a [`Filter`] made for
//!   them;
//! - [`blend`]: weighted sums of places, for images of another size;
//! - [`mix`], [`join`], [`sum_rows`], [`sum_windows`]: pixels to floats, for images that
//!   are no tensors yet; [`from_shorts`]: samples to floats;
//! - [`largest`], [`best_of_columns`]: the largest of many; [`Boxes`]: boxes against a box;
//! - [`permute`]: axes in another order;
//! - [`Aligned`]: memory for floats; [`Floats`]: weights;
//! - [`FloatMode`], [`clear_upper_halves`]: the processor's state around a call, a run
//!   and its steps.

mod aligned;
mod audio;
mod binary;
mod blend;
mod boxes;
mod cells;
mod copy;
mod deferred;
mod depthwise;
mod each;
mod floats;
mod fused;
mod gemm;
mod image;
mod isa;
mod lanes;
mod math;
mod mode;
mod norm;
mod pack;
mod pool;
mod quant;
mod reduce;
mod scan;
mod softmax;
mod stream;
#[cfg(test)]
mod testing;
mod unary;
mod window;
mod winograd;

pub use aligned::{
    Aligned, as_bytes, as_bytes_mut, as_floats, as_floats_mut, as_ints, as_ints_mut, as_signed,
    as_signed_mut,
};
pub use audio::from_shorts;
pub use binary::{
    Binary, Operand, binary, binary_columns, binary_columns_in_place, binary_in_place, binary_rows,
    binary_rows_in_place,
};
pub use blend::{Taps, blend};
pub use boxes::{Boxes, MOST_BOXES, Rect};
pub use cells::{Cell, Outputs, Sequence, Weights, recur};
pub use copy::{MOST_AXES, permute};
pub use depthwise::Depthwise;
pub use floats::{Blob, Collected, Floats, Shared, collected, known, placed};
pub use fused::fused;
pub use gemm::{Gemm, Matmul, Panel, Pieces, RELU, Windows, gemm};
pub use image::{
    BLOCK, Blend, Pairs, Pixel, Plane, Rows, Span, fill, join, join_bytes, mix, sum_rows,
    sum_windows,
};
pub use isa::Isa;
pub use mode::{FloatMode, clear_upper_halves};
pub use norm::{layer_norm, layer_norm_in_place, rms_norm, rms_norm_in_place};
pub use pack::{Packed, PackedRef, pack_into, packed_len};
pub use pool::{Pool, Pooling};
pub use quant::{
    Correction, QAdd, QDepthwise, QGemm, QOut, QPacked, QPackedRef, QPool, QUAD, Scale, dequantize,
    dynamic_scale, quantize, row_sums, to_floats,
};
pub use reduce::{Reduce, reduce};
pub use scan::{Best, best_of_columns, largest};
pub use softmax::{
    log_softmax, log_softmax_in_place, softmax, softmax_in_place, softmax_masked, softmax_strided,
    softmax_strided_in_place,
};
pub use unary::{Unary, unary, unary_in_place};
pub use winograd::{Filter, Tile, Winograd};
