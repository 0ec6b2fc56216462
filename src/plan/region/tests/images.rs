//! Images: what lies channels last.

use super::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::cnn::{Deconv, MaxPool, SumPool};
use tract_onnx::tract_core::ops::nn::{
    CoordTransformer, Interpolator, Nearest, NearestUpsample, Resize,
};

fn konst(model: &mut TypedModel, dims: &[usize], seed: u64) -> OutletId {
    model.add_const(format!("c{}", model.nodes.len()), numbers(dims, seed)).unwrap()
}

fn one(model: &mut TypedModel, rank: usize, value: f32) -> OutletId {
    let tensor = tensor1(&[value]).into_shape(&vec![1; rank]).unwrap();
    model.add_const(format!("c{}", model.nodes.len()), tensor).unwrap()
}

/// Windows over two axes of as many channels as there are filters.
fn spec(channels: [usize; 2], kernel: [usize; 2], stride: [usize; 2], pad: usize) -> PoolSpec {
    PoolSpec {
        data_format: DataFormat::NCHW,
        kernel_shape: TVec::from_slice(&kernel),
        padding: PaddingSpec::Explicit(tvec!(pad, pad), tvec!(pad, pad)),
        dilations: None,
        strides: Some(TVec::from_slice(&stride)),
        input_channels: channels[0],
        output_channels: channels[1],
    }
}

/// A convolution of 3×3 with its bias.
fn conv(model: &mut TypedModel, x: OutletId, channels: [usize; 2], group: usize) -> OutletId {
    let w = konst(model, &[channels[1], channels[0] / group, 3, 3], 3);
    let b = konst(model, &[channels[1]], 4);
    let pool_spec = spec(channels, [3, 3], [1, 1], 1);
    let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None };
    wire(model, conv, &[x, w, b])
}

fn names(region: &Region) -> Vec<String> {
    region.steps.iter().map(|step| format!("{:?}", step.op)).collect()
}

#[test]
fn convolutions_over_two_axes() {
    for (size, kernel, stride, dilation, pads) in [
        ([7, 21], [3, 3], [1, 1], [1, 1], ([1, 1], [1, 1])),
        ([16, 16], [3, 3], [2, 2], [1, 1], ([1, 1], [1, 1])),
        ([9, 40], [1, 5], [1, 1], [1, 2], ([0, 4], [0, 4])),
        ([12, 5], [5, 3], [2, 1], [1, 1], ([2, 0], [1, 0])),
        ([3, 3], [3, 3], [1, 1], [1, 1], ([2, 2], [2, 2])),
        ([1, 2], [3, 3], [1, 1], [1, 1], ([1, 1], [1, 1])),
        ([40, 40], [2, 2], [2, 2], [1, 1], ([0, 0], [0, 0])),
    ] {
        for (channels, filters, group) in [(5, 11, 1), (6, 12, 3), (4, 4, 4)] {
            let mut model = TypedModel::default();
            let x = source(&mut model, "x", &[2, channels, size[0], size[1]]);
            let w = model
                .add_const("w", numbers(&[filters, channels / group, kernel[0], kernel[1]], 3));
            let b = model.add_const("b", numbers(&[filters], 4)).unwrap();
            let pool_spec = PoolSpec {
                data_format: DataFormat::NCHW,
                kernel_shape: TVec::from_slice(&kernel),
                padding: PaddingSpec::Explicit(
                    TVec::from_slice(&pads.0),
                    TVec::from_slice(&pads.1),
                ),
                dilations: Some(TVec::from_slice(&dilation)),
                strides: Some(TVec::from_slice(&stride)),
                input_channels: channels,
                output_channels: filters,
            };
            let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None };
            let y = wire(&mut model, conv, &[x, w.unwrap(), b]);
            let dims = model.outlet_fact(y).unwrap().shape.as_concrete().unwrap().to_vec();
            let other = source(&mut model, "other", &dims);
            let y = wire(&mut model, math::add(), &[y, other]);
            let zero = model.add_const("zero", Tensor::zero::<f32>(&[1; 4]).unwrap()).unwrap();
            let y = wire(&mut model, math::max(), &[y, zero]);
            model.select_output_outlets(&[y]).unwrap();
            let region = check(&model, &format!("{size:?} {kernel:?} {stride:?} {pads:?}"));
            // And the layouts of what comes in and goes out.
            assert!(region.steps.len() <= 4, "{:?}", region.steps);
        }
    }
}

