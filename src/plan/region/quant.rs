//! 8-bit numbers: products and convolutions of them, and the way from floats and back.
//!
//! Bytes lie in the arena as floats do, four to each; signed ones are 128 higher.

mod fuse;

use super::MOST_WRITES;
use super::conv2d::{BLOCK, Geometry};
use super::lower::{Context, Lowered, Ref};
use super::memory::Mapped;
use super::ops::Op;
use super::split::{LINE, Team};
use crate::error::Result;
use crate::kernels::{
    self, Isa, QAdd, QOut, QPool, Scale, Unary, as_bytes, as_bytes_mut, as_ints, as_ints_mut,
};
use crate::model::{Dequantize, DynamicQuantize, Given, Integers, QLayer, Quantize};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tract_onnx::prelude::{DatumType, TypedFact};
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::MaxPool;

/// An operation that reads or writes 8-bit numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Quant {
    /// A product or a convolution.
    Layer(Layer),
    /// Floats to bytes.
    Quantize(Scale),
    /// Bytes to floats.
    Dequantize(Scale),
    /// Floats to bytes; then their scale, and their zero.
    Dynamic,
    /// Sums to floats.
    ToFloats,
    /// The sum of two values of bytes.
    Add(QAdd),
    /// The largest byte of each channel in a window, of so many images.
    Pool(Geometry, usize),
    /// Bytes with the last two of three axes in the other order.
    Turn([usize; 3]),
}

/// What a layer writes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Out {
    Sums,
    Floats { scale: Box<[f32]>, bias: Option<Box<[f32]>> },
    Bytes { scale: Box<[f32]>, bias: Option<Box<[f32]>>, zero: u8 },
}

/// A product or a convolution.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Layer {
    #[serde(with = "crate::model::shared")]
    integers: Arc<Integers>,
    batch: usize,
    /// The byte that stands for zero in what it reads; else the second value read is.
    zero: Option<u8>,
    /// What the sums begin with, where that is known.
    start: Box<[i32]>,
    out: Out,
    /// Which value read the sums are multiplied with, besides: one for all, or one for
    /// each filter.
    scaled_by: Option<usize>,
    /// Functions of every element, after that.
    then: Vec<Unary>,
}

/// What a layer reads.
#[derive(Clone, Copy)]
struct Operands<'a> {
    /// An image.
    x: &'a [u8],
    zero: u8,
    scale: Option<&'a [f32]>,
}

impl Layer {
    fn new(layer: &QLayer) -> Layer {
        let integers = layer.integers.clone();
        let out = match &layer.given {
            Given::Sums => Out::Sums,
            Given::Floats { scale, bias } => {
                Out::Floats { scale: scale.clone(), bias: bias.clone() }
            }
        };
        let (batch, zero, start) = (layer.batch, layer.zero, Box::default());
        Layer { integers, batch, zero, start, out, scaled_by: None, then: Vec::new() }
    }

    fn pack(&mut self) -> Result<()> {
        self.integers.pack()?;
        if let Some(zero) = self.zero {
            self.start = vec![0; self.integers.starts()].into();
            self.integers.start(zero, &mut self.start);
        }
        Ok(())
    }

    /// Floats of scratch.
    fn scratch(&self) -> usize {
        let own = if self.zero.is_none() { self.integers.starts() } else { 0 };
        own + self.integers.scratch(self.integers.windows.to[0])
    }

    /// Floats of a row of windows; none where rows of bytes begin within one.
    fn row(&self) -> Option<usize> {
        let w = &self.integers.windows;
        let len = w.to[1] * w.filters;
        match self.out {
            Out::Bytes { .. } => len.is_multiple_of(4).then_some(len / 4),
            _ => Some(len),
        }
    }

