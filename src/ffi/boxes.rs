//! Boxes: what a detector says, and the best of those that overlap.

use super::guard::{apart, guard, opt_struct, out, slice_arg, slice_mut_arg};
use super::image::{inferno_image_map, map_arg, one_of};
use super::options::{InitStruct, init_struct};
use super::scores::extent;
use super::status::inferno_status;
use super::tensor::inferno_tensor;
use super::view;
use crate::error::{self, Result};
use crate::kernels::{Isa, MOST_BOXES};
use crate::prep::{self, BoxFormat, Candidates, Decode, Detections, Nms};
use crate::tensor::{DType, Shape};

/// The most boxes that `inferno_boxes_nms` keeps.
pub const INFERNO_MAX_BOXES: usize = 1024;

const _: () = assert!(INFERNO_MAX_BOXES == MOST_BOXES);

/// What the four numbers of a box are.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_box_format {
    /// Left, top, right, bottom.
    Xyxy = 0,
    /// Middle x, middle y, width, height.
    Cxcywh = 1,
    /// Left, top, width, height.
    Xywh = 2,
}

/// How boxes are chosen. Fill with `inferno_nms_options_init`, then set what you need.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_nms_options {
    /// Set by `inferno_nms_options_init`.
    pub struct_size: usize,
    /// An `inferno_box_format`; default `INFERNO_BOX_FORMAT_XYXY`.
    pub format: i32,
    /// Only boxes with a larger score are kept. Default 0.25.
    pub score_threshold: f32,
    /// A box is left out when it shares more than this part of the union with one that is
    /// kept: 0 to 1. Default 0.45.
    pub iou_threshold: f32,
    /// So many are kept at most: 1 to `INFERNO_MAX_BOXES`. Default 300.
    pub max_boxes: u32,
}

impl InitStruct for inferno_nms_options {
    const NAME: &'static str = "inferno_nms_options";
    fn defaults() -> Self {
        inferno_nms_options {
            struct_size: size_of::<Self>(),
            format: inferno_box_format::Xyxy as i32,
            score_threshold: 0.25,
            iou_threshold: 0.45,
            max_boxes: 300,
        }
    }
}

/// How a detector says what it sees. Fill with `inferno_decode_options_init`, then set what
/// you need; the defaults are those of a YOLOv8 or a later one.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_decode_options {
    /// Set by `inferno_decode_options_init`.
    pub struct_size: usize,
    /// An `inferno_box_format`; default `INFERNO_BOX_FORMAT_CXCYWH`.
    pub format: i32,
    /// 1: the tensor is [numbers, predictions], the default; 0: [predictions, numbers].
    pub predictions_last: i32,
    /// 1: the box is followed by a number that all scores are multiplied by, as YOLOv5 has it;
    /// 0, the default: there is none.
    pub has_objectness: i32,
    /// Only predictions with a larger score are given. Default 0.25.
    pub score_threshold: f32,
}

impl InitStruct for inferno_decode_options {
    const NAME: &'static str = "inferno_decode_options";
    fn defaults() -> Self {
        inferno_decode_options {
            struct_size: size_of::<Self>(),
            format: inferno_box_format::Cxcywh as i32,
            predictions_last: 1,
            has_objectness: 0,
            score_threshold: 0.25,
        }
    }
}

/// Fills `options` with the defaults.
///
/// Ownership: `options` is the caller's; `struct_size` is its `sizeof`, and what this library
/// does not know of it is set to zero.
/// Threads: any.
/// Errors: INVALID_ARGUMENT (NULL, or a size smaller than any release's).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_nms_options_init(
    options: *mut inferno_nms_options,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(options, struct_size) })
}

/// Fills `options` with the defaults.
///
/// Ownership: `options` is the caller's; `struct_size` is its `sizeof`, and what this library
/// does not know of it is set to zero.
/// Threads: any.
/// Errors: INVALID_ARGUMENT (NULL, or a size smaller than any release's).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_decode_options_init(
    options: *mut inferno_decode_options,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(options, struct_size) })
}