#[test]
fn what_follows_a_convolution_is_part_of_it() {
    for group in [1, 24] {
        let (channels, mut model) = (24, TypedModel::default());
        let x = source(&mut model, "x", &[1, channels, 11, 13]);
        let y = conv(&mut model, x, [channels, channels], group);
        // Constants for all, and for each channel.
        let (scale, shift) = (one(&mut model, 4, 1.5), konst(&mut model, &[1, channels, 1, 1], 5));
        let y = wire(&mut model, math::mul(), &[y, scale]);
        let y = wire(&mut model, math::add(), &[y, shift]);
        // Hard-swish, written out, and a multiple of it.
        let (three, six) = (one(&mut model, 4, 3.0), one(&mut model, 4, 6.0));
        let (zero, sixth) = (one(&mut model, 4, 0.0), one(&mut model, 4, 0.25));
        let gate = wire(&mut model, math::add(), &[y, three]);
        let gate = wire(&mut model, math::max(), &[gate, zero]);
        let gate = wire(&mut model, math::min(), &[gate, six]);
        let y = wire(&mut model, math::mul(), &[y, gate]);
        let y = wire(&mut model, math::mul(), &[y, sixth]);
        let shift = one(&mut model, 4, -0.75);
        let y = wire(&mut model, math::add(), &[y, shift]);
        model.select_output_outlets(&[y]).unwrap();
        let region = check(&model, "what follows a convolution");
        assert_eq!(region.steps.len(), 3, "{:?}", names(&region));
    }
}

#[test]
fn images_stay_channels_last() {
    let (channels, mut model) = (20, TypedModel::default());
    let x = source(&mut model, "x", &[1, channels, 12, 16]);
    let a = conv(&mut model, x, [channels, 8], 1);
    let b = conv(&mut model, x, [channels, 16], 4);
    let both = wire(&mut model, TypedConcat { axis: 1 }, &[a, b]);
    let part = wire(&mut model, Slice::new(1, 4, 20), &[both]);
    let less = wire(&mut model, Downsample::new(2, 2, 0), &[part]);
    let less = wire(&mut model, Downsample::new(3, 2, 1), &[less]);
    let op = NearestUpsample { scales: tvec!(1, 1, 2, 2) };
    let more = wire(&mut model, op, &[less]);
    let sum = wire(&mut model, math::add(), &[more, part]);
    // A gate of its channels.
    let op = Reduce::new(tvec!(2, 3), Reducer::Sum);
    let total = wire(&mut model, op, &[sum]);
    let w = konst(&mut model, &[16, 16], 9);
    let op = EinSum::new("nihw,oi->nohw".parse().unwrap(), f32::datum_type());
    let gate = wire(&mut model, op, &[total, w]);
    let gate = wire(&mut model, nn::sigmoid(), &[gate]);
    let y = wire(&mut model, math::mul(), &[sum, gate]);
    // A constant of every pixel and channel.
    let all = konst(&mut model, &[1, 16, 12, 16], 10);
    let y = wire(&mut model, math::mul(), &[y, all]);
    let y = conv(&mut model, y, [16, 6], 1);
    model.select_output_outlets(&[y]).unwrap();
    let region = check(&model, "a small network");
    let turns = names(&region).iter().filter(|name| name.contains("Permute")).count();
    assert_eq!(turns, 2, "{:?}", names(&region));
}