    fn operands<'r>(&self, reads: &Mapped<'r>) -> Operands<'r> {
        let zero = self.zero.unwrap_or_else(|| as_bytes(reads.get(1))[0]);
        let scale = self.scaled_by.map(|at| reads.get(at));
        Operands { x: as_bytes(reads.get(0)), zero, scale }
    }

    /// Each image, and the floats that come of it.
    fn images<'a>(
        &self,
        of: Operands<'a>,
        y: &'a mut [f32],
    ) -> impl Iterator<Item = (Operands<'a>, &'a mut [f32])> + use<'a> {
        let (each, to) = (self.integers.windows.inputs(), y.len() / self.batch);
        let images = of.x.chunks_exact(each).take(self.batch);
        images.map(move |x| Operands { x, ..of }).zip(y.chunks_exact_mut(to.max(1)))
    }

    fn run(&self, isa: Isa, reads: &Mapped, y: &mut [f32], scratch: &mut [f32]) {
        for (of, y) in self.images(self.operands(reads), y) {
            self.rows(isa, of, [0, self.integers.windows.to[0]], scratch, y);
        }
    }

    fn split(
        &self,
        isa: Isa,
        reads: &Mapped,
        y: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        let Some(row) = self.row() else { return Ok(false) };
        // Rows of a product go together, as many as a tile has.
        let w = &self.integers.windows;
        let least = w.rows_above().max(if w.to[1] == 1 { 6 } else { 1 });
        let images = (self.batch, self.images(self.operands(reads), y));
        team.images(cost, images, [row, least], |scratch, (_, of), first, y| {
            self.rows(isa, of, [first, y.len() / row], scratch, y);
        })
    }

    /// So many rows of windows of an image, from the `first`th on.
    fn rows(
        &self,
        isa: Isa,
        of: Operands<'_>,
        [first, count]: [usize; 2],
        scratch: &mut [f32],
        y: &mut [f32],
    ) {
        let starts = if self.zero.is_none() { self.integers.starts() } else { 0 };
        let (start, scratch) = scratch.split_at_mut(starts);
        let start = as_ints_mut(start);
        if self.zero.is_none() {
            self.integers.start(of.zero, start);
        }
        let start = if self.zero.is_some() { &*self.start } else { &*start };
        let row = y.len().checked_div(count).unwrap_or(0);
        // Blocks that what comes after finds in the cache.
        let most = if self.then.is_empty() { count } else { (BLOCK / row.max(1)).max(6) };
        for from in (0..count).step_by(most.max(1)) {
            let rows = most.min(count - from);
            let y = match rows == count {
                true => &mut *y,
                false => &mut y[from * row..(from + rows) * row],
            };
            let out = self.out.to(of.scale, y);
            let rows = [first + from, rows];
            self.integers.run(isa, of.x, rows, (of.zero, start), out, scratch);
            self.then.iter().for_each(|op| kernels::unary_in_place(isa, *op, y));
        }
    }
}

impl Out {
    /// To these floats; by a scale that is read, if there is one.
    fn to<'a>(&'a self, read: Option<&'a [f32]>, y: &'a mut [f32]) -> QOut<'a> {
        match self {
            Out::Sums => QOut::Sums(y.into()),
            Out::Floats { scale, bias } => {
                let scale = read.unwrap_or(scale);
                QOut::Floats { scale, bias: bias.as_deref(), c: y.into() }
            }
            Out::Bytes { scale, bias, zero } => {
                QOut::Bytes { scale, bias: bias.as_deref(), zero: *zero, c: y.into() }
            }
        }
    }
}

impl Quant {
    pub(super) fn run(&self, isa: Isa, reads: &Mapped, writes: &mut [&mut [f32]; MOST_WRITES]) {
        let [y, second, third, ..] = writes;
        let x = reads.get(0);
        match self {
            Quant::Layer(layer) => layer.run(isa, reads, y, second),
            Quant::Dynamic => {
                let of = kernels::dynamic_scale(isa, x);
                kernels::quantize(isa, x, of, &mut as_bytes_mut(y)[..x.len()]);
                second[0] = of.scale;
                as_bytes_mut(third)[0] = of.zero;
            }
            Quant::Add(_) => self.part(isa, [x, reads.get(1)], 0, y),
            Quant::Pool(geometry, batch) => pool(geometry, *batch, as_bytes(x), as_bytes_mut(y)),
            Quant::Turn([outer, a, b]) => {
                let (x, y) = (as_bytes(x), as_bytes_mut(y));
                let images = x.chunks_exact(a * b).zip(y.chunks_exact_mut(a * b));
                images.take(*outer).for_each(|(x, y)| turn(x, [*a, *b], y));
            }
            _ => self.part(isa, [x, &[]], 0, y),
        }
    }

