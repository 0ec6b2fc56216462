//! An image of bytes to a tensor.

use super::fit::{self, Fit, Map};
use super::resample;
use super::sink::{Norm, Sink};
use crate::error::{self, Result};
use crate::kernels::{Isa, Pixel};

/// What a pixel's bytes are, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Red, green, blue, and one that is passed over.
    Rgba,
    /// Blue, green, red, and one that is passed over.
    Bgra,
    /// One for all three.
    Gray,
}

impl Format {
    /// Bytes of a pixel.
    pub fn bytes(self) -> usize {
        match self {
            Format::Rgb | Format::Bgr => 3,
            Format::Rgba | Format::Bgra => 4,
            Format::Gray => 1,
        }
    }

    /// Blue comes first.
    fn is_reversed(self) -> bool {
        matches!(self, Format::Bgr | Format::Bgra)
    }
}

/// Rows of pixels in memory.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    pub(super) bytes: &'a [u8],
    /// Where the top row begins.
    pub(super) first: usize,
    /// From a row to the one below.
    pub(super) stride: isize,
    pub(super) size: [usize; 2],
    pub(super) format: Format,
}

impl<'a> Image<'a> {
    /// The bytes from the start of the first row in memory to the end of the last one, of an
    /// image whose rows are `stride` bytes apart. With a negative stride the top row is the
    /// last one in memory.
    pub fn extent(size: [usize; 2], format: Format, stride: isize) -> Result<usize> {
        let [width, height] = size;
        let row = width.checked_mul(format.bytes()).filter(|_| width > 0 && height > 0);
        let row = row.ok_or_else(|| {
            error::invalid_argument(format!("an image of {width} x {height}: expected pixels"))
        })?;
        if stride.unsigned_abs() < row && height > 1 {
            return Err(error::invalid_argument(format!(
                "stride_bytes is {stride}: expected {row} at least for rows of {width} pixels"
            )));
        }
        let others = stride.unsigned_abs().checked_mul(height - 1);
        let all = others.and_then(|others| others.checked_add(row));
        all.filter(|all| *all <= isize::MAX as usize).ok_or_else(|| {
            error::invalid_argument(format!(
                "no memory holds {height} rows that are {stride} bytes apart"
            ))
        })
    }

    /// An image over `bytes`, which are as many as [`Image::extent`] says.
    pub fn new(
        bytes: &'a [u8],
        size: [usize; 2],
        format: Format,
        stride: isize,
    ) -> Result<Image<'a>> {
        let extent = Image::extent(size, format, stride)?;
        if bytes.len() != extent {
            return Err(error::internal(format!("{} bytes, expected {extent}", bytes.len())));
        }
        let above = if stride < 0 { stride.unsigned_abs() * (size[1] - 1) } else { 0 };
        Ok(Image { bytes, first: above, stride, size, format })
    }

    /// Where row `y` begins.
    pub(super) fn begin(&self, y: usize) -> usize {
        self.first.wrapping_add_signed(self.stride.wrapping_mul(y as isize))
    }

    /// The pixels of row `y`.
    pub(super) fn row(&self, y: usize) -> &'a [u8] {
        &self.bytes[self.begin(y)..][..self.size[0] * self.format.bytes()]
    }
}

/// What is between the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The line between two pixels, each way.
    Bilinear,
    /// The same; where the image shrinks, all pixels under a triangle as wide as two places.
    Antialias,
    /// The nearest pixel.
    Nearest,
}

/// What is next to what in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Planes of rows: channels, height, width.
    Chw,
    /// Channels of a pixel together: height, width, channels.
    Hwc,
}

/// The channels of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One: 0.299 of red, 0.587 of green, 0.114 of blue.
    Gray,
}

/// How much of red, green and blue a grey is.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

impl Order {
    /// How many.
    pub fn channels(self) -> usize {
        if self == Order::Gray { 1 } else { 3 }
    }

    /// What the pixels of an image become, and which of those planes each channel is.
    fn of(self, format: Format) -> (Pixel, [usize; 3]) {
        let [red, green, blue] = LUMA;
        match (self, format.bytes()) {
            (_, 1) => (Pixel::Gray, [0; 3]),
            (Order::Gray, bytes) if format.is_reversed() => {
                (Pixel::Sum(bytes, [blue, green, red]), [0; 3])
            }
            (Order::Gray, bytes) => (Pixel::Sum(bytes, LUMA), [0; 3]),
            (order, bytes) if (order == Order::Bgr) == format.is_reversed() => {
                (Pixel::Colours(bytes), [0, 1, 2])
            }
            (_, bytes) => (Pixel::Colours(bytes), [2, 1, 0]),
        }
    }

    /// A colour's channels.
    fn colour(self, [red, green, blue]: [f32; 3]) -> [f32; 3] {
        match self {
            Order::Rgb => [red, green, blue],
            Order::Bgr => [blue, green, red],
            Order::Gray => [red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]; 3],
        }
    }
}