#[test]
fn pools_and_transposed_convolutions() {
    for (kernel, stride, pad) in [([3, 3], [2, 2], 1), ([2, 3], [1, 2], 0), ([5, 5], [1, 1], 2)] {
        let pool_spec = spec([6, 6], kernel, stride, pad);
        let ops: [Box<dyn TypedOp>; 4] = [
            Box::new(MaxPool { pool_spec: pool_spec.clone(), with_index_outputs: None }),
            Box::new(SumPool::new(pool_spec.clone(), false, true)),
            Box::new(SumPool::new(pool_spec.clone(), true, true)),
            Box::new(SumPool::new(pool_spec, false, false)),
        ];
        for op in ops {
            let mut model = TypedModel::default();
            let x = source(&mut model, "x", &[2, 6, 9, 10]);
            let what = format!("{op:?}");
            let y = wire(&mut model, op, &[x]);
            model.select_output_outlets(&[y]).unwrap();
            check(&model, &what);
        }
    }
    for kernel in [[2, 2], [3, 1]] {
        let mut model = TypedModel::default();
        let x = source(&mut model, "x", &[2, 5, 4, 7]);
        let w = konst(&mut model, &[3, 5, kernel[0], kernel[1]], 3);
        let b = konst(&mut model, &[3], 4);
        let pool_spec = spec([5, 3], kernel, kernel, 0);
        let op = Deconv {
            pool_spec,
            kernel_format: KernelFormat::OIHW,
            adjustments: tvec!(0, 0),
            group: 1,
        };
        let y = wire(&mut model, op, &[x, w, b]);
        let scale = konst(&mut model, &[1, 3, 1, 1], 6);
        let y = wire(&mut model, math::mul(), &[y, scale]);
        let y = wire(&mut model, nn::sigmoid(), &[y]);
        model.select_output_outlets(&[y]).unwrap();
        let region = check(&model, &format!("transposed {kernel:?}"));
        assert_eq!(region.steps.len(), 3, "{:?}", names(&region));
    }
}

#[test]
fn transposed_convolutions_whose_windows_overlap() {
    // Kernel, stride, pads before and after, and more outputs at the end.
    let cases = [
        ([4, 4], [2, 2], [1usize, 1], [0usize, 0]),
        ([3, 3], [2, 2], [1, 1], [1, 1]),
        ([3, 5], [1, 1], [0, 2], [0, 0]),
        ([5, 3], [2, 3], [2, 0], [0, 2]),
        ([2, 2], [2, 2], [0, 0], [1, 0]),
        ([3, 2], [3, 2], [1, 0], [0, 0]),
        ([7, 1], [4, 1], [3, 0], [3, 0]),
        ([8, 8], [4, 4], [2, 2], [0, 0]),
    ];
    for (kernel, stride, pads, more) in cases {
        let mut model = TypedModel::default();
        let x = source(&mut model, "x", &[2, 5, 4, 7]);
        let w = konst(&mut model, &[3, 5, kernel[0], kernel[1]], 3);
        let b = konst(&mut model, &[3], 4);
        let mut pool_spec = spec([5, 3], kernel, stride, 0);
        pool_spec.padding = PaddingSpec::Explicit(TVec::from_slice(&pads), TVec::from_slice(&pads));
        let (kernel_format, adjustments) = (KernelFormat::OIHW, TVec::from_slice(&more));
        let op = Deconv { pool_spec, kernel_format, adjustments, group: 1 };
        let y = wire(&mut model, op, &[x, w, b]);
        let scale = konst(&mut model, &[1, 3, 1, 1], 6);
        let y = wire(&mut model, math::mul(), &[y, scale]);
        let y = wire(&mut model, nn::leaky_relu(0.1), &[y]);
        model.select_output_outlets(&[y]).unwrap();
        let region = check(&model, &format!("{kernel:?} by {stride:?}, {pads:?}, {more:?}"));
        assert_eq!(region.steps.len(), 3, "{:?}", names(&region));
    }
}