    /// Element by element: the floats `y`, from the `first`th on.
    fn part(&self, isa: Isa, [x, v]: [&[f32]; 2], first: usize, y: &mut [f32]) {
        match self {
            Quant::Quantize(of) => {
                let x = &x[4 * first..x.len().min(4 * (first + y.len()))];
                kernels::quantize(isa, x, *of, &mut as_bytes_mut(y)[..x.len()]);
            }
            Quant::Dequantize(of) => {
                kernels::dequantize(isa, &as_bytes(x)[first..first + y.len()], *of, y);
            }
            Quant::ToFloats => {
                kernels::to_floats(isa, as_ints(&x[first..first + y.len()]), y);
            }
            Quant::Add(add) => {
                let [a, b] = [x, v].map(|all| as_bytes(&all[first..first + y.len()]));
                add.run(isa, a, b, as_bytes_mut(y));
            }
            Quant::Layer(_) | Quant::Dynamic | Quant::Pool(..) | Quant::Turn(_) => {
                unreachable!("not by elements")
            }
        }
    }

    pub(super) fn split(
        &self,
        isa: Isa,
        reads: &Mapped,
        y: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        match self {
            Quant::Layer(layer) => layer.split(isa, reads, y, cost, team),
            Quant::Dynamic | Quant::Pool(..) | Quant::Turn(_) => Ok(false),
            _ => {
                let both = matches!(self, Quant::Add(_));
                let of = [reads.get(0), if both { reads.get(1) } else { &[] }];
                team.rows(cost, y, [1, LINE], |_, first, y| self.part(isa, of, first, y))
            }
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Quant::Layer(_) => "qlayer",
            Quant::Quantize(_) => "quantize",
            Quant::Dequantize(_) => "dequantize",
            Quant::Dynamic => "dynamic",
            Quant::ToFloats => "tofloats",
            Quant::Add(_) => "qadd",
            Quant::Pool(..) => "qpool",
            Quant::Turn(_) => "qturn",
        }
    }

    /// Operations of products.
    pub(super) fn flop(&self) -> u64 {
        match self {
            Quant::Layer(layer) => layer.batch as u64 * layer.integers.flop(),
            _ => 0,
        }
    }

    pub(super) fn pack(&mut self) -> Result<()> {
        match self {
            Quant::Layer(layer) => layer.pack(),
            _ => Ok(()),
        }
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        match self {
            Quant::Layer(layer) => layer.integers.bytes(),
            _ => 0,
        }
    }
}

fn pool(geometry: &Geometry, batch: usize, x: &[u8], y: &mut [u8]) {
    let Geometry { channels, from, to, kernel, stride, dilation, pad, .. } = *geometry;
    let images = x.chunks_exact(geometry.inputs()).zip(y.chunks_exact_mut(geometry.outputs()));
    for (x, y) in images.take(batch) {
        QPool { x, from, to, channels, kernel, stride, dilation, pad }.run(y);
    }
}

/// A pool of bytes that takes the largest.
fn largest(context: &Context, op: &MaxPool) -> Option<Quant> {
    let from = context.input_fact(0)?;
    let &[batch, channels, height, width] = from.shape.as_concrete()? else { return None };
    let spec = &op.pool_spec;
    let plain = spec.rank() == 2 && !spec.data_format.c_is_last() && spec.data_format.has_n();
    if !plain || op.with_index_outputs.is_some() || !is_byte(from.datum_type) {
        return None;
    }
    let computed = spec.computed_padding(&[height, width]);
    let geometry = Geometry {
        channels,
        filters: channels,
        from: [height, width],
        to: [0, 1].map(|axis: usize| computed[axis].convoluted),
        kernel: [0, 1].map(|axis: usize| spec.kernel_shape[axis]),
        stride: [0, 1].map(|axis: usize| spec.stride(axis)),
        dilation: [0, 1].map(|axis: usize| spec.dilation(axis)),
        pad: [0, 1].map(|axis: usize| computed[axis].pad_before),
    };
    let volume: usize = context.node.outputs.first()?.fact.shape.as_concrete()?.iter().product();
    (volume == batch * geometry.outputs()).then_some(Quant::Pool(geometry, batch))
}

