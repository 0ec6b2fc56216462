//! Before and after a run: what a host has, as tensors, and what a model answers, as
//! what a host wants. No runtime and no model is needed, and nothing is allocated.
//!
//! - [`image_to_tensor`]: an [`Image`] of bytes, resized, as planes of floats;
//! - [`Framer`]: samples as they come, as frames that overlap;
//! - [`softmax`], [`argmax`], [`top_k`]: scores;
//! - [`decode`]: what a detector says, as boxes; [`nms`]: the best of those that overlap.

mod audio;
mod boxes;
mod fit;
mod image;
mod resample;
mod scores;
mod sink;
mod taps;
mod yolo;

pub use audio::{Framer, Samples};
pub use boxes::{BoxFormat, Candidates, Nms, nms};
pub use fit::{Fit, Map};
pub use image::{Filter, Format, Image, Layout, Order, Target, ToTensor, image_to_tensor};
pub use scores::{argmax, softmax, softmax_in_place, top_k};
pub use yolo::{Decode, Detections, decode};
