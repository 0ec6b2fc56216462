//! Loops around a step, over the axes that its kernel does not know.

use serde::{Deserialize, Serialize};

/// How often, and the floats from one to the next in the two operands and the
/// result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Loop {
    pub(super) count: usize,
    pub(super) steps: [usize; 3],
}

/// Calls `body` with where each operand and the result begin, the last loop the
/// innermost.
pub(super) fn each(loops: &[Loop], body: &mut impl FnMut([usize; 3])) {
    from(loops, [0; 3], body);
}

fn from(loops: &[Loop], at: [usize; 3], body: &mut impl FnMut([usize; 3])) {
    let Some((first, rest)) = loops.split_first() else { return body(at) };
    for i in 0..first.count {
        let [a, b, c] = first.steps;
        from(rest, [at[0] + i * a, at[1] + i * b, at[2] + i * c], body);
    }
}
