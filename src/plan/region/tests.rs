//! Regions against tract's own answers.

mod images;
mod quant;

use super::{Inputs, Region, Slices, Team, compile};
use crate::crew;
use crate::kernels::Aligned;
use std::time::Duration;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::{Gather, Pad, PadMode, Slice, TypedConcat};
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind};
use tract_onnx::tract_core::ops::{math, nn};

/// Numbers from -1 to 1.
fn numbers(dims: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let one = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let all: Vec<f32> = (0..dims.iter().product()).map(one).collect();
    tensor1(&all).into_shape(dims).unwrap()
}

fn source(model: &mut TypedModel, name: &str, dims: &[usize]) -> OutletId {
    model.add_source(name, f32::fact(dims)).unwrap()
}

fn wire(model: &mut TypedModel, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> OutletId {
    let name = format!("n{}", model.nodes.len());
    model.wire_node(name, op, inputs).unwrap()[0]
}

/// The inputs of a model, and what tract makes of them.
fn expected(model: &TypedModel) -> (Vec<Tensor>, Vec<TValue>) {
    let facts = model.input_outlets().unwrap().iter().map(|o| model.outlet_fact(*o).unwrap());
    let dims = facts.map(|f| f.shape.as_concrete().unwrap().to_vec());
    let inputs: Vec<Tensor> = dims.enumerate().map(|(i, d)| numbers(&d, 77 + i as u64)).collect();
    let plan = model.clone().into_runnable().unwrap();
    let values = inputs.iter().map(|t| t.clone().into_tvalue()).collect();
    (inputs, plan.run(values).unwrap().into_vec())
}

fn assert_close(got: &[f32], wanted: &Tensor, tolerance: f32, what: &str) {
    let wanted = wanted.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap();
    assert_eq!(got.len(), wanted.len(), "{what}");
    let scale = wanted.iter().fold(1f32, |s, v| s.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(wanted).enumerate() {
        assert!((g - w).abs() <= tolerance * scale, "{what}: element {i} is {g}, expected {w}");
    }
}

impl Inputs for Vec<&[f32]> {
    fn floats(&self, index: usize) -> &[f32] {
        self[index]
    }
}

/// A model that is one region has to give what tract gives; twice the same bits.
fn check(model: &TypedModel, what: &str) -> Region {
    check_within(model, what, 2e-5)
}

/// The same, with a tolerance relative to the largest value, or to 1.
fn check_within(model: &TypedModel, what: &str, tolerance: f32) -> Region {
    let (inputs, wanted) = expected(model);
    let mut region =
        compile(&mut model.clone()).unwrap().unwrap_or_else(|| panic!("{what} is no region"));
    region.pack().unwrap();
    let mut arena = region.arena().unwrap();
    arena.floats_mut().fill(f32::NAN);
    let slices: Vec<&[f32]> =
        inputs.iter().map(|t| t.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap()).collect();
    region.run(&slices, &mut arena, None).unwrap();
    let first: Vec<Vec<u32>> = (0..wanted.len())
        .map(|i| region.output(&arena, i).iter().map(|v| v.to_bits()).collect())
        .collect();
    for (i, wanted) in wanted.iter().enumerate() {
        assert_close(region.output(&arena, i), wanted, tolerance, what);
        assert_eq!(&**region.output_shape(i).unwrap(), wanted.shape(), "{what}");
    }
    let mut same = |region: &Region, run: &mut dyn FnMut(&mut Aligned)| {
        run(&mut arena);
        for (i, first) in first.iter().enumerate() {
            let again: Vec<u32> = region.output(&arena, i).iter().map(|v| v.to_bits()).collect();
            assert_eq!(&again, first, "{what}");
        }
    };
    same(&region, &mut |arena| region.run(&slices, arena, None).unwrap());
    // So large a step is split into as many parts as can be.
    let mut region = region;
    let costs: Vec<u64> = region.steps.iter().map(|step| step.cost).collect();
    region.steps.iter_mut().filter(|step| step.cost > 0).for_each(|step| step.cost = 1 << 40);
    let _turn = crew::TURN.lock();
    for threads in [2, 3, 8] {
        crew::hire(3).unwrap();
        let mut team = Team::new(&region, threads).unwrap();
        same(&region, &mut |arena| region.run(&slices, arena, Some(&mut team)).unwrap());
    }
    // And one part at a time.
    for threads in [1, 3] {
        let mut team = (threads > 1).then(|| Team::new(&region, threads).unwrap());
        let mut course = Slices::new(&region, threads > 1).unwrap();
        same(&region, &mut |arena| {
            arena.floats_mut().fill(f32::NAN);
            let slice = || crate::plan::Slice::of(Duration::ZERO);
            let mut count = 1;
            while !region
                .run_slice(&slices, arena, team.as_mut(), &mut course, &mut slice())
                .unwrap()
            {
                count += 1;
            }
            course.restart();
            assert!(count >= region.steps.len(), "{what}: {count} slices");
        });
    }
    region.steps.iter_mut().zip(costs).for_each(|(step, cost)| step.cost = cost);
    region
}

#[test]
fn every_einsum_of_two_is_a_product() {
    let dims = |axes: &str| -> Vec<usize> {
        let dim = |c| match c {
            'a' => 2,
            'b' => 3,
            'm' => 5,
            'n' => 17,
            'k' => 7,
            'l' => 4,
            _ => 1,
        };
        axes.chars().map(dim).collect()
    };
    for expression in [
        "mk,kn->mn",
        "mk,nk->mn",
        "km,kn->mn",
        "mk,kn->nm",
        "km,nk->nm",
        "k,kn->n",
        "mk,k->m",
        "m,n->mn",
        "m,n->nm",
        "bmk,bkn->bmn",
        "bmk,kn->bmn",
        "mbk,nbk->bmn",
        "bmk,kbn->mbn",
        "abmk,bkn->abmn",
        "mbk,nbk->abmn",
        "amkl,nkl->amn",
        "mka,nk->mna",
        "mak,nk->nam",
        "bk,bk->b",
        "xmk,xkn->xmn",
        "abmk,abkn->bamn",
        "k,k->x",
        "bm,bn->bmn",
    ] {
        let (inputs, _) = expression.split_once("->").unwrap();
        let (a, b) = inputs.split_once(',').unwrap();
        if expression.contains("x") && expression != "xmk,xkn->xmn" || expression == "mbk,nbk->abmn"
        {
            continue; // The result has an axis of its own: another test.
        }
        for constant in 0..3 {
            let mut model = TypedModel::default();
            let mut operand = |name: &str, axes: &str, fixed: bool| match fixed {
                true => model.add_const(name, numbers(&dims(axes), 5)).unwrap(),
                false => source(&mut model, name, &dims(axes)),
            };
            let inputs = [operand("a", a, constant == 1), operand("b", b, constant == 2)];
            let op = EinSum::new(expression.parse().unwrap(), f32::datum_type());
            let y = wire(&mut model, op, &inputs);
            model.select_output_outlets(&[y]).unwrap();
            check(&model, &format!("{expression}, constant {constant}"));
        }
    }
}

#[test]
fn a_perceptron_is_three_steps() {
    let mut model = TypedModel::default();
    let mut x = source(&mut model, "x", &[6, 20]);
    for (layer, (k, n)) in [(20, 33), (33, 16), (16, 3)].into_iter().enumerate() {
        let w = model.add_const(format!("w{layer}"), numbers(&[k, n], 1)).unwrap();
        let b = model.add_const(format!("b{layer}"), numbers(&[1, n], 2)).unwrap();
        let op = EinSum::new("mk,kn->mn".parse().unwrap(), f32::datum_type());
        x = wire(&mut model, op, &[x, w]);
        x = wire(&mut model, math::add(), &[x, b]);
        let zero = model.add_const(format!("z{layer}"), numbers(&[1, 1], 0)).unwrap();
        x = match layer {
            0 => wire(&mut model, math::tanh(), &[x]),
            1 => wire(&mut model, math::max(), &[x, zero]),
            _ => x,
        };
    }
    model.select_output_outlets(&[x]).unwrap();
    let region = check(&model, "a perceptron");
    assert_eq!(region.steps.len(), 3);
    // No more than two neighbours at once.
    assert!(region.arena_bytes() <= 4 * (6 * 48 + 6 * 33 + 64), "{}", region.arena_bytes());
}

#[test]
fn functions_and_broadcasts() {
    for (a, b) in [
        (vec![2, 3, 4], vec![2, 3, 4]),
        (vec![2, 3, 4], vec![1, 1, 4]),
        (vec![2, 1, 4], vec![2, 3, 4]),
        (vec![2, 3, 1], vec![2, 3, 4]),
        (vec![1, 3, 1], vec![2, 1, 20]),
        (vec![1, 1, 1], vec![2, 3, 4]),
    ] {
        for op in [math::add(), math::sub(), math::mul(), math::max(), math::min()] {
            let mut model = TypedModel::default();
            let (x, v) = (source(&mut model, "a", &a), source(&mut model, "b", &b));
            let x = wire(&mut model, math::exp(), &[x]);
            let y = wire(&mut model, op.clone(), &[x, v]);
            let z = wire(&mut model, nn::sigmoid(), &[y]);
            let z = wire(&mut model, math::mul(), &[y, z]);
            model.select_output_outlets(&[z, y]).unwrap();
            check(&model, &format!("{op:?} of {a:?} and {b:?}"));
        }
    }
    for op in [math::tanh(), math::sqrt(), math::abs(), math::neg(), math::square(), math::erf()] {
        let mut model = TypedModel::default();
        let x = source(&mut model, "x", &[37]);
        let x = wire(&mut model, math::square(), &[x]);
        let y = wire(&mut model, op.clone(), &[x]);
        model.select_output_outlets(&[y]).unwrap();
        check(&model, &format!("{op:?}"));
    }
}

#[test]
fn rows_are_reduced_and_normalised() {
    for axes in [tvec!(2), tvec!(1), tvec!(0), tvec!(1, 2), tvec!(0, 1)] {
        let mut model = TypedModel::default();
        let x = source(&mut model, "x", &[3, 5, 19]);
        let mut outputs: Vec<OutletId> =
            [Reducer::Sum, Reducer::Max, Reducer::Min, Reducer::MeanOfSquares]
                .into_iter()
                .map(|reducer| wire(&mut model, Reduce::new(axes.clone(), reducer), &[x]))
                .collect();
        let softmax = Softmax::new(axes.clone(), None, SoftmaxKind::Softmax);
        outputs.push(wire(&mut model, softmax, &[x]));
        if axes[..] == [2] {
            let log = Softmax::new(axes.clone(), None, SoftmaxKind::LogSoftmax);
            outputs.push(wire(&mut model, log, &[x]));
            let norm = RmsNorm { axis: 2, eps: tensor0(1e-5f32).into_arc_tensor() };
            outputs.push(wire(&mut model, norm, &[x]));
        }
        model.select_output_outlets(&outputs).unwrap();
        check(&model, &format!("along {axes:?}"));
    }
}

#[test]
fn what_moves_arrives() {
    let mut model = TypedModel::default();
    let x = source(&mut model, "x", &[3, 4, 5]);
    let moved = wire(&mut model, AxisOp::Move(0, 2), &[x]);
    let slice = wire(&mut model, Slice::new(1, 1, 3), &[x]);
    let joined = wire(&mut model, TypedConcat::new(1), &[x, slice, x]);
    let pads = vec![(0, 0), (2, 1), (0, 0)];
    let reflect = wire(&mut model, Pad { pads: pads.clone(), mode: PadMode::Reflect }, &[x]);
    let edge = wire(&mut model, Pad { pads, mode: PadMode::Edge }, &[x]);
    let ground = PadMode::Constant(tensor0(2.5f32).into_arc_tensor());
    let around = vec![(1, 0), (0, 2), (1, 1)];
    let padded = wire(&mut model, Pad { pads: around, mode: ground }, &[x]);
    let indices = model.add_const("indices", tensor1(&[2i64, -1, 0])).unwrap();
    let gathered = wire(&mut model, Gather::new(1), &[x, indices]);
    let shaped = wire(&mut model, AxisOp::Add(1), &[x]);
    let outputs = [moved, slice, joined, reflect, edge, padded, gathered, shaped];
    model.select_output_outlets(&outputs).unwrap();
    check(&model, "moves");
}

#[test]
fn activations_that_are_written_out_are_one_function() {
    for form in 0..4 {
        let mut model = TypedModel::default();
        let x = source(&mut model, "x", &[5, 9]);
        let x = wire(&mut model, math::tanh(), &[x]);
        let one = |model: &mut TypedModel, value: f32| {
            let name = format!("c{}", model.nodes.len());
            let tensor = tensor0(value).broadcast_into_rank(2).unwrap();
            model.add_const(name, tensor).unwrap()
        };
        let y = match form {
            0 => {
                let gate = wire(&mut model, nn::sigmoid(), &[x]);
                wire(&mut model, math::mul(), &[gate, x])
            }
            1 => {
                let root = one(&mut model, std::f32::consts::FRAC_1_SQRT_2);
                let u = wire(&mut model, math::mul(), &[x, root]);
                let erf = wire(&mut model, math::erf(), &[u]);
                let (c1, half) = (one(&mut model, 1.0), one(&mut model, 0.5));
                let gate = wire(&mut model, math::add(), &[erf, c1]);
                let product = wire(&mut model, math::mul(), &[x, gate]);
                wire(&mut model, math::mul(), &[product, half])
            }
            _ => {
                let square = wire(&mut model, math::mul(), &[x, x]);
                let cube = wire(&mut model, math::mul(), &[square, x]);
                let factor = one(&mut model, if form == 2 { 0.044715 } else { 0.05 });
                let cube = wire(&mut model, math::mul(), &[cube, factor]);
                let sum = wire(&mut model, math::add(), &[x, cube]);
                let root = one(&mut model, 0.797_884_6);
                let u = wire(&mut model, math::mul(), &[sum, root]);
                let tanh = wire(&mut model, math::tanh(), &[u]);
                let (c1, half) = (one(&mut model, 1.0), one(&mut model, 0.5));
                let gate = wire(&mut model, math::add(), &[tanh, c1]);
                let gate = wire(&mut model, math::mul(), &[gate, half]);
                wire(&mut model, math::mul(), &[x, gate])
            }
        };
        model.select_output_outlets(&[y]).unwrap();
        let region = check(&model, &format!("form {form}"));
        assert_eq!(region.steps.len() == 2, form < 3, "form {form}");
    }
}

#[test]
fn a_block_of_an_encoder_is_a_few_steps() {
    let (tokens, width, heads) = (7, 24, 3);
    let mut model = TypedModel::default();
    let x = source(&mut model, "x", &[tokens, width]);
    let mask = source(&mut model, "mask", &[1, tokens, tokens]);
    let konst = |model: &mut TypedModel, dims: &[usize], seed| {
        let name = format!("c{}", model.nodes.len());
        model.add_const(name, numbers(dims, seed)).unwrap()
    };
    // A layer norm, written out.
    let sum = wire(&mut model, Reduce::new(tvec!(1), Reducer::Sum), &[x]);
    let part = tensor0(1.0 / width as f32).broadcast_into_rank(2).unwrap();
    let part = model.add_const("part", part).unwrap();
    let mean = wire(&mut model, math::mul(), &[sum, part]);
    let less = wire(&mut model, math::sub(), &[x, mean]);
    let norm = RmsNorm { axis: 1, eps: tensor0(1e-5f32).into_arc_tensor() };
    let norm = wire(&mut model, norm, &[less]);
    let gamma = konst(&mut model, &[1, width], 5);
    let scaled = wire(&mut model, math::mul(), &[norm, gamma]);
    let beta = konst(&mut model, &[1, width], 6);
    let normed = wire(&mut model, math::add(), &[scaled, beta]);
    // Attention of its heads.
    let part = width / heads;
    let head = |model: &mut TypedModel, seed| {
        let w = konst(model, &[width, width], seed);
        let op = EinSum::new("mk,kn->mn".parse().unwrap(), f32::datum_type());
        let y = wire(model, op, &[normed, w]);
        let shape = AxisOp::Reshape(1, tvec!(width.to_dim()), tvec!(heads.to_dim(), part.to_dim()));
        wire(model, shape, &[y])
    };
    let [q, k, v] = [1, 2, 3].map(|seed| head(&mut model, seed));
    let op = EinSum::new("mbk,nbk->bmn".parse().unwrap(), f32::datum_type());
    let scores = wire(&mut model, op, &[q, k]);
    let scale = tensor0(0.25f32).broadcast_into_rank(3).unwrap();
    let scale = model.add_const("scale", scale).unwrap();
    let scores = wire(&mut model, math::mul(), &[scores, scale]);
    let scores = wire(&mut model, math::add(), &[scores, mask]);
    let shares = wire(&mut model, Softmax::new(tvec!(2), None, SoftmaxKind::Softmax), &[scores]);
    let op = EinSum::new("bmk,kbn->mbn".parse().unwrap(), f32::datum_type());
    let mixed = wire(&mut model, op, &[shares, v]);
    let shape = AxisOp::Reshape(1, tvec!(heads.to_dim(), part.to_dim()), tvec!(width.to_dim()));
    let mixed = wire(&mut model, shape, &[mixed]);
    let w = konst(&mut model, &[width, width], 4);
    let op = EinSum::new("mk,kn->mn".parse().unwrap(), f32::datum_type());
    let out = wire(&mut model, op, &[mixed, w]);
    let bias = konst(&mut model, &[1, width], 7);
    let out = wire(&mut model, math::add(), &[out, bias]);
    let y = wire(&mut model, math::add(), &[x, out]);
    model.select_output_outlets(&[y]).unwrap();
    let region = check(&model, "a block");
    // Norm; q, k, v; scores; softmax; their mix; the output with its residual.
    assert_eq!(region.steps.len(), 8);
}

/// Attention with many scores is one step, whatever its axes and its mask.
#[test]
fn attention_is_one_step() {
    // Batch, heads, queries, keys, depth, width.
    for [b, h, m, n, d, w] in [
        [1, 2, 130, 140, 16, 24],
        [2, 3, 70, 70, 8, 64],
        [1, 1, 300, 200, 5, 3],
        [3, 4, 64, 40, 8, 8],
        [1, 6, 64, 80, 8, 32],
    ] {
        for (at, mask) in [&[][..], &[1, 1, 1, n], &[1, 1, m, n], &[b, h, m, n]].iter().enumerate()
        {
            for first in [false, true] {
                let mut model = TypedModel::default();
                // Heads before the rows, or as columns.
                let dims = |rows, c| if first { [b, h, rows, c] } else { [b, rows, h, c] };
                let q = source(&mut model, "q", &dims(m, d));
                let k = source(&mut model, "k", &dims(n, d));
                let v = source(&mut model, "v", &dims(n, w));
                let [scores, sums] = match first {
                    true => ["bhmk,bhnk->bhmn", "bhmk,bhkn->bhmn"],
                    false => ["bmhk,bnhk->bhmn", "bhmk,bkhn->bmhn"],
                };
                let op = |text: &str| EinSum::new(text.parse().unwrap(), f32::datum_type());
                let mut x = wire(&mut model, op(scores), &[q, k]);
                let scale = tensor0(0.25f32).broadcast_into_rank(4).unwrap();
                let scale = model.add_const("scale", scale).unwrap();
                x = wire(&mut model, math::mul(), &[x, scale]);
                if !mask.is_empty() {
                    let mask = source(&mut model, "mask", mask);
                    x = wire(&mut model, math::add(), &[x, mask]);
                }
                x = wire(&mut model, Softmax::new(tvec!(3), None, SoftmaxKind::Softmax), &[x]);
                let y = wire(&mut model, op(sums), &[x, v]);
                model.select_output_outlets(&[y]).unwrap();
                let what = format!("{b} {h} {m} {n} {d} {w}, mask {at}, heads first {first}");
                let region = check(&model, &what);
                let ours = region
                    .steps
                    .iter()
                    .filter(|s| matches!(s.op, super::ops::Op::Attention(_)))
                    .count();
                if b * h * m * n >= 16 << 10 {
                    assert_eq!((ours, region.steps.len()), (1, 1), "{what}");
                    let all = b * h * m * (n + w);
                    assert!(b * h == 1 || region.arena < all, "{what}: {}", region.arena);
                } else {
                    assert_eq!((ours, region.steps.len()), (0, 3), "{what}");
                }
            }
        }
    }
}

#[test]
fn convolutions_along_one_axis_are_products() {
    let formats = [DataFormat::NCHW, DataFormat::NHWC, DataFormat::CHW];
    for (len, kernel, stride, pads) in [
        (20, 3, 1, (1, 1)),
        (20, 4, 2, (0, 0)),
        (1, 3, 1, (1, 1)),
        (2, 3, 2, (1, 1)),
        (9, 1, 1, (0, 0)),
        (9, 9, 1, (0, 0)),
    ] {
        for format in formats {
            let (channels, filters) = (6, 18);
            let shape = format.from_n_c_hw(2, channels, [len]).unwrap().shape;
            let mut model = TypedModel::default();
            let x = source(&mut model, "x", &shape);
            let w = model.add_const("w", numbers(&[filters, channels, kernel], 3)).unwrap();
            let b = model.add_const("b", numbers(&[filters], 4)).unwrap();
            let padding = PaddingSpec::Explicit(tvec!(pads.0), tvec!(pads.1));
            let pool_spec = PoolSpec {
                data_format: format,
                kernel_shape: tvec!(kernel),
                padding,
                dilations: None,
                strides: Some(tvec!(stride)),
                input_channels: channels,
                output_channels: filters,
            };
            let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: 1, q_params: None };
            let y = wire(&mut model, conv, &[x, w, b]);
            let zero = model.add_const("zero", Tensor::zero::<f32>(&vec![1; shape.len()]).unwrap());
            let y = wire(&mut model, math::max(), &[y, zero.unwrap()]);
            model.select_output_outlets(&[y]).unwrap();
            check(&model, &format!("{format:?} {len} {kernel} {stride} {pads:?}"));
        }
    }
}

/// A model whose middle is not for us.
#[test]
fn regions_stand_between_the_nodes_of_others() {
    let mut model = TypedModel::default();
    let x = source(&mut model, "x", &[4, 8]);
    let w = model.add_const("w", numbers(&[8, 8], 1)).unwrap();
    let op = EinSum::new("mk,kn->mn".parse().unwrap(), f32::datum_type());
    let a = wire(&mut model, op.clone(), &[x, w]);
    let b = wire(&mut model, math::sin(), &[a]);
    let c = wire(&mut model, math::mul(), &[a, b]);
    let d = wire(&mut model, op, &[c, w]);
    model.select_output_outlets(&[d, b]).unwrap();
    let (inputs, wanted) = expected(&model);
    assert!(compile(&mut model).unwrap().is_none());
    let names: Vec<_> = model.nodes.iter().map(|n| n.op().name().to_string()).collect();
    assert_eq!(names.iter().filter(|n| *n == "Region").count(), 2, "{names:?}");
    assert!(!names.iter().any(|n| n == "EinSum"), "{names:?}");
    let plan = model.into_runnable().unwrap();
    let mut state = plan.spawn().unwrap();
    for _ in 0..3 {
        let values = inputs.iter().map(|t| t.clone().into_tvalue()).collect();
        let got = state.run(values).unwrap();
        for (got, wanted) in got.iter().zip(&wanted) {
            let floats = got.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap();
            assert_close(floats, wanted, 2e-5, "a model with a sine");
        }
    }
}
