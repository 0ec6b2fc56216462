//! Functions of every element, and of pairs of elements with broadcasting.

use super::loops::{Loop, each};
use super::lower::{Context, Lowered, Ref, strides};
use super::memory::Mapped;
use super::ops::Op;
use super::split::{LINE, Team};
use crate::error::Result;
use crate::kernels::{self, Binary, Isa, Operand, Unary};
use serde::{Deserialize, Serialize};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::{math, nn};

/// How the innermost elements of the two operands meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Form {
    /// One to one.
    Same,
    /// The second is one element.
    Scalar,
    /// The second is one row, for every row of the first.
    Rows,
    /// The second has one element a row of the first.
    Columns,
}

/// A function of pairs. The first operand, x, has all of the innermost elements;
/// the second, v, may be broadcast along them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pairwise {
    op: Binary,
    form: Form,
    /// v comes first in the formula.
    swapped: bool,
    loops: Vec<Loop>,
    /// Elements of x and of v inside the loops.
    x: usize,
    v: usize,
    /// Which value read is x, and which is v.
    sides: [usize; 2],
    /// x has as many elements as the result.
    whole: bool,
}

impl Pairwise {
    /// The value read that the result may take the place of.
    pub(super) fn in_place(&self) -> Option<usize> {
        self.whole.then_some(self.sides[0])
    }

    /// Where it does `op` to each of so many columns with one value: which value
    /// read is x, and which has the columns.
    pub(super) fn of_columns(&self, op: Binary, columns: usize) -> Option<[usize; 2]> {
        let rows = match self.form {
            Form::Rows => self.v == columns,
            Form::Same => self.x == columns && self.v == columns,
            _ => false,
        };
        self.is(op).filter(|_| rows)
    }

    /// Where it does `op` to each row of so many with one value: which value read is
    /// x, and which has the rows.
    pub(super) fn of_rows(&self, op: Binary, row: usize) -> Option<[usize; 2]> {
        let columns = match self.form {
            Form::Columns => self.x == row * self.v,
            Form::Scalar => self.x == row,
            _ => false,
        };
        self.is(op).filter(|_| columns)
    }

    /// Where it adds rows again and again, or all: which value read is x, and which
    /// is added.
    pub(super) fn of_repeated(&self) -> Option<[usize; 2]> {
        let repeated = matches!(self.form, Form::Rows | Form::Same);
        self.is(Binary::Add).filter(|_| repeated)
    }

    /// Where it does `op` with as many elements, one to one.
    pub(super) fn of_all(&self, op: Binary) -> Option<[usize; 2]> {
        self.is(op).filter(|_| self.form == Form::Same)
    }

    /// Where it does `op` to everything with one value: which value read is x, and
    /// which is that one.
    pub(super) fn of_one(&self, op: Binary) -> Option<[usize; 2]> {
        self.is(op).filter(|_| self.form == Form::Scalar || self.form == Form::Same && self.x == 1)
    }

    /// It does `op` to all of x at once, in that order.
    fn is(&self, op: Binary) -> Option<[usize; 2]> {
        let ordered = !self.swapped || matches!(op, Binary::Add | Binary::Mul);
        (self.op == op && ordered && self.whole && self.loops.is_empty()).then_some(self.sides)
    }

    pub(super) fn run(&self, isa: Isa, reads: &Mapped, y: &mut [f32], in_place: bool) {
        let x = if in_place { &[] } else { reads.get(self.sides[0]) };
        self.turns(isa, (x, reads.get(self.sides[1])), &self.loops, y, in_place);
    }

    /// As [`Pairwise::run`], on the threads of a team: by turns of the outer loop, or
    /// by rows.
    pub(super) fn split(
        &self,
        isa: Isa,
        reads: &Mapped,
        y: &mut [f32],
        in_place: bool,
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        // In place, x is what y has, and is not asked for.
        let x = (!in_place).then(|| reads.get(self.sides[0]));
        let v = reads.get(self.sides[1]);
        if let [outer, inner @ ..] = &self.loops[..] {
            let [step_x, step_v, step] = outer.steps;
            return team.rows(cost, y, [step, 1], |_, first, y| {
                for (turn, y) in (first..).zip(y.chunks_exact_mut(step)) {
                    let (x, v) = (x.map_or(&[][..], |x| &x[turn * step_x..]), &v[turn * step_v..]);
                    self.turns(isa, (x, v), inner, y, in_place);
                }
            });
        }
        let (row, least, step_v) = match self.form {
            Form::Same => (1, LINE, 1),
            Form::Scalar => (1, LINE, 0),
            Form::Rows => (self.v, 1, 0),
            Form::Columns => (self.x / self.v.max(1), 1, 1),
        };
        team.rows(cost, y, [row, least], |_, first, y| {
            let v = match step_v {
                0 => v,
                _ => &v[first..first + y.len() / row],
            };
            let x = x.map_or(&[][..], |x| &x[first * row..first * row + y.len()]);
            self.turn(isa, (x, v), y, in_place);
        })
    }

