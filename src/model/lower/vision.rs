//! Sampling between pixels: `AffineGrid` (20), `DeformConv` (19, 22), `RoiAlign` (10, 16, 22).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, ints, native};
use super::values::{f32s, f64s, tensor_of};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{Array4, ArrayD, ArrayView2, Ix4, s};

#[derive(Debug)]
struct AffineGrid {
    align_corners: bool,
}

/// `AffineGrid`: the sampling points of a picture moved by an affine map.
pub(super) fn affine_grid(_: &ParsingContext, node: &NodeProto) -> Built {
    native(node, AffineGrid { align_corners: attrs::flag(node, "align_corners", false)? })
}

impl AffineGrid {
    /// Where the middle of pixel `ix` of `len` lies between −1 and 1.
    fn place(&self, ix: usize, len: usize) -> f64 {
        match (self.align_corners, len) {
            (true, 1) => -1.0,
            (true, _) => -1.0 + 2.0 * ix as f64 / (len - 1) as f64,
            (false, _) => -1.0 + (2.0 * ix as f64 + 1.0) / len as f64,
        }
    }

    /// Dims of the grid: batch, the spatial ones, and the number of those.
    fn grid(&self, size: &[i64]) -> TractResult<Vec<usize>> {
        ensure!(
            matches!(size.len(), 4 | 5) && size.iter().all(|d| (0..1 << 31).contains(d)),
            "AffineGrid takes a size of 4 or 5 dims, not {size:?}"
        );
        let mut grid = vec![size[0] as usize];
        grid.extend(size[2..].iter().map(|d| *d as usize));
        grid.push(size.len() - 2);
        Ok(grid)
    }
}

