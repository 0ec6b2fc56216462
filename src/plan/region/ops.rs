//! What a step does.

use super::MOST_WRITES;
use super::attention::Attention;
use super::conv2d::Conv2d;
use super::deconv::Deconv;
use super::depthwise::{Depthwise, Pool};
use super::einsum::Product;
use super::elementwise::Pairwise;
use super::fuse::Tail;
use super::memory::Mapped;
use super::moves::Moves;
use super::quant::Quant;
use super::recurs::Layer;
use super::resize::Resize;
use super::scale::Change;
use crate::error::Result;
use crate::kernels::{self, Isa, Reduce, Unary};
use serde::{Deserialize, Serialize};

/// An operation over what a step reads and writes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Op {
    /// Matrix products.
    Product(Product),
    /// A convolution over two axes.
    Conv2d(Conv2d),
    /// One of every channel by itself.
    Depthwise(Depthwise),
    /// One that is transposed.
    Deconv(Deconv),
    /// A pool over two axes.
    Pool(Pool),
    /// Images at another size.
    Resize(Resize),
    /// One function of every element.
    Unary(Unary),
    /// One function of pairs of elements.
    Pairwise(Pairwise),
    /// Along rows of so many.
    Softmax { n: usize, log: bool },
    /// Along the middle axis.
    SoftmaxStrided([usize; 3]),
    /// Along rows.
    Norm(Norm),
    /// Softmax along rows of so many, of x · scale + mask; the mask is the second
    /// value read, for as many rows as it has again and again.
    Masked { n: usize, scale: f32, has_mask: bool },
    /// Along the middle axis.
    Reduce { op: Reduce, dims: [usize; 3] },
    /// Scores, their softmax, and the sums of values that they weigh.
    Attention(Attention),
    /// Axes in another order.
    Permute { dims: Vec<usize>, axes: Vec<usize> },
    /// Parts of values to other places.
    Moves(Moves),
    /// A recurrent layer.
    Recur(Layer),
    /// Of 8-bit numbers.
    Quant(Quant),
}

/// Rows of `n` over the root of their mean square, less their mean before that if
/// they are centred; then times `gamma`, plus `beta`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Norm {
    pub(super) n: usize,
    pub(super) eps: f32,
    pub(super) is_centred: bool,
    pub(super) gamma: Option<Box<[f32]>>,
    pub(super) beta: Option<Box<[f32]>>,
}

impl Norm {
    /// Of rows `x`; those of `y` where it is none.
    fn run(&self, isa: Isa, x: Option<&[f32]>, y: &mut [f32]) {
        let Norm { n, eps, is_centred, gamma, beta } = self;
        let (gamma, beta) = (gamma.as_deref(), beta.as_deref());
        match (is_centred, x) {
            (true, None) => kernels::layer_norm_in_place(isa, *n, y, gamma, beta, *eps),
            (true, Some(x)) => kernels::layer_norm(isa, *n, x, gamma, beta, *eps, y),
            (false, None) => kernels::rms_norm_in_place(isa, *n, y, gamma, *eps),
            (false, Some(x)) => kernels::rms_norm(isa, *n, x, gamma, *eps, y),
        }
        if let (false, Some(beta)) = (is_centred, beta) {
            kernels::binary_rows_in_place(isa, kernels::Binary::Add, y, beta, false);
        }
    }
}

impl Op {
    /// Axes in another order, those of one left out.
    pub(super) fn permute(dims: &[usize], axes: &[usize]) -> Op {
        let kept: Vec<usize> = (0..dims.len()).filter(|a| dims[*a] > 1).collect();
        let place = |axis: &usize| kept.iter().position(|k| k == axis);
        let axes = axes.iter().filter_map(place).collect();
        Op::Permute { dims: kept.iter().map(|a| dims[*a]).collect(), axes }
    }

    /// The value read that the value written may take the place of.
    pub(super) fn in_place(&self) -> Option<usize> {
        match self {
            Op::Unary(_)
            | Op::Softmax { .. }
            | Op::SoftmaxStrided(_)
            | Op::Masked { .. }
            | Op::Norm(_) => Some(0),
            Op::Pairwise(pairwise) => pairwise.in_place(),
            Op::Product(_)
            | Op::Conv2d(_)
            | Op::Depthwise(_)
            | Op::Deconv(_)
            | Op::Pool(_)
            | Op::Resize(_)
            | Op::Attention(_)
            | Op::Reduce { .. }
            | Op::Permute { .. }
            | Op::Moves(_)
            | Op::Recur(_)
            | Op::Quant(_) => None,
        }
    }