/// A matrix of bytes, transposed in blocks.
fn turn(x: &[u8], [rows, columns]: [usize; 2], y: &mut [u8]) {
    const BLOCK: usize = 16;
    for from in (0..columns).step_by(BLOCK) {
        let to = columns.min(from + BLOCK);
        for row in 0..rows {
            for column in from..to {
                y[column * rows + row] = x[row * columns + column];
            }
        }
    }
}

/// Whether a dtype is of a byte.
pub(super) fn is_byte(dt: DatumType) -> bool {
    matches!(dt, DatumType::U8 | DatumType::I8)
}

/// Whether values of a dtype are only within a region: bytes and sums of them.
pub(super) fn is_inner(dt: DatumType) -> bool {
    is_byte(dt) || dt == DatumType::I32
}

/// Elements of a value that a region may hold, and the floats that they take.
pub(super) fn cells(fact: &TypedFact) -> Option<(usize, usize)> {
    let dims = fact.shape.as_concrete()?;
    let volume = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    let floats = match fact.datum_type {
        DatumType::F32 | DatumType::I32 => volume,
        dt if is_byte(dt) => volume.div_ceil(4),
        _ => return None,
    };
    (1..=super::lower::LARGEST).contains(&volume).then_some((volume, floats))
}

/// A node that reads or gives 8-bit numbers, or sums of them.
pub(super) fn lower(context: &Context) -> Option<Lowered> {
    let node = context.node;
    let from = context.input_fact(0).filter(|fact| fact.konst.is_none())?;
    let (to, rank) = (&node.outputs.first()?.fact, from.rank());
    let ((_, read), (_, len)) = (cells(from)?, cells(to)?);
    if context.channels_last && !(3..=4).contains(&rank) {
        return None;
    }
    let one = |op: Quant| Some(Lowered::one(Op::Quant(op), vec![Ref::Input(0)], len));
    if let Some(op) = node.op_as::<QLayer>() {
        return layer(context, op, len);
    } else if let Some(op) = node.op_as::<Quantize>() {
        return one(Quant::Quantize(op.scale()));
    } else if let Some(op) = node.op_as::<Dequantize>() {
        return one(Quant::Dequantize(op.scale(from.datum_type)?));
    } else if node.op_is::<DynamicQuantize>() {
        let mut lowered = Lowered::default();
        lowered.step_of(Op::Quant(Quant::Dynamic), vec![Ref::Input(0)], vec![len, 1, 1]);
        lowered.outputs = (0..3).map(Ref::Written).collect();
        return Some(lowered);
    } else if let Some(op) = node.op_as::<MaxPool>() {
        return if context.channels_last { one(largest(context, op)?) } else { None };
    } else if let Some(op) = node.op_as::<Cast>() {
        let sums = (from.datum_type, op.to) == (DatumType::I32, DatumType::F32);
        return if sums { one(Quant::ToFloats) } else { None };
    }
    let axes = node.op_as::<AxisOp>()?;
    let moves = matches!(axes, AxisOp::Move(..)) || context.channels_last;
    (from.datum_type != DatumType::F32 && !moves && read == len).then(Lowered::same)
}

fn layer(context: &Context, op: &QLayer, len: usize) -> Option<Lowered> {
    if context.channels_last != op.has_images {
        return None;
    }
    let mut reads = vec![Ref::Input(0)];
    if op.zero.is_none() {
        let zero = context.input_fact(1)?;
        if zero.konst.is_some() || op.is_signed {
            return None;
        }
        reads.push(Ref::Plain(1));
    }
    let layer = Layer::new(op);
    let mut writes = vec![len];
    writes.extend(Some(layer.scratch()).filter(|scratch| *scratch > 0));
    let mut lowered = Lowered::default();
    let value = lowered.step_of(Op::Quant(Quant::Layer(layer)), reads, writes);
    lowered.outputs.push(value);
    Some(lowered)
}
