//! Activations that are written out: a value times a gate of itself.
//!
//! - x · sigmoid(x) is SiLU (Elfwing, Uchibe and Doya, 2017);
//! - x · (x + 3, from 0 to 6), times a constant, is a multiple of hard-swish (Howard
//!   and others, "Searching for MobileNetV3", 2019);
//! - x · ½ · (1 + erf(x / √2)) and x · ½ · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))
//!   are the two forms of GELU (Hendrycks and Gimpel, 2016).
//!
//! The factors may come in any order.

use super::assemble::Planned;
use super::fuse::{Folded, Fusing};
use super::ops::Op;
use crate::kernels::{Binary, Unary};

/// A value as a product: a constant, and values with their powers expanded.
struct Factors {
    constant: f32,
    values: Vec<usize>,
    /// The steps that multiply them.
    steps: Vec<usize>,
}

impl Factors {
    fn none() -> Factors {
        Factors { constant: 1.0, values: Vec::new(), steps: Vec::new() }
    }
}

/// The most factors that are looked at.
const MOST: usize = 6;

fn close(x: f32, y: f32) -> bool {
    (x - y).abs() <= 1e-5 * y.abs()
}

impl Fusing<'_> {
    /// The product whose last step is `at`; those before it are parts of it where
    /// nobody else reads them.
    fn factors_of(&self, at: usize, factors: &mut Factors) -> Option<()> {
        let step = self.steps.get(at)?.as_ref()?;
        if factors.steps.len() + factors.values.len() > MOST {
            return None;
        }
        factors.steps.push(at);
        match &step.op {
            Op::Unary(Unary::Square) => {
                // One read that counts for two.
                factors.values.extend([step.reads[0], step.reads[0]]);
                Some(())
            }
            Op::Pairwise(pairwise) => {
                if let Some([x, one]) = pairwise.of_one(Binary::Mul)
                    && let Some([constant]) = self.constant(step.reads[one])
                {
                    factors.constant *= constant;
                    return self.factors(step.reads[x], factors);
                }
                let sides = pairwise.of_all(Binary::Mul)?;
                sides.iter().try_for_each(|side| self.factors(step.reads[*side], factors))
            }
            _ => None,
        }
    }

    /// As [`Fusing::factors_of`], of a value; one that is no product is a factor.
    fn factors(&self, value: usize, factors: &mut Factors) -> Option<()> {
        let multiplies = |at: &usize| match self.steps[*at].as_ref().map(|s| &s.op) {
            Some(Op::Unary(Unary::Square)) => true,
            Some(Op::Pairwise(p)) => {
                p.of_all(Binary::Mul).is_some() || p.of_one(Binary::Mul).is_some()
            }
            _ => false,
        };
        match self.before(value).filter(multiplies) {
            Some(before) => self.factors_of(before, factors),
            None => {
                factors.values.push(value);
                Some(())
            }
        }
    }

    fn product_of(&self, value: usize) -> Option<Factors> {
        let mut factors = Factors::none();
        self.factors(value, &mut factors)?;
        Some(factors)
    }

    /// The sum that writes `value`, which nobody else reads: its operands.
    fn sum(&self, value: usize) -> Option<(usize, [usize; 2])> {
        let (at, pairwise, step) = self.pairwise(value)?;
        let one = pairwise.of_one(Binary::Add);
        let sides = one.or_else(|| pairwise.of_all(Binary::Add))?;
        Some((at, sides.map(|side| step.reads[side])))
    }

    /// The function that writes `value`, which nobody else reads: what it reads.
    fn function(&self, value: usize) -> Option<(usize, Unary, usize)> {
        let at = self.before(value)?;
        let step = self.steps[at].as_ref()?;
        match step.op {
            Op::Unary(op) => Some((at, op, step.reads[0])),
            _ => None,
        }
    }

    /// Whether `value` is √(2/π) · (x + 0.044715 · x³), or x / √2; and its steps.
    fn argument(&self, of: Unary, value: usize, x: usize) -> Option<Vec<usize>> {
        let outer = self.product_of(value)?;
        let mut steps = outer.steps;
        let [inner] = outer.values[..] else { return None };
        match of {
            Unary::Erf => {
                let fits = inner == x && close(outer.constant, std::f32::consts::FRAC_1_SQRT_2);
                fits.then_some(steps)
            }
            Unary::Tanh if close(outer.constant, 0.797_884_6) => {
                let (at, operands) = self.sum(inner)?;
                let cubed = match operands {
                    [a, b] if a == x => b,
                    [a, b] if b == x => a,
                    _ => return None,
                };
                let cube = self.product_of(cubed)?;
                steps.push(at);
                steps.extend(cube.steps);
                (close(cube.constant, 0.044_715) && cube.values == [x; 3]).then_some(steps)
            }
            _ => None,
        }
    }

    /// The steps that make x + 3, from 0 to 6, of x.
    fn up_to_six(&self, x: usize, value: usize) -> Option<Vec<usize>> {
        let (mut value, mut steps, mut bounds) =
            (value, Vec::new(), [f32::NEG_INFINITY, f32::INFINITY]);
        while let Some((at, op, read)) = self.function(value) {
            let [low, high] = super::fuse::bounds(op)?;
            // What comes later is the outer one.
            bounds = [low, high].map(|v| v.max(bounds[0]).min(bounds[1]));
            steps.push(at);
            value = read;
        }
        let (at, operands) = self.sum(value)?;
        let other = match operands {
            [a, other] | [other, a] if a == x => other,
            _ => return None,
        };
        steps.push(at);
        (bounds == [0.0, 6.0] && matches!(self.constant(other)?, [3.0])).then_some(steps)
    }

    /// The activation of x whose gate is `gate` times `constant`, and the steps
    /// that make the gate.
    fn gated(&self, x: usize, gate: usize, constant: f32) -> Option<(Unary, Vec<usize>)> {
        if let Some((at, Unary::Sigmoid, read)) = self.function(gate) {
            return (read == x && constant == 1.0).then(|| (Unary::Silu, vec![at]));
        }
        if let Some(steps) = self.up_to_six(x, gate) {
            return Some((Unary::HardSwish, steps));
        }
        let (at, [function, one]) = self.sum(gate)?;
        if constant != 0.5 || !matches!(self.constant(one)?, [1.0]) {
            return None;
        }
        let (inner, of, argument) = self.function(function)?;
        let mut steps = self.argument(of, argument, x)?;
        steps.extend([at, inner]);
        let op = if of == Unary::Erf { Unary::Gelu } else { Unary::GeluTanh };
        Some((op, steps))
    }

    /// Makes one function of a product that is an activation written out.
    pub(super) fn activation(&mut self, at: usize) -> Option<Folded> {
        let mut factors = Factors::none();
        self.factors_of(at, &mut factors)?;
        let [a, b] = factors.values[..] else { return None };
        let either = [(a, b), (b, a)].into_iter();
        let found = either.map(|(x, gate)| (x, self.gated(x, gate, factors.constant)));
        let (x, (op, gate)) = found.filter_map(|(x, found)| Some((x, found?))).next()?;
        let inner = factors.steps.into_iter().filter(|step| *step != at);
        let mut last = None;
        for step in inner.chain(gate) {
            let gone = self.steps[step].take()?;
            gone.reads.iter().for_each(|read| self.readers[*read] -= 1);
            last = last.max(Some((step, gone)).map(|(step, gone)| (step, gone.writes[0])));
        }
        let step = self.steps[at].as_mut()?;
        step.reads.iter().for_each(|read| self.readers[*read] -= 1);
        self.readers[x] += 1;
        let times = 6.0 * factors.constant;
        match (op, last) {
            (Unary::HardSwish, Some((before, value))) if times != 1.0 => {
                // One of the steps that are gone is free for it.
                let name = step.name.clone();
                let scale = Unary::Affine { scale: times, shift: 0.0 };
                (step.op, step.reads) = (Op::Unary(scale), vec![value]);
                let (op, reads, writes) = (Op::Unary(op), vec![x], vec![value]);
                self.steps[before] = Some(Planned { op, reads, writes, name, is_loose: false });
                (self.readers[value], self.writer[value]) = (1, Some(before));
                self.fold(before);
            }
            _ => (step.op, step.reads) = (Op::Unary(op), vec![x]),
        }
        Some(Folded::Again)
    }
}