    /// The columns of what it writes, where each is one of a product's or a filter.
    pub(super) fn columns(&self) -> Option<usize> {
        match self {
            Op::Product(product) => product.columns(),
            Op::Conv2d(conv) => Some(conv.filters()),
            Op::Deconv(conv) => Some(conv.filters()),
            Op::Depthwise(conv) => Some(conv.channels()),
            _ => None,
        }
    }

    /// Makes what is done to each column part of the weights; false where
    /// something else comes before that.
    pub(super) fn change(&mut self, change: Change) -> bool {
        if !self.tail().is_some_and(|tail| tail.is_empty()) {
            return false;
        }
        match (self, change) {
            (Op::Product(product), Change::Scale(by)) => product.scale(&by),
            (Op::Product(product), Change::Shift(by)) => product.shift(&by),
            (Op::Conv2d(conv), Change::Scale(by)) => conv.scale(&by),
            (Op::Conv2d(conv), Change::Shift(by)) => conv.shift(&by),
            (Op::Deconv(conv), Change::Scale(by)) => conv.scale(&by),
            (Op::Deconv(conv), Change::Shift(by)) => conv.shift(&by),
            (Op::Depthwise(conv), Change::Scale(by)) => conv.scale(&by),
            (Op::Depthwise(conv), Change::Shift(by)) => conv.shift(&by),
            _ => return false,
        }
        true
    }

    /// What else is done where it writes, for who adds to it.
    pub(super) fn tail(&mut self) -> Option<&mut Tail> {
        match self {
            Op::Product(product) => Some(&mut product.tail),
            Op::Conv2d(Conv2d { tail, .. })
            | Op::Deconv(Deconv { tail, .. })
            | Op::Depthwise(Depthwise { tail, .. }) => Some(tail),
            _ => None,
        }
    }

    /// Whether as many elements can be added where it writes.
    pub(super) fn takes_residual(&self) -> bool {
        match self {
            Op::Product(product) => product.takes_residual(),
            Op::Conv2d(Conv2d { tail, .. })
            | Op::Deconv(Deconv { tail, .. })
            | Op::Depthwise(Depthwise { tail, .. }) => tail.is_empty(),
            _ => false,
        }
    }

    /// Whether bounds where it writes cost nothing.
    pub(super) fn takes_clamp(&self) -> bool {
        match self {
            Op::Product(product) => product.takes_clamp(),
            Op::Conv2d(Conv2d { tail, .. })
            | Op::Deconv(Deconv { tail, .. })
            | Op::Depthwise(Depthwise { tail, .. }) => tail.then.is_empty(),
            _ => false,
        }
    }