#[test]
fn transposed_convolutions_along_one_axis() {
    for (kernel, stride, pad, more) in [(16, 8, 4, 0), (3, 2, 1, 1), (4, 4, 0, 0), (5, 1, 2, 0)] {
        let mut model = TypedModel::default();
        let x = source(&mut model, "x", &[2, 6, 9]);
        let w = konst(&mut model, &[4, 6, kernel], 3);
        let b = konst(&mut model, &[4], 4);
        let pool_spec = PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec!(kernel),
            padding: PaddingSpec::Explicit(tvec!(pad), tvec!(pad)),
            dilations: None,
            strides: Some(tvec!(stride)),
            input_channels: 6,
            output_channels: 4,
        };
        let (kernel_format, adjustments) = (KernelFormat::OIHW, tvec!(more));
        let op = Deconv { pool_spec, kernel_format, adjustments, group: 1 };
        let y = wire(&mut model, op, &[x, w, b]);
        model.select_output_outlets(&[y]).unwrap();
        let region = check(&model, &format!("{kernel} by {stride}"));
        assert_eq!(region.steps.len(), 3, "{:?}", names(&region));
    }
}

#[test]
fn images_at_another_size() {
    let ways = ["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"];
    for (way, interpolator) in ways.iter().flat_map(|way| {
        let of = [Interpolator::Nearest, Interpolator::Linear, Interpolator::Cubic];
        of.map(|interpolator| (way, interpolator))
    }) {
        for scales in [[2.0, 2.0], [1.5, 0.5], [0.7, 3.0]] {
            let mut model = TypedModel::default();
            let x = source(&mut model, "x", &[2, 20, 6, 10]);
            let factors = tensor1(&[1f32, 1.0, scales[0], scales[1]]);
            let factors = model.add_const("scales", factors).unwrap();
            let op = Resize {
                coord_transformer: CoordTransformer::parse(way).unwrap(),
                interpolator: interpolator.clone(),
                nearest: Nearest::Floor,
                optional_scales_input: Some(1),
                optional_sizes_input: None,
            };
            let y = wire(&mut model, op, &[x, factors]);
            model.select_output_outlets(&[y]).unwrap();
            check(&model, &format!("{way} {interpolator:?} {scales:?}"));
        }
    }
}

#[test]
fn a_matrix_of_weights_is_no_image() {
    let mut model = TypedModel::default();
    let x = source(&mut model, "x", &[1, 8, 9, 6]);
    let y = conv(&mut model, x, [8, 12], 1);
    let w = konst(&mut model, &[10, 6, 12], 6);
    let op = EinSum::new("nctf,ofc->not".parse().unwrap(), f32::datum_type());
    let y = wire(&mut model, op, &[y, w]);
    let shift = konst(&mut model, &[1, 10, 1], 7);
    let y = wire(&mut model, math::add(), &[y, shift]);
    model.select_output_outlets(&[y]).unwrap();
    check(&model, "a product after a convolution");
}

/// What is done to blocks of rows, one after the other.
#[test]
fn large_images_are_done_in_blocks() {
    for (channels, filters, group, dilations) in
        [(1, 16, 1, [2, 1]), (16, 16, 16, [1, 1]), (16, 24, 1, [2, 1]), (3, 40, 1, [1, 1])]
    {
        let mut model = TypedModel::default();
        let x = source(&mut model, "x", &[1, channels, 70, 129]);
        let w = konst(&mut model, &[filters, channels / group, 3, 3], 3);
        let b = konst(&mut model, &[filters], 4);
        let mut pool_spec = spec([channels, filters], [3, 3], [1, 1], 1);
        pool_spec.dilations = Some(TVec::from_slice(&dilations));
        let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None };
        let y = wire(&mut model, conv, &[x, w, b]);
        let y = wire(&mut model, nn::leaky_relu(0.1), &[y]);
        let pool_spec = spec([filters, filters], [1, 4], [1, 4], 0);
        let y = wire(&mut model, MaxPool { pool_spec, with_index_outputs: None }, &[y]);
        model.select_output_outlets(&[y]).unwrap();
        check(&model, &format!("{channels} to {filters} of {group}"));
    }
}
