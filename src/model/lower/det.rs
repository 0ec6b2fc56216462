//! `Det` (opsets 11, 22).

use super::native::{Built, Facts, Kernel, Tensors, native};
use super::values::{f64s, tensor_of};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{Array2, ArrayD};

#[derive(Debug)]
struct Det;

/// `Det`: determinants of square matrices.
pub(super) fn det(_: &ParsingContext, node: &NodeProto) -> Built {
    native(node, Det)
}

/// The determinant, by elimination with the largest pivot.
fn determinant(mut m: Array2<f64>) -> f64 {
    let n = m.nrows();
    let mut det = 1.0;
    for col in 0..n {
        let by_size = |a: &usize, b: &usize| m[(*a, col)].abs().total_cmp(&m[(*b, col)].abs());
        let pivot = (col..n).max_by(by_size).unwrap_or(col);
        if m[(pivot, col)] == 0.0 {
            return 0.0;
        }
        if pivot != col {
            (0..n).for_each(|c| m.swap((pivot, c), (col, c)));
            det = -det;
        }
        det *= m[(col, col)];
        for row in col + 1..n {
            let by = m[(row, col)] / m[(col, col)];
            (col..n).for_each(|c| m[(row, c)] -= by * m[(col, c)]);
        }
    }
    det
}

impl Kernel for Det {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let dims = inputs.shape(0)?;
        let n = dims.len();
        ensure!(n >= 2 && dims[n - 1] == dims[n - 2], "Det takes square matrices");
        Ok(vec![inputs.dt(0)?.fact(&dims[..n - 2])])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = f64s(inputs.need(0)?)?;
        let n = x.shape()[x.ndim() - 1];
        let outer = x.shape()[..x.ndim() - 2].to_vec();
        let count = outer.iter().product();
        let flat: Vec<f64> = x.iter().copied().collect();
        let dets = (0..count)
            .map(|ix| {
                let matrix = flat[ix * n * n..(ix + 1) * n * n].to_vec();
                Ok(determinant(Array2::from_shape_vec((n, n), matrix)?))
            })
            .collect::<TractResult<Vec<f64>>>()?;
        let out = ArrayD::from_shape_vec(outer, dets)?;
        Ok(vec![tensor_of(out, inputs.need(0)?.datum_type())?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_hir::tract_core::ndarray::arr2;

    #[test]
    fn a_determinant_with_a_zero_pivot() {
        assert_eq!(determinant(arr2(&[[0.0, 1.0], [1.0, 0.0]])), -1.0);
        assert_eq!(determinant(arr2(&[[1.0, 2.0], [2.0, 4.0]])), 0.0);
    }
}
