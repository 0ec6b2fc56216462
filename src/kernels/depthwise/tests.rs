use super::super::testing::{numbers, same, same_all, strange};
use super::*;

#[derive(Debug)]
struct Shape {
    from: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pad: [[usize; 2]; 2],
}

impl Shape {
    fn to(&self) -> [usize; 2] {
        std::array::from_fn(|i| {
            let reach = (self.kernel[i] - 1) * self.dilation[i];
            (self.from[i] + self.pad[0][i] + self.pad[1][i]).saturating_sub(reach + 1)
                / self.stride[i]
                + 1
        })
    }
}

fn reference(d: Depthwise<'_>) -> Vec<f32> {
    let mut y = Vec::new();
    for at in 0..d.to[0] * d.to[1] * d.channels {
        let (place, channel) = (at / d.channels, at % d.channels);
        let window = [place / d.to[1], place % d.to[1]];
        let mut sum = d.bias[channel];
        for tap in 0..d.kernel[0] * d.kernel[1] {
            let tap = [tap / d.kernel[1], tap % d.kernel[1]];
            let place: [usize; 2] = std::array::from_fn(|i| {
                (window[i] * d.stride[i] + tap[i] * d.dilation[i]).wrapping_sub(d.pad[i])
            });
            if place[0] < d.from[0] && place[1] < d.from[1] {
                let x = d.x[(place[0] * d.from[1] + place[1]) * d.channels + channel];
                let tap = tap[0] * d.kernel[1] + tap[1];
                sum = d.weights[tap * d.channels + channel].mul_add(x, sum);
            }
        }
        sum = d.residual.map_or(sum, |residual| sum + residual[at]);
        if let Some([low, high]) = d.clamp {
            sum = if sum < low { low } else { sum };
            sum = if sum > high { high } else { sum };
        }
        y.push(sum);
    }
    y
}

fn check(shape: &Shape, channels: usize, seed: u64) {
    let Shape { from, kernel, stride, dilation, pad } = *shape;
    let to = shape.to();
    let x = &strange(floats(from, channels), seed)[..];
    let weights = &numbers(floats(kernel, channels), seed + 1)[..];
    let bias = &numbers(channels, seed + 2)[..];
    let more = &numbers(floats(to, channels), seed + 3)[..];
    for (residual, clamp) in [(None, None), (Some(more), None), (Some(more), Some([-0.5, 1.0]))] {
        let d = Depthwise {
            x,
            from,
            to,
            channels,
            kernel,
            stride,
            dilation,
            pad: pad[0],
            weights,
            bias,
            residual,
            clamp,
        };
        let got = same_all(|isa| {
            let mut y = vec![7.0; more.len() + 1];
            d.run(isa, &mut y[..more.len()]);
            assert_eq!(y.pop(), Some(7.0), "past the end");
            y
        });
        same(&got, &reference(d), &format!("{shape:?}, {channels} channels"));
    }
}

const fn square(from: [usize; 2], kernel: usize, stride: usize, pad: usize) -> Shape {
    let (kernel, stride) = ([kernel; 2], [stride; 2]);
    Shape { from, kernel, stride, dilation: [1; 2], pad: [[pad; 2]; 2] }
}

#[test]
fn every_window_is_a_sum_in_order() {
    for kernel in [1, 2, 3, 5] {
        for stride in [1, 2, 3] {
            for columns in [1, 3, 4, 5, 7, 8, 11, 12, 15, 18, 30] {
                check(&square([5, columns], kernel, stride, kernel / 2), 19, 1);
            }
        }
    }
}

#[test]
fn every_number_of_channels_will_do() {
    for channels in 1..41 {
        check(&square([4, 9], 3, 1, 1), channels, 2);
        check(&square([5, 9], 5, 2, 2), channels, 3);
        check(&square([3, 4], 2, 1, 0), channels, 4);
    }
    check(&square([3, 80], 5, 1, 2), 150, 5);
}

#[test]
fn vectors_of_several_columns_are_no_different() {
    for channels in [1, 2, 3, 4, 5, 8, 9] {
        for columns in [12, 17, 30, 90] {
            for kernel in [2, 3, 5, 6] {
                check(&square([3, columns], kernel, 1, kernel / 2), channels, 6);
            }
            let (kernel, stride, dilation) = ([3, 3], [2, 1], [1, 2]);
            let pad = [[2, 3], [1, 0]];
            check(&Shape { from: [4, columns], kernel, stride, dilation, pad }, channels, 7);
        }
    }
}

#[test]
fn strides_dilations_and_padding_may_be_odd() {
    let shapes = [
        Shape { from: [6, 12], kernel: [3, 3], stride: [2, 1], dilation: [1, 1], pad: [[1; 2]; 2] },
        Shape { from: [9, 11], kernel: [3, 3], stride: [1, 1], dilation: [2, 3], pad: [[2, 3]; 2] },
        Shape { from: [9, 11], kernel: [3, 5], stride: [1, 1], dilation: [3, 1], pad: [[3, 2]; 2] },
        Shape { from: [2, 3], kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [[7; 2]; 2] },
        Shape { from: [2, 3], kernel: [5, 5], stride: [2, 2], dilation: [1, 1], pad: [[9; 2]; 2] },
        Shape { from: [3, 2], kernel: [2, 7], stride: [1, 2], dilation: [1, 2], pad: [[5; 2]; 2] },
        Shape {
            from: [8, 9],
            kernel: [1, 3],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [[0, 2], [1, 0]],
        },
        Shape { from: [7, 20], kernel: [7, 7], stride: [1, 1], dilation: [1, 1], pad: [[3; 2]; 2] },
        Shape { from: [0, 4], kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [[2; 2]; 2] },
    ];
    for (seed, shape) in shapes.iter().enumerate() {
        for channels in [1, 6, 16, 23, 33] {
            check(shape, channels, seed as u64);
        }
    }
}

fn refused(change: impl Fn(&mut Depthwise<'_>)) {
    let (x, weights, bias) = (&[0.0; 24][..], &[0.0; 18][..], &[0.0; 2][..]);
    let one = [1; 2];
    let mut d = Depthwise {
        x,
        from: [3, 4],
        to: [1, 2],
        channels: 2,
        kernel: [3; 2],
        stride: one,
        dilation: one,
        pad: [0; 2],
        weights,
        bias,
        residual: None,
        clamp: None,
    };
    change(&mut d);
    d.run(Isa::Scalar, &mut [0.0; 4]);
}

#[test]
fn what_fits_is_not_refused() {
    refused(|_| ());
}

#[test]
#[should_panic(expected = "x of 24 floats, not 32")]
fn another_image_is_refused() {
    refused(|d| d.from = [4, 4]);
}

#[test]
#[should_panic(expected = "y of 4 floats, not 6")]
fn another_number_of_windows_is_refused() {
    refused(|d| d.to = [1, 3]);
}

#[test]
#[should_panic(expected = "weights of 18 floats, not 12")]
fn another_kernel_is_refused() {
    refused(|d| d.kernel = [3, 2]);
}

#[test]
#[should_panic(expected = "residual of 3 floats, not 4")]
fn another_residual_is_refused() {
    refused(|d| d.residual = Some(&[0.0; 3]));
}

#[test]
#[should_panic(expected = "stride 0")]
fn no_stride_is_refused() {
    refused(|d| d.stride = [1, 0]);
}