    /// The mask of a softmax.
    pub(super) fn mask<'r>(&self, reads: &Mapped<'r>) -> Option<&'r [f32]> {
        matches!(self, Op::Masked { has_mask: true, .. }).then(|| reads.get(1))
    }

    /// Does it to rows `x`, or to those of `y` where it is none; of what goes by rows.
    pub(super) fn rows(&self, isa: Isa, x: Option<&[f32]>, mask: Option<&[f32]>, y: &mut [f32]) {
        match (self, x) {
            (Op::Unary(op), None) => kernels::unary_in_place(isa, *op, y),
            (Op::Unary(op), Some(x)) => kernels::unary(isa, *op, x, y),
            (Op::Softmax { n, log: false }, None) => kernels::softmax_in_place(isa, *n, y),
            (Op::Softmax { n, log: false }, Some(x)) => kernels::softmax(isa, *n, x, y),
            (Op::Softmax { n, log: true }, None) => kernels::log_softmax_in_place(isa, *n, y),
            (Op::Softmax { n, log: true }, Some(x)) => kernels::log_softmax(isa, *n, x, y),
            (Op::Norm(norm), _) => norm.run(isa, x, y),
            (Op::Masked { n, scale, .. }, _) => {
                if let Some(x) = x {
                    y.copy_from_slice(x);
                }
                kernels::softmax_masked(isa, *scale, mask, *n, y);
            }
            _ => unreachable!("not by rows"),
        }
    }

    /// Does it. With `in_place`, the first value written holds what
    /// [`Op::in_place`] names.
    pub(super) fn run(
        &self,
        isa: Isa,
        reads: &Mapped,
        writes: &mut [&mut [f32]; MOST_WRITES],
        in_place: bool,
    ) {
        if let Op::Quant(quant) = self {
            return quant.run(isa, reads, writes);
        }
        let [y, scratch, ..] = writes;
        match self {
            Op::Product(product) => product.run(isa, reads, y, scratch),
            Op::Conv2d(conv) => conv.run(isa, reads, y, scratch),
            Op::Depthwise(conv) => conv.run(isa, reads, y),
            Op::Deconv(conv) => conv.run(isa, reads, y, scratch),
            Op::Resize(resize) => resize.run(isa, reads, y, scratch),
            Op::Attention(attention) => attention.run(isa, reads, y, scratch),
            Op::Pool(pool) => pool.run(isa, reads, y),
            Op::Unary(_) | Op::Softmax { .. } | Op::Masked { .. } | Op::Norm(_) => {
                let x = (!in_place).then(|| reads.get(0));
                let mask = self.mask(reads);
                self.rows(isa, x, mask, y);
            }
            Op::Pairwise(pairwise) => pairwise.run(isa, reads, y, in_place),
            Op::SoftmaxStrided(dims) => {
                softmax_of_columns(isa, *dims, (!in_place).then(|| reads.get(0)), y);
            }
            Op::Reduce { op, dims } => kernels::reduce(isa, *op, *dims, reads.get(0), y),
            Op::Permute { dims, axes } => kernels::permute(dims, axes, reads.get(0), y),
            Op::Moves(moves) => moves.run(reads, y),
            Op::Recur(layer) => layer.run(isa, reads, writes),
            Op::Quant(_) => unreachable!("done above"),
        }
    }
}

/// The softmax of `x`, or in its place, along the second of three dims.
pub(super) fn softmax_of_columns(isa: Isa, dims: [usize; 3], x: Option<&[f32]>, y: &mut [f32]) {
    match x {
        Some(x) => kernels::softmax_strided(isa, dims, x, y),
        None => kernels::softmax_strided_in_place(isa, dims, y),
    }
}

impl Op {
    /// Packs its weights, and lets go of what they are made of.
    pub(super) fn pack(&mut self) -> Result<()> {
        match self {
            Op::Product(product) => product.pack(),
            Op::Conv2d(conv) => conv.pack(),
            Op::Deconv(conv) => conv.pack(),
            Op::Quant(quant) => quant.pack(),
            _ => Ok(()),
        }
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Op::Product(_) => "product",
            Op::Conv2d(_) => "conv",
            Op::Depthwise(_) => "depthwise",
            Op::Deconv(_) => "deconv",
            Op::Pool(_) => "pool",
            Op::Resize(_) => "resize",
            Op::Unary(_) => "unary",
            Op::Pairwise(_) => "pairwise",
            Op::Softmax { .. } | Op::SoftmaxStrided(_) | Op::Masked { .. } => "softmax",
            Op::Norm(_) => "norm",
            Op::Reduce { .. } => "reduce",
            Op::Attention(_) => "attention",
            Op::Permute { .. } => "permute",
            Op::Moves(_) => "moves",
            Op::Recur(_) => "recur",
            Op::Quant(quant) => quant.name(),
        }
    }

    /// Floating-point operations of products.
    pub(super) fn flop(&self) -> u64 {
        match self {
            Op::Product(product) => product.flop(),
            Op::Conv2d(conv) => conv.flop(),
            Op::Depthwise(conv) => conv.flop(),
            Op::Deconv(conv) => conv.flop(),
            Op::Attention(attention) => attention.flop(),
            Op::Quant(quant) => quant.flop(),
            Op::Recur(layer) => layer.flop(),
            _ => 0,
        }
    }

    /// Bytes of weights that it reads.
    pub(super) fn weight_bytes(&self) -> u64 {
        match self {
            Op::Product(product) => product.weight_bytes(),
            Op::Conv2d(conv) => conv.weight_bytes(),
            Op::Deconv(conv) => conv.weight_bytes(),
            Op::Quant(quant) => quant.weight_bytes(),
            _ => 0,
        }
    }
}
