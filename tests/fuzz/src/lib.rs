//! What the fuzz targets share: the bytes of an input read as choices, ONNX
//! written by hand, a few small models, and calls that are counted and checked.

pub mod bytes;
pub mod check;
pub mod models;
pub mod onnx;