    fn turns(
        &self,
        isa: Isa,
        (x, v): (&[f32], &[f32]),
        loops: &[Loop],
        y: &mut [f32],
        in_place: bool,
    ) {
        each(loops, &mut |[at_x, at_v, at_y]| {
            let y = &mut y[at_y..at_y + self.x];
            let x = if in_place { &[] } else { &x[at_x..at_x + self.x] };
            self.turn(isa, (x, &v[at_v..at_v + self.v]), y, in_place);
        });
    }

    /// One turn of all loops; in place, x is what `y` has.
    fn turn(&self, isa: Isa, (x, v): (&[f32], &[f32]), y: &mut [f32], in_place: bool) {
        let (op, swapped) = (self.op, self.swapped);
        if in_place {
            return match self.form {
                Form::Same => kernels::binary_in_place(isa, op, y, Operand::Slice(v), swapped),
                Form::Scalar => {
                    kernels::binary_in_place(isa, op, y, Operand::Scalar(v[0]), swapped)
                }
                Form::Rows => kernels::binary_rows_in_place(isa, op, y, v, swapped),
                Form::Columns => kernels::binary_columns_in_place(isa, op, y, v, swapped),
            };
        }
        let ordered = |v| if swapped { (v, Operand::Slice(x)) } else { (Operand::Slice(x), v) };
        match self.form {
            Form::Same => {
                let (a, b) = ordered(Operand::Slice(v));
                kernels::binary(isa, op, a, b, y);
            }
            Form::Scalar => {
                let (a, b) = ordered(Operand::Scalar(v[0]));
                kernels::binary(isa, op, a, b, y);
            }
            Form::Rows => kernels::binary_rows(isa, op, x, v, swapped, y),
            Form::Columns => kernels::binary_columns(isa, op, x, v, swapped, y),
        }
    }
}

/// An axis of the result: its length, and the strides of the operands along it.
#[derive(Debug, Clone, Copy)]
struct Axis {
    dim: usize,
    at: [usize; 2],
}

/// The axes of the result, the outermost first; those that are one axis in both
/// operands are one.
fn axes(operands: [&[usize]; 2], result: &[usize]) -> Option<Vec<Axis>> {
    let strides = operands.map(strides);
    let mut axes: Vec<Axis> = Vec::new();
    for (i, dim) in result.iter().enumerate() {
        let mut at = [0; 2];
        for side in 0..2 {
            let own = *operands[side].get(i)?;
            if own != *dim && own != 1 {
                return None;
            }
            at[side] = if own == 1 { 0 } else { strides[side][i] };
        }
        match axes.last_mut() {
            _ if *dim == 1 => {}
            Some(last) if (0..2).all(|s| last.at[s] == at[s] * dim) => {
                *last = Axis { dim: last.dim * dim, at };
            }
            _ => axes.push(Axis { dim: *dim, at }),
        }
    }
    Some(axes)
}

fn pairwise(op: Binary, operands: [&[usize]; 2], result: &[usize]) -> Option<Pairwise> {
    let mut axes = axes(operands, result)?;
    let inner = axes.pop().unwrap_or(Axis { dim: 1, at: [1, 1] });
    // x has the innermost axis; where both have it, the one that has the next.
    let next = axes.last().map_or([1, 1], |a| a.at);
    let swapped = inner.at[0] == 0 || inner.at[1] != 0 && next[0] == 0 && next[1] != 0;
    let (x, v) = if swapped { (1, 0) } else { (0, 1) };
    let side = |a: &Axis| (a.at[x], a.at[v]);
    let size = inner.dim;
    let outer = axes.last().copied();
    let (form, counts) = match (side(&inner), outer.map(|o| (o.dim, side(&o)))) {
        ((1, 1), Some((rows, (row, 0)))) if row == size => (Form::Rows, [rows * size, size]),
        ((1, 0), Some((rows, (row, 1)))) if row == size => (Form::Columns, [rows * size, rows]),
        ((1, 1), _) => (Form::Same, [size, size]),
        ((1, 0), _) => (Form::Scalar, [size, 1]),
        _ => return None,
    };
    if matches!(form, Form::Rows | Form::Columns) {
        axes.pop();
    }
    let mut loops = Vec::with_capacity(axes.len());
    let mut y = counts[0];
    for axis in axes.iter().rev() {
        loops.push(Loop { count: axis.dim, steps: [axis.at[x], axis.at[v], y] });
        y *= axis.dim;
    }
    loops.reverse();
    let whole = operands[x].iter().product::<usize>() == result.iter().product::<usize>();
    let sides = [x, v];
    Some(Pairwise { op, form, swapped, loops, x: counts[0], v: counts[1], sides, whole })
}

