use super::case::{Answer, CELLS, Case};
use super::*;
use crate::error;
use crate::kernels::testing::{all_isas, near, same, same_all, strange};

fn same_answer(got: &Answer<f32>, want: &Answer<f32>, what: &str) {
    same(&got.y, &want.y, what);
    same(&got.h, &want.h, what);
    same(&got.c, &want.c, what);
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    for mut case in Case::all() {
        for special in [false, true] {
            if special {
                case.x = strange(case.x.len(), 8);
                case.c = strange(case.c.len(), 9);
            }
            let reference = case.run(Isa::Scalar);
            for isa in all_isas() {
                same_answer(&case.run(isa), &reference, &format!("{isa:?} {}", case.name()));
            }
        }
    }
}

/// Within 1e-5 of the larger of one and the value: a sum of a hundred products
/// has an error of some 1e-6, and a plain layer's grows a little step by step.
#[test]
fn it_is_what_onnx_says() {
    for case in Case::all() {
        // Without activation that bounds it, a state and its error grow.
        let bound = if case.cell == (Cell::Rnn { relu: true }) { 1e-3 } else { 1e-5 };
        let (got, want) = (case.run(Isa::best()), case.reference());
        near(&got.y, &want.y, bound, &case.name());
        near(&got.h, &want.h, bound, &case.name());
        near(&got.c, &want.c, bound, &case.name());
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_others() {
    for case in Case::all().filter(|case| case.batch > 1) {
        let all = case.run(Isa::best());
        for row in 0..case.batch {
            let of = |v: &[f32], width: usize| -> Vec<f32> {
                let rows = v.chunks_exact(width.max(1)).skip(row).step_by(case.batch);
                rows.flatten().copied().collect()
            };
            let alone = Case {
                batch: 1,
                x: of(&case.x, case.input),
                h: of(&case.h, case.hidden),
                c: of(&case.c, case.hidden),
                ..case.clone()
            };
            let alone = alone.run(Isa::best());
            same(&alone.y, &of(&all.y, case.hidden), &case.name());
            same(&alone.h, &of(&all.h, case.hidden), &case.name());
            same(&alone.c, &of(&all.c, case.hidden), &case.name());
        }
    }
}

#[test]
fn many_steps_are_as_many_calls() {
    for case in Case::all() {
        let all = case.run(Isa::best());
        let (width, row) = (case.batch * case.input, case.batch * case.hidden);
        let mut last = Answer { y: Vec::new(), h: case.h.clone(), c: case.c.clone() };
        for i in 0..case.steps {
            let t = if case.reverse { case.steps - 1 - i } else { i };
            let x = case.x[t * width..][..width].to_vec();
            let one = Case { steps: 1, x, h: last.h, c: last.c, ..case.clone() };
            last = one.run(Isa::best());
            same(&last.y, &all.y[t * row..][..row], &case.name());
        }
        same(&last.h, &all.h, &case.name());
        same(&last.c, &all.c, &case.name());
    }
}

/// Rows of the batch before the steps, two directions in one output.
#[test]
fn strides_place_the_rows() {
    for cell in CELLS {
        let case = Case::new(cell, (3, 20), (70, 3));
        let Case { input, hidden, steps, batch, .. } = case;
        let plain = case.run(Isa::best());
        let (x_row, y_row, s_row) = (input + 1, 2 * hidden + 1, hidden + 2);
        let mut x = vec![f32::NAN; steps * batch * x_row];
        let mut h = vec![f32::NAN; batch * s_row];
        let mut c = vec![f32::NAN; if cell == Cell::Lstm { h.len() } else { 0 }];
        for b in 0..batch {
            for t in 0..steps {
                let from = &case.x[(t * batch + b) * input..][..input];
                x[(b * steps + t) * x_row..][..input].copy_from_slice(from);
            }
            h[b * s_row..][..hidden].copy_from_slice(&case.h[b * hidden..][..hidden]);
            if cell == Cell::Lstm {
                c[b * s_row..][..hidden].copy_from_slice(&case.c[b * hidden..][..hidden]);
            }
        }
        let weights = case.weights();
        let mut scratch = vec![f32::NAN; weights.scratch(steps, batch)];
        let mut y = vec![-1.0; steps * batch * y_row];
        let (mut last_h, mut last_c) = (vec![-1.0; h.len()], vec![-1.0; c.len()]);
        let sequence = Sequence {
            steps,
            batch,
            reverse: false,
            x: &x,
            x_step_stride: x_row,
            x_batch_stride: steps * x_row,
            h: &h,
            c: &c,
            state_stride: s_row,
        };
        let outputs = Outputs {
            y: Some(&mut y[hidden..]),
            step_stride: y_row,
            batch_stride: steps * y_row,
            h: &mut last_h,
            c: &mut last_c,
            state_stride: s_row,
        };
        recur(Isa::best(), &weights, sequence, outputs, &mut scratch);
        for (i, row) in y.chunks_exact(y_row).enumerate() {
            let (b, t) = (i / steps, i % steps);
            let want = &plain.y[(t * batch + b) * hidden..][..hidden];
            same(&row[hidden..2 * hidden], want, &case.name());
            assert!(row[..hidden].iter().chain(&row[2 * hidden..]).all(|v| *v == -1.0));
        }
        for b in 0..batch {
            let (row, at) = (&last_h[b * s_row..][..s_row], b * hidden);
            same(&row[..hidden], &plain.h[at..][..hidden], &case.name());
            assert!(row[hidden..].iter().all(|v| *v == -1.0));
            if cell == Cell::Lstm {
                same(&last_c[b * s_row..][..hidden], &plain.c[at..][..hidden], &case.name());
            }
        }
    }
}

#[test]
fn special_values_go_where_they_belong() {
    for cell in CELLS {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-40] {
            let mut case = Case::new(cell, (2, 18), (3, 3));
            case.p = None;
            let plain = case.run(Isa::best());
            // The second step of the row in the middle.
            case.x[(3 + 1) * 2] = value;
            let got = same_all(|isa| case.run(isa).y);
            for (i, (got, plain)) in got.chunks(18).zip(plain.y.chunks(18)).enumerate() {
                let sees = i % 3 == 1 && i >= 3;
                if !sees {
                    same(got, plain, &case.name());
                } else if value.is_nan() {
                    assert!(got.iter().all(|v| v.is_nan()), "{} {got:?}", case.name());
                } else if value.is_finite() {
                    assert!(got.iter().all(|v| v.is_finite()), "{} {got:?}", case.name());
                } else if i == 4 && cell != (Cell::Rnn { relu: true }) {
                    // Gates are shut or open, and tanh is one.
                    assert!(got.iter().all(|v| v.abs() <= 3.5), "{} {got:?}", case.name());
                }
            }
        }
    }
}

#[test]
fn nothing_of_a_sequence_is_possible() {
    for cell in CELLS {
        let case = Case::new(cell, (3, 5), (0, 2));
        let got = case.run(Isa::best());
        same(&got.h, &case.h, "no steps");
        same(&got.c, &case.c, "no steps");
        for (size, length) in [((3, 5), (2, 0)), ((3, 0), (2, 2))] {
            let got = Case::new(cell, size, length).run(Isa::best());
            assert!(got.y.is_empty() && got.h.is_empty() && got.c.is_empty());
        }
    }
}

#[test]
fn weights_of_another_size_are_refused() {
    let v = [0.0f32; 100];
    let new = |cell, w: usize, r: usize, b: usize, p: Option<usize>| {
        let p = p.map(|p| &v[..p]);
        Weights::new(cell, 2, 3, &v[..w], &v[..r], Some(&v[..b]), p).map(|w| w.bytes())
    };
    assert_eq!(new(Cell::Lstm, 24, 36, 24, Some(9)).unwrap(), 64 * (2 * 4 + 3 * 4 + 4 + 3));
    for (w, r, b, p) in [(23, 36, 24, 9), (24, 35, 24, 9), (24, 36, 25, 9), (24, 36, 24, 8)] {
        let error = new(Cell::Lstm, w, r, b, Some(p)).unwrap_err();
        assert_eq!(error.kind(), error::Kind::InvalidModel);
    }
    assert!(new(Cell::Rnn { relu: true }, 6, 9, 6, None).is_ok());
    assert!(new(Cell::Rnn { relu: true }, 6, 9, 6, Some(9)).is_err());
    let huge = Weights::new(Cell::Lstm, usize::MAX, usize::MAX, &[], &[], None, None);
    assert!(huge.is_err());
    let weights = Weights::new(Cell::Rnn { relu: true }, 2, 3, &v[..6], &v[..9], None, None);
    assert_eq!(weights.unwrap().scratch(usize::MAX, usize::MAX), usize::MAX);
}

#[test]
#[should_panic(expected = "scratch of")]
fn a_scratch_that_is_too_short_is_refused() {
    let weights = Case::new(Cell::Lstm, (2, 3), (1, 1)).weights();
    let (mut h, mut scratch) = (vec![0.0; 3], vec![0.0; weights.scratch(1, 1) - 1]);
    let sequence = Sequence {
        steps: 1,
        batch: 1,
        reverse: false,
        x: &[0.0; 2],
        x_step_stride: 2,
        x_batch_stride: 2,
        h: &[],
        c: &[],
        state_stride: 3,
    };
    let outputs = Outputs {
        y: None,
        step_stride: 0,
        batch_stride: 0,
        h: &mut h,
        c: &mut [],
        state_stride: 3,
    };
    recur(Isa::best(), &weights, sequence, outputs, &mut scratch);
}