/// Reads what a detector says: a tensor of F32, [predictions, numbers] or the other way round,
/// perhaps after a dim of 1; the numbers of a prediction are four of its box, objectness if
/// there is one, and a score for each class. For each prediction whose best score is enough, in
/// their order, it gives the box as left, top, right, bottom, that score, and its class; of
/// equal scores the first class, and NaN is less than all else. Nothing is allocated.
///
/// Ownership: all is the caller's, and apart: `boxes` has room for 4 · `capacity` floats, `scores`
/// and `classes` for `capacity`, which is the number of predictions at least. `count` is how
/// many are given. NULL `options` are the defaults; with the `map` of the image, boxes are in
/// its pixels; with NULL they are as the detector says.
/// Threads: any.
/// Errors: INVALID_ARGUMENT, DTYPE_MISMATCH, SHAPE_MISMATCH, SIZE_MISMATCH (the tensor's size, or
/// the capacity).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_boxes_decode(
    predictions: *const inferno_tensor,
    options: *const inferno_decode_options,
    map: *const inferno_image_map,
    boxes: *mut f32,
    scores: *mut f32,
    classes: *mut i32,
    capacity: usize,
    count: *mut usize,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or readable structs over as much memory as they say,
        // and as much writable memory, which is apart.
        unsafe {
            let place = out("count", count)?;
            let from = view::check("predictions", predictions)?;
            if from.dtype != DType::F32 {
                return Err(error::dtype_mismatch(format!(
                    "predictions is {}: expected f32",
                    from.dtype
                )));
            }
            let mut how = decoding(&opt_struct(options)?, &from.shape)?;
            how.map = map_arg(map)?;
            if capacity < how.shape[0] {
                return Err(error::size_mismatch(format!(
                    "capacity is {capacity}: expected {} at least, the number of predictions",
                    how.shape[0]
                )));
            }
            let room = how.shape[0];
            apart(&[
                ("predictions", from.data.cast_const(), from.size_bytes),
                extent("boxes", boxes.cast_const(), room.saturating_mul(4)),
                extent("scores", scores.cast_const(), room),
                extent("classes", classes.cast_const(), room),
                extent("count", count.cast_const(), 1),
            ])?;
            let x =
                slice_arg("predictions.data", from.data.cast_const().cast(), from.shape.volume())?;
            let mut to = Detections {
                boxes: slice_mut_arg("boxes", boxes, room.saturating_mul(4))?,
                scores: slice_mut_arg("scores", scores, room)?,
                classes: slice_mut_arg("classes", classes, room)?,
            };
            place.write(prep::decode(Isa::best(), &how, x, &mut to)?);
        }
        Ok(())
    })
}

fn decoding(given: &inferno_decode_options, shape: &Shape) -> Result<Decode> {
    const NAME: &str = "options";
    let format = box_format(given.format)?;
    let is_by_column = one_of(NAME, "predictions_last", given.predictions_last, &[false, true])?;
    let has_objectness = one_of(NAME, "has_objectness", given.has_objectness, &[false, true])?;
    let (first, second) = match shape[..] {
        [first, second] | [1, first, second] => (first, second),
        _ => {
            return Err(error::shape_mismatch(format!(
                "predictions is of dims {shape}: expected [{}]",
                if is_by_column { "numbers, predictions" } else { "predictions, numbers" }
            )));
        }
    };
    Ok(Decode {
        shape: if is_by_column { [second, first] } else { [first, second] },
        is_by_column,
        has_objectness,
        format,
        score_threshold: given.score_threshold,
        map: prep::Map::SAME,
    })
}

fn box_format(given: i32) -> Result<BoxFormat> {
    one_of("options", "format", given, &[BoxFormat::Xyxy, BoxFormat::Cxcywh, BoxFormat::Xywh])
}

/// Chooses boxes: from the best score on (of equal ones the earlier first) it keeps each that
/// does not overlap one that is kept, and gives their indices in that order. With `classes`
/// only boxes of the same class overlap; with NULL all do. Boxes with a score of NaN or an edge
/// that is not finite are left out; one whose right is left of its left has no area. Takes
/// time in proportion to the boxes times those that are kept, and to sort them; nothing is
/// allocated, and up to 24 KiB of the stack are used.
///
/// Ownership: all is the caller's: `boxes` of 4 · `count` floats, `scores` and `classes` (0 to
/// 16,777,216) of `count`; `indices` has room for `count`, apart from them; what comes after
/// the first `kept` is of no use.
/// Threads: any.
/// Errors: INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_boxes_nms(
    boxes: *const f32,
    scores: *const f32,
    classes: *const i32,
    count: usize,
    options: *const inferno_nms_options,
    indices: *mut usize,
    kept: *mut usize,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or readable options, as many readable and writable
        // items as it says, apart where they are written.
        unsafe {
            let place = out("kept", kept)?;
            let how = choosing(&opt_struct(options)?)?;
            let numbers = count.saturating_mul(4);
            let places = extent("indices", indices.cast_const(), count);
            apart(&[places, extent("kept", kept.cast_const(), 1)])?;
            apart(&[places, extent("boxes", boxes, numbers)])?;
            apart(&[places, extent("scores", scores, count)])?;
            if !classes.is_null() {
                apart(&[places, extent("classes", classes, count)])?;
            }
            let of = Candidates {
                boxes: slice_arg("boxes", boxes, numbers)?,
                scores: slice_arg("scores", scores, count)?,
                classes: match classes.is_null() {
                    true => None,
                    false => Some(slice_arg("classes", classes, count)?),
                },
            };
            let places = slice_mut_arg("indices", indices, count)?;
            place.write(prep::nms(Isa::best(), &how, of, places)?);
        }
        Ok(())
    })
}

fn choosing(given: &inferno_nms_options) -> Result<Nms> {
    Ok(Nms {
        format: box_format(given.format)?,
        score_threshold: given.score_threshold,
        iou_threshold: given.iou_threshold,
        max_boxes: given.max_boxes as usize,
    })
}