/// Functions of pairs, with a constant for the one or the other among them.
fn binary(context: &Context, op: &TypedBinOp) -> Option<Lowered> {
    let name = op.0.name();
    let op = match name {
        "Add" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Max" => Binary::Max,
        "Min" => Binary::Min,
        _ => return None,
    };
    let (a, b, y) = (context.input(0)?, context.input(1)?, context.output(0)?);
    let len = y.iter().product();
    for (constant, other) in [(1, 0), (0, 1)] {
        let same = [&a, &b][other].iter().product::<usize>() == len;
        let bound = match context.floats(constant) {
            Some([bound]) if same => *bound,
            _ => continue,
        };
        let unary = match op {
            Binary::Max if bound == 0.0 => Unary::Relu,
            Binary::Max => Unary::Clip { low: bound, high: f32::INFINITY },
            Binary::Min => Unary::Clip { low: f32::NEG_INFINITY, high: bound },
            _ => continue,
        };
        if !bound.is_nan() {
            return Some(Lowered::one(Op::Unary(unary), vec![Ref::Input(other)], len));
        }
    }
    let pairwise = pairwise(op, [&a, &b], &y)?;
    Some(Lowered::one(Op::Pairwise(pairwise), vec![Ref::Input(0), Ref::Input(1)], len))
}

fn unary(op: &dyn ElementWiseMiniOp) -> Option<Unary> {
    macro_rules! plain {
        ($($of:path => $to:expr),+ $(,)?) => {
            $(if op.is::<$of>() { return Some($to); })+
        };
    }
    plain! {
        nn::Sigmoid => Unary::Sigmoid,
        nn::HardSwish => Unary::HardSwish,
        nn::silu::Silu => Unary::Silu,
        nn::gelu_exact::GeluExact => Unary::Gelu,
        nn::gelu_approximate::GeluApproximate => Unary::GeluTanh,
        math::Tanh => Unary::Tanh,
        math::Erf => Unary::Erf,
        math::Exp => Unary::Exp,
        math::Ln => Unary::Log,
        math::Sqrt => Unary::Sqrt,
        math::Rsqrt => Unary::Rsqrt,
        math::Recip => Unary::Recip,
        math::Abs => Unary::Abs,
        math::Neg => Unary::Neg,
        math::Square => Unary::Square,
        math::Sign => Unary::Sign,
        math::Floor => Unary::Floor,
        math::Ceil => Unary::Ceil,
        math::RoundHalfToEven => Unary::Round,
    }
    let leaky = op.downcast_ref::<nn::LeakyRelu>()?;
    Some(Unary::LeakyRelu { slope: leaky.alpha })
}

pub(super) fn lower(context: &Context) -> Option<Lowered> {
    if let Some(op) = context.node.op_as::<TypedBinOp>() {
        return binary(context, op);
    }
    let op = context.node.op_as::<ElementWiseOp>()?;
    let len = context.output(0)?.iter().product();
    context.input(0)?;
    Some(Lowered::one(Op::Unary(unary(&*op.0)?), vec![Ref::Input(0)], len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(a: &[usize], b: &[usize], y: &[usize]) -> (Form, bool, usize) {
        let p = pairwise(Binary::Sub, [a, b], y).unwrap();
        (p.form, p.swapped, p.loops.len())
    }

    #[test]
    fn operands_meet_in_the_widest_form() {
        assert_eq!(form(&[2, 3, 4], &[2, 3, 4], &[2, 3, 4]), (Form::Same, false, 0));
        assert_eq!(form(&[2, 3, 4], &[1, 1, 1], &[2, 3, 4]), (Form::Scalar, false, 0));
        assert_eq!(form(&[2, 3, 4], &[1, 1, 4], &[2, 3, 4]), (Form::Rows, false, 0));
        assert_eq!(form(&[2, 3, 4], &[2, 3, 1], &[2, 3, 4]), (Form::Columns, false, 0));
        assert_eq!(form(&[2, 3, 4], &[2, 1, 4], &[2, 3, 4]), (Form::Rows, false, 1));
        assert_eq!(form(&[1, 3, 1], &[2, 3, 4], &[2, 3, 4]), (Form::Columns, true, 1));
        assert_eq!(form(&[3, 1], &[1, 4], &[3, 4]), (Form::Scalar, true, 1));
        assert_eq!(form(&[1], &[1], &[1]), (Form::Same, false, 0));
        assert_eq!(form(&[2, 1, 4], &[1, 3, 4], &[2, 3, 4]), (Form::Rows, true, 1));
    }
}