/// How an image becomes a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ToTensor {
    /// Where it goes.
    pub fit: Fit,
    /// What is between pixels.
    pub filter: Filter,
    /// What is next to what.
    pub layout: Layout,
    /// Which channels there are.
    pub order: Order,
    /// Of floats: (byte · scale − mean) / std, by channel of the tensor.
    pub scale: f32,
    /// See `scale`.
    pub mean: [f32; 3],
    /// See `scale`.
    pub std: [f32; 3],
    /// Red, green and blue of what is padded, from 0 to 255.
    pub pad: [f32; 3],
}

impl Default for ToTensor {
    fn default() -> ToTensor {
        ToTensor {
            fit: Fit::Stretch,
            filter: Filter::Bilinear,
            layout: Layout::Chw,
            order: Order::Rgb,
            scale: 1.0 / 255.0,
            mean: [0.0; 3],
            std: [1.0; 3],
            pad: [114.0; 3],
        }
    }
}

impl ToTensor {
    fn norm(&self) -> Result<Norm> {
        let count = self.order.channels();
        for channel in 0..count {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            if !(mean.is_finite() && std.is_finite() && std != 0.0) {
                return Err(error::invalid_argument(format!(
                    "mean[{channel}] is {mean} and std[{channel}] {std}: expected finite numbers, \
                     std not 0"
                )));
            }
        }
        if !self.scale.is_finite() {
            return Err(error::invalid_argument(format!(
                "scale is {}: expected a finite number",
                self.scale
            )));
        }
        let of = |channel: usize| {
            let std = f64::from(self.std[channel]);
            ((f64::from(self.scale) / std) as f32, (-f64::from(self.mean[channel]) / std) as f32)
        };
        let all: [(f32, f32); 3] = std::array::from_fn(|i| if i < count { of(i) } else { of(0) });
        Ok(Norm { factor: all.map(|n| n.0), bias: all.map(|n| n.1), ..Norm::NONE })
    }

    fn padding(&self) -> Result<[f32; 3]> {
        match self.pad.iter().position(|p| !(0.0..=255.0).contains(p)) {
            None => Ok(self.order.colour(self.pad)),
            Some(at) => Err(error::invalid_argument(format!(
                "pad[{at}] is {}: expected 0 to 255",
                self.pad[at]
            ))),
        }
    }
}

/// The elements of a tensor.
#[derive(Debug)]
pub enum Target<'a> {
    /// Normalised.
    Floats(&'a mut [f32]),
    /// As they are in the image, rounded to the nearest.
    Bytes(&'a mut [u8]),
}

impl Target<'_> {
    fn len(&self) -> usize {
        match self {
            Target::Floats(x) => x.len(),
            Target::Bytes(x) => x.len(),
        }
    }
}

/// The most that an image shrinks by with [`Filter::Antialias`].
const MOST_SHRINK: f64 = 500.0;

/// Writes an image into a tensor of `size` pixels, width and height, and gives where it went.
pub fn image_to_tensor(
    isa: Isa,
    image: &Image<'_>,
    how: &ToTensor,
    size: [usize; 2],
    target: Target<'_>,
) -> Result<Map> {
    let volume = size[0].checked_mul(size[1]).and_then(|n| n.checked_mul(how.order.channels()));
    if volume != Some(target.len()) || target.len() == 0 {
        return Err(error::shape_mismatch(format!(
            "a tensor of {} elements for {} x {} pixels of {} channels",
            target.len(),
            size[0],
            size[1],
            how.order.channels()
        )));
    }
    let norm = if matches!(target, Target::Floats(_)) { how.norm()? } else { Norm::NONE };
    let pad = how.padding()?;
    let axes = fit::fit(how.fit, image.size, size);
    let shrinks = axes.iter().any(|axis| axis.step() > 1.0);
    let is_smooth = how.filter == Filter::Antialias && shrinks;
    if is_smooth && axes.iter().any(|axis| axis.step() > MOST_SHRINK) {
        return Err(error::limit_exceeded(format!(
            "an image of {} x {} pixels to {} x {}: an antialiased one shrinks by {MOST_SHRINK} \
             at most",
            image.size[0], image.size[1], axes[0].count, axes[1].count
        )));
    }
    let (pixel, planes) = how.order.of(image.format);
    let norm = Norm { planes, ..norm };
    let mut sink =
        Sink { isa, target, layout: how.layout, size, channels: how.order.channels(), norm };
    sink.pad_around(&axes, pad);
    if is_smooth {
        resample::smooth(isa, image, pixel, &axes, &mut sink);
    } else {
        resample::pairs(isa, image, pixel, how.filter, &axes, &mut sink);
    }
    Ok(fit::map(&axes))
}
