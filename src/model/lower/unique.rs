//! `Unique` (opsets 11, 28).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, axis, native};
use super::values::select;
use std::cmp::Ordering;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};

#[derive(Debug)]
struct Unique {
    axis: Option<i64>,
    sorted: bool,
    count: Symbol,
}

/// Builds the operator.
pub(super) fn unique(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let count = ctx.template.symbols.new_with_prefix("unique");
    let sorted = attrs::flag(node, "sorted", true)?;
    native(node, Unique { axis: node.get_attr_opt("axis")?, sorted, count })
}

/// A total order for each dtype; NaN comes last and equals itself.
trait Total: Datum + Default {
    fn order(&self, other: &Self) -> Ordering;
}

macro_rules! total {
    ($($t:ty),*; $($f:ty),*) => {
        $(impl Total for $t {
            fn order(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }
        })*
        $(impl Total for $f {
            fn order(&self, other: &Self) -> Ordering {
                let by_nan = self.is_nan().cmp(&other.is_nan());
                self.partial_cmp(other).unwrap_or(by_nan)
            }
        })*
    };
}
total!(bool, u8, u16, u32, u64, i8, i16, i32, i64, String; f16, f32, f64);

/// What is unique: where each first is, which of them each element is, how often each is.
#[derive(Debug, Default, PartialEq)]
struct Found {
    firsts: Vec<usize>,
    inverse: Vec<i64>,
    counts: Vec<i64>,
}

/// Finds the unique ones of `len` elements under `order`.
fn find(len: usize, sorted: bool, order: impl Fn(usize, usize) -> Ordering) -> Found {
    let mut ranked: Vec<usize> = (0..len).collect();
    ranked.sort_by(|a, b| order(*a, *b).then(a.cmp(b)));
    let mut groups: Vec<Vec<usize>> = vec![];
    for ix in ranked {
        match groups.last_mut() {
            Some(group) if order(group[0], ix) == Ordering::Equal => group.push(ix),
            _ => groups.push(vec![ix]),
        }
    }
    if !sorted {
        groups.sort_by_key(|group| group[0]);
    }
    let mut found = Found { inverse: vec![0; len], ..Found::default() };
    for (ix, group) in groups.iter().enumerate() {
        found.firsts.push(group[0]);
        found.counts.push(group.len() as i64);
        group.iter().for_each(|at| found.inverse[*at] = ix as i64);
    }
    found
}

fn run<T: Total>(x: &Tensor, ax: Option<usize>, sorted: bool) -> TractResult<(Tensor, Found)> {
    let x: ArrayViewD<T> = x.to_plain_array_view::<T>()?;
    let flat;
    let (x, ax) = match ax {
        Some(ax) => (x, ax),
        None => {
            flat = ArrayD::from_shape_vec(IxDyn(&[x.len()]), x.iter().cloned().collect())?;
            (flat.view(), 0)
        }
    };
    let found = find(x.shape()[ax], sorted, |a, b| {
        let (a, b) = (x.index_axis(Axis(ax), a), x.index_axis(Axis(ax), b));
        let differing = a.iter().zip(b.iter()).map(|(a, b)| a.order(b)).find(|o| o.is_ne());
        differing.unwrap_or(Ordering::Equal)
    });
    Ok((select(x, ax, &found.firsts)?.into(), found))
}

impl Kernel for Unique {
    fn mints(&self) -> Option<&Symbol> {
        Some(&self.count)
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let mut dims = inputs.shape(0)?;
        let count = TDim::from(self.count.clone());
        let all = match self.axis {
            Some(ax) => {
                let ax = axis(ax, dims.len())?;
                std::mem::replace(&mut dims[ax], count.clone())
            }
            None => {
                let volume = dims.iter().product();
                dims = tvec!(count.clone());
                volume
            }
        };
        let list = i64::fact([count]);
        Ok(vec![inputs.dt(0)?.fact(&*dims), list.clone(), i64::fact([all]), list])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let ax = self.axis.map(|ax| axis(ax, x.rank())).transpose()?;
        let (y, found) = match x.datum_type() {
            DatumType::Bool => run::<bool>(x, ax, self.sorted),
            DatumType::U8 => run::<u8>(x, ax, self.sorted),
            DatumType::U16 => run::<u16>(x, ax, self.sorted),
            DatumType::U32 => run::<u32>(x, ax, self.sorted),
            DatumType::U64 => run::<u64>(x, ax, self.sorted),
            DatumType::I8 => run::<i8>(x, ax, self.sorted),
            DatumType::I16 => run::<i16>(x, ax, self.sorted),
            DatumType::I32 => run::<i32>(x, ax, self.sorted),
            DatumType::I64 => run::<i64>(x, ax, self.sorted),
            DatumType::F16 => run::<f16>(x, ax, self.sorted),
            DatumType::F32 => run::<f32>(x, ax, self.sorted),
            DatumType::F64 => run::<f64>(x, ax, self.sorted),
            DatumType::String => run::<String>(x, ax, self.sorted),
            other => bail!("Unique of {other:?} is not supported"),
        }?;
        let firsts: Vec<i64> = found.firsts.iter().map(|ix| *ix as i64).collect();
        Ok(vec![y, tensor1(&firsts), tensor1(&found.inverse), tensor1(&found.counts)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_seen_order_when_not_sorted() {
        let x = [2, 1, 1, 3, 4, 3];
        let found = find(x.len(), false, |a, b| x[a].cmp(&x[b]));
        assert_eq!(found.firsts, [0, 1, 3, 4]);
        assert_eq!(found.inverse, [0, 1, 1, 2, 3, 2]);
        assert_eq!(found.counts, [1, 2, 2, 1]);
    }
}
