//! Images of bytes, to tensors.

use super::guard::{apart, guard, opt_struct, out, slice_arg, slice_mut_arg};
use super::options::{InitStruct, init_struct};
use super::status::inferno_status;
use super::tensor::inferno_tensor;
use super::view;
use crate::error::{self, Result};
use crate::kernels::Isa;
use crate::prep::{self, Filter, Fit, Format, Image, Layout, Map, Order, Target, ToTensor};
use crate::tensor::{DType, Shape};

/// What the bytes of a pixel are, in their order in memory.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_pixel_format {
    /// Red, green, blue: three bytes.
    Rgb = 0,
    /// Blue, green, red: three bytes.
    Bgr = 1,
    /// Red, green, blue, and one that is passed over: four bytes.
    Rgba = 2,
    /// Blue, green, red, and one that is passed over: four bytes.
    Bgra = 3,
    /// Grey: one byte.
    Gray = 4,
}

/// How an image fits into a tensor of another shape.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_fit {
    /// All of the image over all of the tensor; its shape is not kept.
    Stretch = 0,
    /// All of the image in the middle of the tensor, its shape kept; the rest is padded. Its
    /// sides are rounded to whole pixels.
    Letterbox = 1,
    /// The same at the top left.
    LetterboxTopLeft = 2,
    /// All of the tensor from the middle of the image, its shape kept; what is outside is cut
    /// off.
    Cover = 3,
}

/// How an image is resized. Pixels are samples at their middles: place i of n is made of what is
/// at (i + 0.5) · size / n in the image; past an edge its pixel goes on.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_filter {
    /// From the two nearest pixels each way, as OpenCV's INTER_LINEAR and ONNX's linear Resize
    /// with half_pixel do.
    Bilinear = 0,
    /// The same where the image grows; where it shrinks, from all pixels under a triangle as
    /// wide as two places, as Pillow's BILINEAR and ONNX's Resize with antialias do. It shrinks
    /// by 500 each way at most.
    Antialias = 1,
    /// The pixel that the middle is in, as OpenCV's INTER_NEAREST_EXACT does; of two that it is
    /// between, the later one.
    Nearest = 2,
}

/// What is next to what in a tensor.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_layout {
    /// Channels, height, width: planes.
    Chw = 0,
    /// Height, width, channels.
    Hwc = 1,
}

/// The channels of a tensor.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_channel_order {
    /// Red, green, blue.
    Rgb = 0,
    /// Blue, green, red.
    Bgr = 1,
    /// One: 0.299 red + 0.587 green + 0.114 blue.
    Gray = 2,
}

/// An image in memory of the caller's: 8-bit pixels, row after row. This struct is frozen.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_image {
    /// The first pixel of the top row.
    pub pixels: *const u8,
    /// Bytes from a row to the one below it; 0 when there is nothing between them. Negative
    /// where the bottom row comes first in memory.
    pub stride_bytes: i64,
    /// Pixels of a row, 1 or more.
    pub width: i32,
    /// Rows, 1 or more.
    pub height: i32,
    /// An `inferno_pixel_format`.
    pub format: i32,
}

/// How an image becomes a tensor. Fill with `inferno_image_options_init`, then set what you
/// need.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_image_options {
    /// Set by `inferno_image_options_init`.
    pub struct_size: usize,
    /// An `inferno_fit`; default `INFERNO_FIT_STRETCH`.
    pub fit: i32,
    /// An `inferno_filter`; default `INFERNO_FILTER_BILINEAR`.
    pub filter: i32,
    /// An `inferno_layout`; default `INFERNO_LAYOUT_CHW`.
    pub layout: i32,
    /// An `inferno_channel_order`; default `INFERNO_CHANNEL_ORDER_RGB`.
    pub channels: i32,
    /// An f32 element is (value · scale - mean) / std, of a value from 0 to 255. Default
    /// 1/255. A u8 element is the value, rounded to the nearest, ties to even.
    pub scale: f32,
    /// By channel, in the tensor's order. Default 0.
    pub mean: [f32; 3],
    /// By channel, in the tensor's order, not 0. Default 1.
    pub std: [f32; 3],
    /// Red, green and blue of what is padded, from 0 to 255. Default 114.
    pub pad: [f32; 3],
}