impl Kernel for AffineGrid {
    fn params(&self) -> &'static [(usize, &'static str)] {
        &[(1, "size")]
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let size = inputs.konst(1, "size")?.context("AffineGrid needs its input 'size'")?;
        let grid = self.grid(&size)?;
        let (n, d) = (grid[0].to_dim(), grid.len() - 2);
        let theta = inputs.shape(0)?;
        ensure!(
            *theta == [n, d.to_dim(), (d + 1).to_dim()],
            "AffineGrid: theta has dims {theta:?}"
        );
        Ok(vec![inputs.dt(0)?.fact(&*grid)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let theta = f64s(inputs.need(0)?)?;
        let grid = self.grid(&ints(inputs.need(1)?)?)?;
        let d = grid.len() - 2;
        let out = ArrayD::from_shape_fn(grid.clone(), |at| {
            let (n, row) = (at[0], at[d + 1]);
            // Coordinates run x, y, z: from the last spatial axis to the first.
            let moved: f64 =
                (0..d).map(|c| theta[[n, row, c]] * self.place(at[d - c], grid[d - c])).sum();
            moved + theta[[n, row, d]]
        });
        Ok(vec![tensor_of(out, inputs.need(0)?.datum_type())?])
    }
}

#[derive(Debug)]
struct RoiAlign {
    half_pixel: bool,
    max: bool,
    height: usize,
    width: usize,
    sampling: usize,
    scale: f32,
}

/// `RoiAlign`: pools regions of a picture without rounding them.
pub(super) fn roi_align(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let default =
        if ctx.onnx_operator_set_version < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = match &*attrs::string(node, "coordinate_transformation_mode", default)? {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => bail!("RoiAlign: unknown coordinate_transformation_mode '{other}'"),
    };
    let max = match &*attrs::string(node, "mode", "avg")? {
        "avg" => false,
        "max" => true,
        other => bail!("RoiAlign: unknown mode '{other}'"),
    };
    let count = |name, default, least| -> TractResult<usize> {
        let v = attrs::int(node, name, default)?;
        ensure!((least..1 << 16).contains(&v), "RoiAlign: {name} {v} is out of range");
        Ok(v as usize)
    };
    native(
        node,
        RoiAlign {
            half_pixel,
            max,
            height: count("output_height", 1, 1)?,
            width: count("output_width", 1, 1)?,
            sampling: count("sampling_ratio", 0, 0)?,
            scale: attrs::float(node, "spatial_scale", 1.0)?,
        },
    )
}

/// The four pixels around a point of an image, with their weights; nothing
/// farther than one pixel outside.
fn around(y: f32, x: f32, height: usize, width: usize) -> Option<[((usize, usize), f32); 4]> {
    let inside = (-1.0..=height as f32).contains(&y) && (-1.0..=width as f32).contains(&x);
    if !inside || height == 0 || width == 0 {
        return None;
    }
    let along = |v: f32, len: usize| {
        let v = v.max(0.0);
        let low = (v as usize).min(len - 1);
        if low == len - 1 { (low, low, 0.0) } else { (low, low + 1, v - low as f32) }
    };
    let (y0, y1, fy) = along(y, height);
    let (x0, x1, fx) = along(x, width);
    Some([
        ((y0, x0), (1.0 - fy) * (1.0 - fx)),
        ((y0, x1), (1.0 - fy) * fx),
        ((y1, x0), fy * (1.0 - fx)),
        ((y1, x1), fy * fx),
    ])
}

/// One axis of a region: where its bins start, how wide they are, how often
/// each is sampled.
struct Bins {
    start: f32,
    size: f32,
    samples: usize,
}

impl RoiAlign {
    fn bins(&self, from: f32, to: f32, bins: usize) -> TractResult<Bins> {
        let shift = if self.half_pixel { 0.5 } else { 0.0 };
        let start = from * self.scale - shift;
        let mut len = to * self.scale - shift - start;
        if !self.half_pixel {
            len = len.max(1.0);
        }
        let size = len / bins as f32;
        let samples = if self.sampling > 0 { self.sampling } else { size.ceil().max(0.0) as usize };
        ensure!(samples <= 1 << 12, "RoiAlign: a region of {len} pixels needs too many samples");
        Ok(Bins { start, size, samples })
    }

    /// Pools one bin of one channel.
    fn pool(&self, image: ArrayView2<f32>, ys: &Bins, xs: &Bins, bin: (usize, usize)) -> f32 {
        let at = |axis: &Bins, bin: usize, ix: usize| {
            axis.start + axis.size * (bin as f32 + (ix as f32 + 0.5) / axis.samples as f32)
        };
        let (mut sum, mut max) = (0.0, None::<f32>);
        for iy in 0..ys.samples {
            for ix in 0..xs.samples {
                let (y, x) = (at(ys, bin.0, iy), at(xs, bin.1, ix));
                let found = around(y, x, image.nrows(), image.ncols());
                let parts = found.map(|corners| corners.map(|(at, w)| image[at] * w));
                let parts = parts.unwrap_or([0.0; 4]);
                sum += parts.iter().sum::<f32>();
                let most = parts.into_iter().fold(f32::NEG_INFINITY, f32::max);
                max = Some(max.map_or(most, |m| m.max(most)));
            }
        }
        if self.max { max.unwrap_or(0.0) } else { sum / (ys.samples * xs.samples).max(1) as f32 }
    }
}

impl Kernel for RoiAlign {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let (x, rois) = (inputs.shape(0)?, inputs.shape(1)?);
        ensure!(
            x.len() == 4 && rois.len() == 2 && rois[1] == 4.to_dim(),
            "RoiAlign takes a picture of 4 dims and rois of 4 numbers"
        );
        let dims = [rois[0].clone(), x[1].clone(), self.height.to_dim(), self.width.to_dim()];
        Ok(vec![inputs.dt(0)?.fact(dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = f32s(inputs.need(0)?)?.into_dimensionality::<Ix4>()?;
        let rois = f32s(inputs.need(1)?)?;
        let batches = ints(inputs.need(2)?)?;
        let (batch, channels, ..) = x.dim();
        let count = rois.shape()[0];
        ensure!(rois.shape() == [count, 4], "rois have dims {:?}", rois.shape());
        ensure!(
            batches.len() == count && batches.iter().all(|b| (0..batch as i64).contains(b)),
            "batch_indices {batches:?} must be {count} numbers in 0..{batch}"
        );
        let mut out = Array4::<f32>::zeros((count, channels, self.height, self.width));
        for (r, &b) in batches.iter().enumerate() {
            let xs = self.bins(rois[[r, 0]], rois[[r, 2]], self.width)?;
            let ys = self.bins(rois[[r, 1]], rois[[r, 3]], self.height)?;
            for c in 0..channels {
                let image = x.slice(s![b as usize, c, .., ..]);
                for (bin, y) in out.slice_mut(s![r, c, .., ..]).indexed_iter_mut() {
                    *y = self.pool(image, &ys, &xs, bin);
                }
            }
        }
        Ok(vec![tensor_of(out.into_dyn(), inputs.need(0)?.datum_type())?])
    }
}

#[derive(Debug)]
struct DeformConv {
    dilations: Vec<usize>,
    strides: Vec<usize>,
    pads: Vec<usize>,
    kernel: Option<Vec<usize>>,
    group: usize,
    offset_group: usize,
}

/// `DeformConv`: a convolution whose taps are moved by an input.
pub(super) fn deform_conv(_: &ParsingContext, node: &NodeProto) -> Built {
    let list = |name, default: &[usize], least| -> TractResult<Vec<usize>> {
        let Some(list) = attrs::ints(node, name)? else {
            return Ok(default.to_vec());
        };
        ensure!(
            list.len() == default.len() && list.iter().all(|v| (least..1 << 20).contains(v)),
            "DeformConv: {name} {list:?} is not supported: pictures have 2 dims"
        );
        Ok(list.into_iter().map(|v| v as usize).collect())
    };
    let groups = |name| -> TractResult<usize> {
        let v = attrs::int(node, name, 1)?;
        ensure!((1..1 << 20).contains(&v), "DeformConv: {name} {v} is out of range");
        Ok(v as usize)
    };
    let kernel = list("kernel_shape", &[0, 0], 1)?;
    native(
        node,
        DeformConv {
            dilations: list("dilations", &[1, 1], 1)?,
            strides: list("strides", &[1, 1], 1)?,
            pads: list("pads", &[0, 0, 0, 0], 0)?,
            kernel: (kernel != [0, 0]).then_some(kernel),
            group: groups("group")?,
            offset_group: groups("offset_group")?,
        },
    )
}

impl DeformConv {
    /// Checks the dims and gives those of the output.
    fn dims(&self, x: &[usize], w: &[usize], offset: &[usize]) -> TractResult<[usize; 4]> {
        ensure!(x.len() == 4 && w.len() == 4 && offset.len() == 4, "DeformConv takes 4 dims");
        ensure!(
            x[1] == w[1] * self.group
                && w[0].is_multiple_of(self.group)
                && x[1].is_multiple_of(self.offset_group),
            "DeformConv: channels {} and {} do not fit the groups",
            x[1],
            w[1]
        );
        if let Some(kernel) = &self.kernel {
            ensure!(kernel == &w[2..], "DeformConv: kernel_shape {kernel:?} is not the weight's");
        }
        let mut out = [x[0], w[0], 0, 0];
        for ax in 0..2 {
            let reach = (w[2 + ax] - 1) * self.dilations[ax] + 1;
            let padded = x[2 + ax] + self.pads[ax] + self.pads[2 + ax];
            ensure!(padded >= reach, "DeformConv: the picture is smaller than the kernel");
            out[2 + ax] = (padded - reach) / self.strides[ax] + 1;
        }
        let taps = self.offset_group * w[2] * w[3] * 2;
        ensure!(
            offset == [x[0], taps, out[2], out[3]],
            "DeformConv: offset has dims {offset:?}, expected {:?}",
            [x[0], taps, out[2], out[3]]
        );
        Ok(out)
    }
}

/// The value of an image between its pixels, zero outside.
fn bilinear(image: ArrayView2<f32>, y: f32, x: f32) -> f32 {
    let (y0, x0) = (y.floor(), x.floor());
    let (fy, fx) = (y - y0, x - x0);
    let pixel = |y: f32, x: f32| {
        let inside = y >= 0.0 && x >= 0.0 && y < image.nrows() as f32 && x < image.ncols() as f32;
        if inside { image[(y as usize, x as usize)] } else { 0.0 }
    };
    (1.0 - fy) * ((1.0 - fx) * pixel(y0, x0) + fx * pixel(y0, x0 + 1.0))
        + fy * ((1.0 - fx) * pixel(y0 + 1.0, x0) + fx * pixel(y0 + 1.0, x0 + 1.0))
}

impl Kernel for DeformConv {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let out = self.dims(&inputs.dims(0)?, &inputs.dims(1)?, &inputs.dims(2)?)?;
        Ok(vec![inputs.dt(0)?.fact(out)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let four =
            |t: &Tensor| -> TractResult<Array4<f32>> { Ok(f32s(t)?.into_dimensionality::<Ix4>()?) };
        let (x, w, offset) =
            (four(inputs.need(0)?)?, four(inputs.need(1)?)?, four(inputs.need(2)?)?);
        let bias = inputs.get(3).map(f32s).transpose()?;
        let mask = inputs.get(4).map(four).transpose()?;
        let dims = self.dims(x.shape(), w.shape(), offset.shape())?;
        let bias_fits = bias.as_ref().is_none_or(|b| b.shape() == [dims[1]]);
        ensure!(bias_fits, "DeformConv: one bias for each output channel");
        let (kh, kw) = (w.dim().2, w.dim().3);
        if let Some(mask) = &mask {
            let expected = [dims[0], self.offset_group * kh * kw, dims[2], dims[3]];
            ensure!(mask.shape() == expected, "DeformConv: mask has dims {:?}", mask.shape());
        }
        let per_group = w.dim().1;
        let per_offset = x.dim().1 / self.offset_group;
        let out = Array4::from_shape_fn((dims[0], dims[1], dims[2], dims[3]), |(n, o, i, j)| {
            let mut sum = bias.as_ref().map_or(0.0, |b| b[[o]]);
            for c in 0..per_group {
                let channel = o / (dims[1] / self.group) * per_group + c;
                let image = x.slice(s![n, channel, .., ..]);
                for tap in 0..kh * kw {
                    let (ky, kx) = (tap / kw, tap % kw);
                    let at = channel / per_offset * kh * kw + tap;
                    let y = (i * self.strides[0] + ky * self.dilations[0]) as f32
                        - self.pads[0] as f32
                        + offset[(n, 2 * at, i, j)];
                    let x = (j * self.strides[1] + kx * self.dilations[1]) as f32
                        - self.pads[1] as f32
                        + offset[(n, 2 * at + 1, i, j)];
                    let keep = mask.as_ref().map_or(1.0, |m| m[(n, at, i, j)]);
                    sum += bilinear(image, y, x) * w[(o, c, ky, kx)] * keep;
                }
            }
            sum
        });
        Ok(vec![tensor_of(out.into_dyn(), inputs.need(0)?.datum_type())?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_hir::tract_core::ndarray::arr2;

    #[test]
    fn a_point_between_pixels_mixes_them_and_outside_is_zero() {
        let image = arr2(&[[0f32, 1.0], [2.0, 3.0]]);
        assert_eq!(bilinear(image.view(), 0.5, 0.5), 1.5);
        assert_eq!(bilinear(image.view(), -0.5, 0.0), 0.0);
        assert_eq!(bilinear(image.view(), 1.5, 1.0), 1.5);
        assert!(around(-1.5, 0.0, 2, 2).is_none());
    }
}