impl InitStruct for inferno_image_options {
    const NAME: &'static str = "inferno_image_options";
    fn defaults() -> Self {
        let ToTensor { scale, mean, std, pad, .. } = ToTensor::default();
        inferno_image_options {
            struct_size: size_of::<Self>(),
            fit: inferno_fit::Stretch as i32,
            filter: inferno_filter::Bilinear as i32,
            layout: inferno_layout::Chw as i32,
            channels: inferno_channel_order::Rgb as i32,
            scale,
            mean,
            std,
            pad,
        }
    }
}

/// Where an image is in a tensor: x_tensor = x_image * scale_x + offset_x, and so for y.
/// Coordinates are in pixels and those of edges: the first pixel goes from 0 to 1. This struct
/// is frozen.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(non_camel_case_types)]
pub struct inferno_image_map {
    /// Pixels of the tensor for one of the image, across.
    pub scale_x: f64,
    /// Pixels of the tensor for one of the image, down.
    pub scale_y: f64,
    /// Where the left edge of the image is in the tensor.
    pub offset_x: f64,
    /// Where the top edge of the image is in the tensor.
    pub offset_y: f64,
}

/// Fills `options` with the defaults.
///
/// Ownership: `options` is the caller's; `struct_size` is its `sizeof`, and what this library
/// does not know of it is set to zero.
/// Threads: any.
/// Errors: INVALID_ARGUMENT (NULL, or a size smaller than any release's).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_image_options_init(
    options: *mut inferno_image_options,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(options, struct_size) })
}

/// Resizes and normalises an image into the memory of a tensor, such as a session's input:
/// of F32 or U8, of rank 3, [channels, height, width] or [height, width, channels] as
/// `options` say, or of rank 4 after a dim of 1; a grey one may be of rank 2. Nothing is
/// allocated; up to 96 KiB of the stack are used. Neither a model nor `inferno_init` is needed.
/// The same image gives the same bits on every processor.
///
/// Ownership: all is the caller's and not kept. The image and the tensor's memory are apart.
/// NULL `options` are the defaults; `map`, which may be NULL, tells where the image is in the
/// tensor: `inferno_boxes_decode` takes it.
/// Threads: any.
/// Errors: INVALID_ARGUMENT, DTYPE_MISMATCH, SHAPE_MISMATCH, SIZE_MISMATCH, LIMIT_EXCEEDED (an
/// antialiased image shrinks by more than 500).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_image_to_tensor(
    image: *const inferno_image,
    options: *const inferno_image_options,
    tensor: *const inferno_tensor,
    map: *mut inferno_image_map,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or readable structs over as much memory as they say,
        // readable for the image and writable for the tensor, and NULL or a writable place.
        unsafe {
            let place = if map.is_null() { None } else { Some(out("map", map)?) };
            let how = how(&opt_struct(options)?)?;
            let (pixels, read) = read_image(image)?;
            let to = view::check("tensor", tensor)?;
            let size = pixels_of(&to.shape, &how)?;
            apart(&[
                ("image", read.as_ptr().cast(), read.len()),
                ("tensor", to.data.cast_const(), to.size_bytes),
            ])?;
            let image = Image::new(read, pixels.size, pixels.format, pixels.stride)?;
            let target = match to.dtype {
                DType::F32 => {
                    Target::Floats(slice_mut_arg("tensor.data", to.data.cast(), to.shape.volume())?)
                }
                DType::U8 => {
                    Target::Bytes(slice_mut_arg("tensor.data", to.data.cast(), to.size_bytes)?)
                }
                other => {
                    return Err(error::dtype_mismatch(format!(
                        "tensor is {other}: expected f32 or u8"
                    )));
                }
            };
            let made = prep::image_to_tensor(Isa::best(), &image, &how, size, target)?;
            if let Some(place) = place {
                place.write(map_to_c(made));
            }
        }
        Ok(())
    })
}

/// What an image is, but for its bytes.
struct Pixels {
    size: [usize; 2],
    format: Format,
    stride: isize,
}

/// The bytes of an image, from the start of the row that is first in memory.
///
/// SAFETY: `image` is NULL or readable, over as many readable bytes as it says.
unsafe fn read_image<'a>(image: *const inferno_image) -> Result<(Pixels, &'a [u8])> {
    // SAFETY: as this function's own contract.
    let Some(image) = (unsafe { slice_arg("image", image, 1) }?).first() else {
        return Err(error::internal("one image asked for, none given"));
    };
    let side = |what: &str, side: i32| {
        usize::try_from(side).ok().filter(|side| *side > 0).ok_or_else(|| {
            error::invalid_argument(format!("image.{what} is {side}: expected 1 or more"))
        })
    };
    let size = [side("width", image.width)?, side("height", image.height)?];
    let format = format_of(image.format)?;
    let stride = match isize::try_from(image.stride_bytes) {
        Ok(0) => (size[0] * format.bytes()) as isize,
        Ok(stride) if stride != isize::MIN => stride,
        _ => {
            return Err(error::invalid_argument(format!(
                "image.stride_bytes is {}: no memory is so large",
                image.stride_bytes
            )));
        }
    };
    let extent = Image::extent(size, format, stride).map_err(|e| e.at("image"))?;
    let above = if stride < 0 { stride.unsigned_abs() * (size[1] - 1) } else { 0 };
    if image.pixels.is_null() {
        return Err(error::invalid_argument(format!(
            "image.pixels is NULL: expected {extent} bytes"
        )));
    }
    // SAFETY: as this function's own contract: with a negative stride the bytes begin above.
    let bytes = unsafe { slice_arg("image.pixels", image.pixels.wrapping_sub(above), extent) }?;
    Ok((Pixels { size, format, stride }, bytes))
}

/// Width and height of a tensor.
fn pixels_of(shape: &Shape, how: &ToTensor) -> Result<[usize; 2]> {
    let channels = how.order.channels();
    let dims: &[usize] = match &shape[..] {
        [1, rest @ ..] if rest.len() == 3 => rest,
        all => all,
    };
    match (dims, how.layout) {
        (&[c, height, width], Layout::Chw) if c == channels => Ok([width, height]),
        (&[height, width, c], Layout::Hwc) if c == channels => Ok([width, height]),
        (&[height, width], _) if channels == 1 => Ok([width, height]),
        (_, layout) => {
            let expected = match layout {
                Layout::Chw => format!("[{channels}, height, width]"),
                Layout::Hwc => format!("[height, width, {channels}]"),
            };
            Err(error::shape_mismatch(format!("tensor is of dims {shape}: expected {expected}")))
        }
    }
}

fn how(given: &inferno_image_options) -> Result<ToTensor> {
    const NAME: &str = "options";
    Ok(ToTensor {
        fit: one_of(
            NAME,
            "fit",
            given.fit,
            &[Fit::Stretch, Fit::Letterbox, Fit::LetterboxTopLeft, Fit::Cover],
        )?,
        filter: one_of(
            NAME,
            "filter",
            given.filter,
            &[Filter::Bilinear, Filter::Antialias, Filter::Nearest],
        )?,
        layout: one_of(NAME, "layout", given.layout, &[Layout::Chw, Layout::Hwc])?,
        order: one_of(NAME, "channels", given.channels, &[Order::Rgb, Order::Bgr, Order::Gray])?,
        scale: given.scale,
        mean: given.mean,
        std: given.std,
        pad: given.pad,
    })
}

fn format_of(given: i32) -> Result<Format> {
    let all = [Format::Rgb, Format::Bgr, Format::Rgba, Format::Bgra, Format::Gray];
    one_of("image", "format", given, &all)
}

/// The value of an enum whose values are counted from 0.
pub(super) fn one_of<T: Copy>(what: &str, field: &str, given: i32, all: &[T]) -> Result<T> {
    usize::try_from(given).ok().and_then(|at| all.get(at)).copied().ok_or_else(|| {
        error::invalid_argument(format!(
            "{what}.{field} is {given}: expected 0 to {}",
            all.len() - 1
        ))
    })
}

fn map_to_c(map: Map) -> inferno_image_map {
    let Map { scale: [scale_x, scale_y], offset: [offset_x, offset_y] } = map;
    inferno_image_map { scale_x, scale_y, offset_x, offset_y }
}

/// SAFETY: `map` is NULL, for none, or readable.
pub(super) unsafe fn map_arg(map: *const inferno_image_map) -> Result<Map> {
    if map.is_null() {
        return Ok(Map::SAME);
    }
    // SAFETY: as this function's own contract.
    let given = unsafe { slice_arg("map", map, 1) }?;
    let made = given
        .first()
        .map(|m| Map { scale: [m.scale_x, m.scale_y], offset: [m.offset_x, m.offset_y] });
    let is_good =
        |m: &Map| m.scale.iter().all(|s| s.is_normal()) && m.offset.iter().all(|o| o.is_finite());
    made.filter(is_good).ok_or_else(|| {
        error::invalid_argument(
            "map has a scale of 0 or a number that is not finite: expected one of \
             inferno_image_to_tensor",
        )
    })
}
